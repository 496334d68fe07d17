//! Files that people name, read no further than they may be long.

use anyhow::Context as _;
use std::io::Read as _;
use std::path::Path;

/// Reads a file of at most `max` bytes. What a file says of its own length does not count: a device has none.
///
/// # Errors
/// It cannot be read, or is longer.
pub(crate) fn read(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    anyhow::ensure!(bytes.len() <= max, "{}: longer than {max} bytes", path.display());
    Ok(bytes)
}

/// As [`read`], as text.
///
/// # Errors
/// As of [`read`], and where it is not UTF-8.
pub(crate) fn read_text(path: &Path, max: usize) -> anyhow::Result<String> {
    String::from_utf8(read(path, max)?).with_context(|| format!("{}: not UTF-8", path.display()))
}

/// What is read again and again has to be a file, or where `folder` says so a folder: opening a pipe waits for somebody to
/// write, and nobody may.
///
/// # Errors
/// It is something else, or not there.
pub(crate) fn lasting(path: &Path, folder: bool) -> anyhow::Result<()> {
    let meta = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let kind = if folder { "neither a file nor a folder" } else { "not a file" };
    anyhow::ensure!(meta.is_file() || folder && meta.is_dir(), "{}: {kind}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests;
