//! `--config FILE`: one YAML map that says what flags say. Flags win over the environment, the environment over the file.

use crate::files;
use anyhow::Context as _;
use clap::{Arg, ArgAction, Command};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A file of settings is never longer.
const MAX_BYTES: usize = 1 << 20;

/// A setting's value: text, number or boolean, as YAML has them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Integer(i64),
    Text(String),
}

/// The file named on the command line or in the environment, if any, found before the command line is parsed.
pub(super) fn file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1);
    if args.next().is_none_or(|command| command != "serve") {
        return None;
    }
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    std::env::var_os("COLOPHON_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Makes the file's settings the defaults of `serve`'s flags.
pub(super) fn apply(command: Command, path: &Path) -> anyhow::Result<Command> {
    let shown = path.display();
    let text =
        files::read_text(path, MAX_BYTES).with_context(|| format!("cannot read the settings {shown}"))?;
    defaults(command, &text).with_context(|| format!("in the settings {shown}"))
}

fn defaults(command: Command, text: &str) -> anyhow::Result<Command> {
    let settings: Option<BTreeMap<String, Scalar>> = serde_saphyr::from_str(text)?;
    let mut serve = command.find_subcommand("serve").context("there is no `serve`")?.clone();
    for (name, value) in settings.unwrap_or_default() {
        let flag = serve.get_arguments().find(|arg| arg.get_long() == Some(&name));
        let known = flag.filter(|arg| arg.get_id() != "config" && arg.get_long() != Some("help"));
        let Some(arg) = known else {
            anyhow::bail!("unknown setting `{name}`: settings are named as the flags of `serve` are")
        };
        let id = arg.get_id().clone();
        let value = value.text(arg).with_context(|| format!("setting `{name}`"))?;
        // clap keeps defaults for the life of the program, and so do we: this runs once.
        let value: &'static str = Box::leak(value.into_boxed_str());
        serve = serve.mut_arg(id, |arg| arg.default_value(value));
    }
    Ok(command.mut_subcommand("serve", |_| serve))
}

impl Scalar {
    fn text(self, arg: &Arg) -> anyhow::Result<String> {
        let flag = matches!(arg.get_action(), ArgAction::SetTrue);
        match self {
            Scalar::Bool(value) if flag => Ok(value.to_string()),
            Scalar::Bool(_) => anyhow::bail!("wants a value, not true or false"),
            _ if flag => anyhow::bail!("wants true or false"),
            Scalar::Integer(value) => Ok(value.to_string()),
            Scalar::Text(value) => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests;
