//! The files of an export, from a folder or out of an archive, without ever writing one: bounded, and no links.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use colophon_receipt::receipt;
use colophon_receipt::tiles::MAX_BUNDLE;
use ruzstd::decoding::StreamingDecoder;

use super::FolderError;
use crate::text::quoted;

/// No file of an export is longer: a full bundle of the longest entries is.
const MAX_FILE: u64 = MAX_BUNDLE;
/// Of a receipt no more is kept; the verifier sees that it is too long.
const MAX_RECEIPT: u64 = receipt::MAX_BYTES as u64 + 1;
/// Names of an export are shorter than this.
const MAX_NAME: usize = 200;
/// Folders below the export's own.
const MAX_DEPTH: usize = 12;
/// Things in an archive; with a receipt a record, that is a large export.
const MAX_FILES: u64 = 100_000_000;
/// The first bytes of a Zstandard frame.
pub(crate) const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes of a tar header and of the blocks that follow it.
const BLOCK: usize = 512;

/// One file.
pub(super) struct Item {
    /// Its name in the export, with `/` between folders.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Where the files come from. The receipts come last.
pub(super) enum Source {
    Folder { root: PathBuf, stack: Vec<(String, usize)> },
    Archive { read: Box<dyn Read>, files: u64 },
}

fn cannot_read(name: &str) -> impl FnOnce(io::Error) -> FolderError {
    let name = quoted(name);
    move |source| FolderError::Read { name, source }
}

fn form(what: String) -> FolderError {
    FolderError::Form(what)
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Source, FolderError> {
        let name = path.to_string_lossy();
        if path.is_dir() {
            return Ok(Source::Folder { root: path.to_owned(), stack: vec![(String::new(), 0)] });
        }
        let file = File::open(path).map_err(cannot_read(&name))?;
        let decoder = StreamingDecoder::new(BufReader::new(file))
            .map_err(|error| cannot_read(&name)(io::Error::other(error.to_string())))?;
        Ok(Source::Archive { read: Box::new(decoder), files: 0 })
    }

    pub(super) fn next(&mut self) -> Result<Option<Item>, FolderError> {
        match self {
            Source::Folder { root, stack } => {
                while let Some((name, depth)) = stack.pop() {
                    let path = root.join(&name);
                    let meta = fs::symlink_metadata(&path).map_err(cannot_read(&name))?;
                    // The folder that was asked for may itself be reached through a link.
                    if depth == 0 || meta.is_dir() {
                        list(&path, &name, depth, stack)?;
                    } else if meta.is_file() {
                        let mut bytes = Vec::new();
                        let file = File::open(&path).map_err(cannot_read(&name))?;
                        file.take(most(&name)).read_to_end(&mut bytes).map_err(cannot_read(&name))?;
                        return whole(name, bytes).map(Some);
                    } else {
                        return Err(form(format!("{} is neither a file nor a folder", quoted(&name))));
                    }
                }
                Ok(None)
            }
            Source::Archive { read, files } => archived(read, files),
        }
    }
}

/// Bytes of a file that are read: one more than it may have.
fn most(name: &str) -> u64 {
    if is_receipt(name) { MAX_RECEIPT } else { MAX_FILE + 1 }
}

/// Whether a file is among the receipts.
pub(super) fn is_receipt(name: &str) -> bool {
    name.strip_prefix(super::RECEIPTS).is_some_and(|rest| rest.starts_with('/'))
}

fn whole(name: String, bytes: Vec<u8>) -> Result<Item, FolderError> {
    if bytes.len() as u64 > MAX_FILE {
        return Err(form(format!("{} is longer than any file of an export", quoted(&name))));
    }
    Ok(Item { name, bytes })
}

/// Puts what a folder holds on the stack, so that `receipts` comes out last and the rest by name.
fn list(path: &Path, name: &str, depth: usize, stack: &mut Vec<(String, usize)>) -> Result<(), FolderError> {
    if depth > MAX_DEPTH {
        return Err(form(format!("{} is too deep for an export", quoted(name))));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot_read(name))? {
        let entry = entry.map_err(cannot_read(name))?.file_name();
        let entry =
            entry.to_str().ok_or_else(|| form(format!("{} holds a name that is no text", quoted(name))))?;
        names.push(if name.is_empty() { entry.to_owned() } else { format!("{name}/{entry}") });
    }
    names.sort_by_key(|name| (name != super::RECEIPTS, std::cmp::Reverse(name.clone())));
    stack.extend(names.into_iter().map(|name| (name, depth + 1)));
    Ok(())
}

/// The next file of a tar stream (POSIX ustar). Extensions are refused: no name of an export needs one.
/// Folders count as files: they take as long to read.
fn archived(read: &mut dyn Read, files: &mut u64) -> Result<Option<Item>, FolderError> {
    let broken = cannot_read("the archive");
    loop {
        *files += 1;
        if *files > MAX_FILES {
            return Err(form(format!("the archive holds more than {MAX_FILES} files")));
        }
        let mut header = tar::Header::new_ustar();
        let bytes = header.as_mut_bytes();
        if let Err(error) = read.read_exact(bytes) {
            let torn = io::Error::new(error.kind(), format!("it ends without its end mark: {error}"));
            return Err(broken(torn));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = bytes.iter().enumerate().map(|(at, byte)| checksummed(at, *byte)).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(form("a header of the archive is damaged".into()));
        }
        let name = header.path_bytes();
        let name = std::str::from_utf8(&name).map_err(|_| form("a name in the archive is no text".into()))?;
        let name = name.strip_suffix('/').unwrap_or(name).to_owned();
        safe(&name)?;
        let size = header.entry_size().map_err(|_| form(format!("{} has no size", quoted(&name))))?;
        if size > MAX_FILE {
            return Err(form(format!("{} is longer than any file of an export", quoted(&name))));
        }
        let kind = header.entry_type();
        if kind.is_dir() && size == 0 {
            continue;
        }
        if !kind.is_file() {
            return Err(form(format!("{} is not a plain file", quoted(&name))));
        }
        // A size that the archive does not have costs no more memory than what is really there.
        let mut bytes = Vec::new();
        let padded = size.next_multiple_of(BLOCK as u64);
        let kept = size.min(most(&name));
        read.take(kept).read_to_end(&mut bytes).map_err(cannot_read(&name))?;
        let skipped = io::copy(&mut read.take(padded - kept), &mut io::sink()).map_err(cannot_read(&name))?;
        if bytes.len() as u64 + skipped != padded {
            return Err(form(format!("the archive ends within {}", quoted(&name))));
        }
        return whole(name, bytes).map(Some);
    }
}

/// The checksum counts its own field (bytes 148 to 155) as spaces.
fn checksummed(at: usize, byte: u8) -> u32 {
    if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(byte) }
}

/// Refuses names that could leave the export if somebody unpacked it. Nothing here is ever written.
fn safe(name: &str) -> Result<(), FolderError> {
    let parts = || name.split('/');
    if name.len() > MAX_NAME || name.contains('\\') || parts().any(|part| matches!(part, "" | "." | "..")) {
        return Err(form(format!("{} is no name of an export", quoted(name))));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
