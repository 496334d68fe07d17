//! What must not lie in the data folder: `--state`, which an older copy of that would bring back, and with `--durability node` all that
//! a new machine needs.

use crate::config::{LedgerOptions, LogUrlOptions};
use colophon_ledger::{Location, Stores};
use colophon_signer::KeySource;
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

/// With `--durability node` all that a new machine needs has to be elsewhere than the data folder. Neither a link into that folder nor one in
/// it is elsewhere: the latter's name is gone with the folder.
///
/// # Errors
/// Something is missing, or in the data folder.
pub(super) fn outlives_the_node(
    options: &LedgerOptions,
    stores: &Stores,
    log_url: &LogUrlOptions,
) -> anyhow::Result<()> {
    let (spelled, real) = (std::path::absolute(&options.data)?, resolved(&options.data)?);
    let outside = |path: &Path| {
        std::path::absolute(path).is_ok_and(|path| !path.starts_with(&spelled))
            && resolved(path).is_ok_and(|path| !path.starts_with(&real))
    };
    let key = |source: &Option<KeySource>| match source {
        Some(KeySource::File(path)) => outside(path),
        Some(_) => true,
        None => false,
    };
    let store = |location: &Option<Location>| {
        location.as_ref().is_some_and(|location| location.folder().is_none_or(outside))
    };
    for (flag, there) in [
        ("--name", options.name.is_some()),
        ("--store", store(&stores.public)),
        ("--private", store(&stores.private)),
        ("--private-key", key(&options.private_key)),
        ("--token-key", stores.token_key.as_deref().is_some_and(outside)),
        ("--log-key or --log-url", !log_url.urls.is_empty() || key(&options.log_key)),
    ] {
        anyhow::ensure!(
            there,
            "--durability node needs {flag}, outside --data: a new machine takes the records over with it"
        );
    }
    Ok(())
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
