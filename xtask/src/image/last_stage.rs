//! The last stage of the Containerfile: what the image is started with.

use anyhow::{Context, Result, bail, ensure};

/// What the last stage says of the image beside its files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LastStage {
    /// The program and arguments that a container starts with.
    pub(super) entrypoint: Vec<String>,
    /// Who it runs as, `UID:GID`.
    pub(super) user: String,
    /// `name=value`.
    pub(super) labels: Vec<String>,
}

/// Reads a Containerfile's last stage, which has to be from nothing.
///
/// # Errors
/// When it is not, lacks a user or an entrypoint, or says something that only a builder would understand.
pub(super) fn read(text: &str) -> Result<LastStage> {
    let mut stage = None;
    for line in text.lines().map(str::trim) {
        let Some((instruction, rest)) = line.split_once(' ') else { continue };
        match (instruction, &mut stage) {
            ("FROM", _) if rest == "scratch" => {
                stage = Some(LastStage { entrypoint: Vec::new(), user: String::new(), labels: Vec::new() });
            }
            ("FROM", _) => stage = None,
            (_, None) => {}
            ("ENTRYPOINT", Some(stage)) => {
                stage.entrypoint = serde_json::from_str(rest).context("ENTRYPOINT is no JSON list")?;
            }
            ("USER", Some(stage)) => rest.clone_into(&mut stage.user),
            ("LABEL", Some(stage)) => stage.labels.push(rest.to_owned()),
            ("COPY" | "#", Some(_)) => {}
            (other, Some(_)) => bail!("the last stage has {other}, which is not carried over"),
        }
    }
    let stage = stage.context("the last stage is not FROM scratch")?;
    ensure!(
        !stage.entrypoint.is_empty() && !stage.user.is_empty(),
        "the last stage lacks USER or ENTRYPOINT"
    );
    Ok(stage)
}

#[cfg(test)]
mod tests;
