//! Rounds that somebody else puts into a folder: for machines without a way out, and for tests.

use std::io::ErrorKind;
use std::path::PathBuf;

use colophon_signer::drand::MAX_ROUND;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::RoundSource;

/// A folder with files `<number>` or `<number>.json`, or a single file; each as a drand server answers.
#[derive(Clone, Debug)]
pub struct RoundFiles(pub PathBuf);

impl RoundFiles {
    fn read(&self, number: u64) -> Result<Option<Vec<u8>>, String> {
        let names = match self.0.is_dir() {
            true => vec![self.0.join(number.to_string()), self.0.join(format!("{number}.json"))],
            false => vec![self.0.clone()],
        };
        for path in names {
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            match std::fs::metadata(&path) {
                Ok(found) if found.len() > MAX_ROUND as u64 => {
                    return Err(format!("{}: longer than {MAX_ROUND} bytes", path.display()));
                }
                Ok(_) => return std::fs::read(&path).map(Some).map_err(failed),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(None)
    }
}

impl RoundSource for RoundFiles {
    fn fetch(&self, number: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        let files = self.clone();
        let read = tokio::task::spawn_blocking(move || files.read(number));
        read.map(|read| read.unwrap_or_else(|error| Err(error.to_string()))).boxed()
    }
}
