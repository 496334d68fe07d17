//! The key-encryption key from where it is kept: 64 hexadecimal digits in a file or an environment variable.

use super::crypt::{CryptError, Kek};
use colophon_signer::KeySource;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// 64 digits with white space around them are never longer.
const MAX_TEXT: u64 = 1024;

/// Why a key-encryption key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// A place that holds no such key.
    #[error("{0}: a key-encryption key is in a file or an environment variable: write file:PATH or env:NAME")]
    Form(String),
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others could read it.
    #[error("{path} may be read or written by others (mode {mode:o}); make it private: chmod 600")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The variable is not set, or is not text.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// What is there is no key.
    #[error("{at}: {source}")]
    Key {
        /// The file or variable.
        at: String,
        /// Why.
        source: CryptError,
    },
}

impl Kek {
    /// Reads the key from where it is: a file or an environment variable.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn load(from: &KeySource) -> Result<Kek, KekError> {
        let text = if let KeySource::File(path) = from {
            read(path)?
        } else if let KeySource::Env(name) = from {
            std::env::var(name).map_err(|_| KekError::Unset(name.clone()))?
        } else {
            return Err(KekError::Form(from.to_string()));
        };
        Kek::parse(&text).map_err(|source| KekError::Key { at: from.to_string(), source })
    }
}

/// Reads a file that only its owner may read.
fn read(path: &Path) -> Result<String, KekError> {
    let io = |source| KekError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    #[cfg(unix)]
    {
        let metadata = file.metadata().map_err(io)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(KekError::Permissions { path: path.to_owned(), mode });
        }
    }
    let mut text = String::new();
    file.take(MAX_TEXT).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
