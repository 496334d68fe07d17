//! Manifests: YAML or JSON files of one or many objects.

use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::inject::{Injection, When, inject};
use crate::settings::Settings;
use crate::value::text;

/// A manifest is never longer.
const MAX_BYTES: usize = 16 << 20;

/// What became of one object.
#[derive(Debug)]
pub struct Done {
    /// `Deployment/name`.
    pub object: String,
    /// Whether it was changed, and if not, why.
    pub unchanged: Option<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Reads a manifest; `-` is standard input.
///
/// # Errors
/// It cannot be read, is longer than 16 MiB, or is not UTF-8.
pub fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = match path.to_str() {
        Some("-") => bounded(std::io::stdin().lock(), MAX_BYTES).context("standard input")?,
        _ => read_bounded(path, MAX_BYTES)?,
    };
    String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", path.display()))
}

/// Reads a file of at most `max` bytes.
pub(crate) fn read_bounded(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    bounded(file, max).with_context(|| path.display().to_string())
}

fn bounded(from: impl Read, max: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max as u64 + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() <= max, "longer than {max} bytes");
    Ok(bytes)
}

/// The objects of a manifest, as kubectl reads it: of YAML 1.1, where `yes` is a boolean and `0644` is octal.
///
/// # Errors
/// It is not YAML.
pub fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        strict_booleans: false,
        with_snippet: false,
    };
    let objects: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// Puts Colophon into all Pods and templates of Pods in which it finds an engine.
///
/// # Errors
/// One that asks for it cannot have it.
pub fn transform(objects: &mut [Value], settings: &Settings) -> anyhow::Result<Vec<Done>> {
    let mut all = Vec::new();
    for object in objects {
        if text(object, "kind").is_some_and(|kind| kind == "List" || kind.ends_with("List")) {
            if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
                all.extend(transform(items, settings)?);
            }
            continue;
        }
        let called = meta_name(object);
        let Some(pod) = template(object) else { continue };
        let done = match inject(pod, settings, When::Asked) {
            Ok(Injection::Done { pod: with, warnings }) => {
                *pod = with;
                Done { object: called, unchanged: None, warnings }
            }
            Ok(Injection::Unchanged(why)) => {
                Done { object: called, unchanged: Some(why.to_owned()), warnings: Vec::new() }
            }
            Err(refusal) => bail!("{called}: {refusal}"),
        };
        all.push(done);
    }
    Ok(all)
}

fn meta_name(object: &Value) -> String {
    let named = object.pointer("/metadata/name").or_else(|| object.pointer("/metadata/generateName"));
    format!("{}/{}", text(object, "kind").unwrap_or("?"), named.and_then(Value::as_str).unwrap_or("?"))
}

/// Where an object has its Pod.
fn template(object: &mut Value) -> Option<&mut Value> {
    let pointer = match (text(object, "apiVersion")?, text(object, "kind")?) {
        ("v1", "Pod") => "",
        ("v1", "ReplicationController") => "/spec/template",
        ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch/v1", "Job") => {
            "/spec/template"
        }
        ("batch/v1", "CronJob") => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    object.pointer_mut(pointer)
}

/// The objects as YAML, `---` between them. Comments are gone; words that YAML 1.1 takes for something else are quoted.
///
/// # Errors
/// Never for what came from [`parse`].
pub fn print(objects: &[Value]) -> anyhow::Result<String> {
    let mut all = String::new();
    for object in objects {
        if !all.is_empty() {
            all.push_str("---\n");
        }
        all.push_str(&serde_saphyr::to_string(object)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
