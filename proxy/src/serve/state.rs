//! `--state`: outside of what may be restored from an older copy.

use colophon_ledger::Stores;
use std::path::{Path, PathBuf};

/// Where the newest signed head is remembered.
///
/// # Errors
/// The place is in `data`, or in the folder of the log: whoever restores an older copy of those restores what would have noticed it.
pub(crate) fn state_folder(
    given: Option<&Path>,
    data: &Path,
    stores: &Stores,
) -> anyhow::Result<Option<PathBuf>> {
    let Some(state) = given.map(Path::to_owned).or_else(default_state) else { return Ok(None) };
    let store = stores.public.as_ref().and_then(|location| location.folder());
    for (flag, folder) in [("--data", Some(data)), ("--store", store)] {
        let Some(folder) = folder else { continue };
        anyhow::ensure!(
            !resolved(&state)?.starts_with(resolved(folder)?),
            "--state {} lies in {flag} {}: an older copy of that, put back, would bring the older state with it, and nobody would notice \
             that the log forks; give a folder outside",
            state.display(),
            folder.display()
        );
    }
    Ok(Some(state))
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let known = path.ancestors().find_map(|known| Some((known.canonicalize().ok()?, known)));
    let Some((real, known)) = known else { return Ok(path) };
    Ok(path.strip_prefix(known).map_or_else(|_| path.clone(), |rest| real.join(rest)))
}

/// Where an XDG system keeps state, if this one has a home.
fn default_state() -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home =
        || Some(PathBuf::from(std::env::var_os("HOME").filter(|dir| !dir.is_empty())?).join(".local/state"));
    xdg.or_else(home).map(|dir| dir.join("colophon"))
}

#[cfg(test)]
mod tests;
