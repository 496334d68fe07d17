//! An object's spec as the file that sidecars read, and what is wrong with it.

use std::fmt;

use colophon_policies::Policy;
use serde_json::{Value, json};

/// The file's name in the ConfigMap.
pub(crate) const FILE: &str = "policy.yaml";

/// A policy that is right.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The file.
    pub(crate) text: String,
    /// Digest of the effective policy, as records name it, in hexadecimal.
    pub(crate) digest: String,
}

/// What is wrong with a policy, first of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Which member of the object, as `spec.rules[0].level`.
    pub(crate) path: String,
    /// What `colophon policy check` says of it.
    pub(crate) message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Judges an object of kind `ProvenancePolicy`.
pub(crate) fn judge(object: &Value) -> Result<Accepted, Wrong> {
    let member = |path: &str| object.pointer(path).cloned().unwrap_or(Value::Null);
    // Of the metadata a policy's file has the name only.
    let document = json!({
        "apiVersion": member("/apiVersion"),
        "kind": member("/kind"),
        "metadata": {"name": member("/metadata/name")},
        "spec": member("/spec"),
    });
    let mut file = File::default();
    file.write(&document, "", 0);
    file.text.push('\n');
    match Policy::parse(&file.text, FILE) {
        Ok(policy) => Ok(Accepted { digest: hex::encode(policy.digest()), text: file.text }),
        Err(error) => {
            let line = usize::try_from(error.line()).unwrap_or(usize::MAX);
            let path = file.paths.get(line.saturating_sub(1)).cloned().unwrap_or_default();
            Err(Wrong { path, message: error.message().to_owned() })
        }
    }
}

/// The digest of a file that was written before.
pub(crate) fn digest(text: &str) -> Option<String> {
    Policy::parse(text, FILE).ok().map(|policy| hex::encode(policy.digest()))
}

/// JSON, which is YAML, with each member and each element on a line of its own: the line that an error names says which
/// one it is about.
#[derive(Default)]
struct File {
    text: String,
    /// Of the first line on, what stands there.
    paths: Vec<String>,
}

impl File {
    fn write(&mut self, value: &Value, path: &str, indent: usize) {
        if self.paths.is_empty() {
            self.paths.push(path.to_owned());
        }
        match value {
            Value::Object(members) if !members.is_empty() => {
                self.text.push('{');
                for (at, (key, member)) in members.iter().enumerate() {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.line(at > 0, indent + 1, &path);
                    self.text.push_str(&Value::from(key.as_str()).to_string());
                    self.text.push_str(": ");
                    self.write(member, &path, indent + 1);
                }
                self.line(false, indent, path);
                self.text.push('}');
            }
            Value::Array(items) if !items.is_empty() => {
                self.text.push('[');
                for (at, item) in items.iter().enumerate() {
                    let path = format!("{path}[{at}]");
                    self.line(at > 0, indent + 1, &path);
                    self.write(item, &path, indent + 1);
                }
                self.line(false, indent, path);
                self.text.push(']');
            }
            scalar => self.text.push_str(&scalar.to_string()),
        }
    }

    fn line(&mut self, comma: bool, indent: usize, path: &str) {
        self.text.push_str(if comma { ",\n" } else { "\n" });
        self.text.push_str(&"  ".repeat(indent));
        self.paths.push(path.to_owned());
    }
}

#[cfg(test)]
mod tests;
