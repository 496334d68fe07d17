//! `configfs-tsm`, the kernel's interface for reports of confidential VMs (Linux 6.7 and later,
//! `Documentation/ABI/testing/configfs-tsm`): TDX quotes and SEV-SNP reports by plain file I/O.
//!
//! Each request makes a folder of its own, writes `inblob`, reads `outblob`, and compares `generation`: it counts writes, so
//! one more than expected means that somebody else wrote in between, and what was read may be his. Requests of this process
//! are made one after another, as the host is asked one at a time anyway.

use super::GenerateError;
use crate::Evidence;
use crate::bytes::Bytes;
use colophon_signer::x509;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the kernel has it.
const FOLDER: &str = "/sys/kernel/config/tsm/report";
/// Names of providers.
pub const TDX: &str = "tdx_guest";
/// Of AMD's.
pub const SEV_SNP: &str = "sev_guest";

/// Tries before somebody else's writes, or a busy host, are an error.
const TRIES: usize = 5;
/// The kernel's own limit for a blob.
const MAX_BLOB: u64 = 32 << 10;
/// Certificates in SEV-SNP's table.
const MAX_CERTIFICATES: usize = 16;

/// errno values that the kernel documents for these files.
const ENXIO: i32 = 6;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
const EINTR: i32 = 4;

/// One request at a time.
static ASKING: Mutex<()> = Mutex::new(());
/// Makes the names of folders differ.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The file operations, so that a test can stand in for the kernel.
trait Kernel {
    fn make(&self, folder: &Path) -> std::io::Result<()>;
    fn write(&self, file: &Path, bytes: &[u8]) -> std::io::Result<()>;
    fn read(&self, file: &Path) -> std::io::Result<Vec<u8>>;
    fn remove(&self, folder: &Path) -> std::io::Result<()>;
}

struct Linux;

impl Kernel for Linux {
    fn make(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir(folder)
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
        // One write(2): the kernel takes a blob as a whole.
        std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
    }

    fn read(&self, file: &Path) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(file)?.take(MAX_BLOB).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn remove(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::remove_dir(folder)
    }
}

/// What the kernel gave.
struct Blobs {
    provider: String,
    out: Vec<u8>,
    aux: Vec<u8>,
}

/// A quote or report of this machine over this report data.
///
/// # Errors
/// [`GenerateError`]: no such interface, or it refused.
pub fn generate(report_data: &[u8; 64]) -> Result<Evidence, GenerateError> {
    let blobs = ask(&Linux, Path::new(FOLDER), report_data)?;
    evidence(blobs)
}

/// Who makes this machine's reports, without making one.
///
/// # Errors
/// When there is no such interface, or nobody behind it.
pub fn provider() -> Result<String, GenerateError> {
    let kernel = Linux;
    let request = Request::make(&kernel, Path::new(FOLDER))?;
    request.text("provider")
}

fn evidence(blobs: Blobs) -> Result<Evidence, GenerateError> {
    match blobs.provider.as_str() {
        TDX => Ok(Evidence::IntelQuote { quote: blobs.out }),
        SEV_SNP => Ok(Evidence::SnpReport { report: blobs.out, certificates: certificates(&blobs.aux) }),
        other => Err(GenerateError::Unavailable(format!(
            "configfs-tsm's provider {other:?} is not known to this program"
        ))),
    }
}

fn ask(kernel: &dyn Kernel, folder: &Path, report_data: &[u8; 64]) -> Result<Blobs, GenerateError> {
    let _one_at_a_time = ASKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let request = Request::make(kernel, folder)?;
    for _ in 0..TRIES {
        match request.once(report_data) {
            Ok(Some(blobs)) => return Ok(blobs),
            Ok(None) => {}
            Err(error) => return Err(error),
        }
    }
    Err(GenerateError::Busy("configfs-tsm"))
}

/// A folder of a request, removed with it.
struct Request<'a> {
    kernel: &'a dyn Kernel,
    folder: PathBuf,
}

impl<'a> Request<'a> {
    fn make(kernel: &'a dyn Kernel, folder: &Path) -> Result<Request<'a>, GenerateError> {
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let folder = folder.join(format!("colophon-{}-{number}", std::process::id()));
        match kernel.make(&folder) {
            Ok(()) => Ok(Request { kernel, folder }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(GenerateError::Unavailable(
                "there is no /sys/kernel/config/tsm/report: not a confidential VM, a kernel before 6.7, or configfs is not mounted"
                    .into(),
            )),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(GenerateError::Unavailable(
                "no permission to make a folder in /sys/kernel/config/tsm/report; it usually takes root".into(),
            )),
            Err(error) if error.raw_os_error() == Some(ENXIO) => Err(nobody()),
            Err(error) => Err(refused(&folder, &error)),
        }
    }

    /// One try: nothing if somebody else wrote meanwhile, or the host was busy.
    fn once(&self, report_data: &[u8; 64]) -> Result<Option<Blobs>, GenerateError> {
        let before = self.generation()?;
        let asked = self.kernel.write(&self.folder.join("inblob"), report_data);
        if let Some(again) = self.judge("inblob", asked)? {
            return Ok(again);
        }
        let out = self.kernel.read(&self.folder.join("outblob"));
        let out = match out {
            Ok(out) => out,
            Err(error) => return self.judge("outblob", Err(error)).map(|_| None),
        };
        // Absent where the provider has none.
        let aux = self.kernel.read(&self.folder.join("auxblob")).unwrap_or_default();
        let provider = self.text("provider")?;
        match self.generation()? == before.wrapping_add(1) {
            true if out.is_empty() => {
                Err(GenerateError::Refused { what: self.shown("outblob"), error: "it is empty".into() })
            }
            true => Ok(Some(Blobs { provider, out, aux })),
            false => Ok(None),
        }
    }

    /// Whether to go on (nothing), to try again (`Some(None)`), or to give up.
    fn judge(&self, file: &str, done: std::io::Result<()>) -> Result<Option<Option<Blobs>>, GenerateError> {
        let Err(error) = done else { return Ok(None) };
        match error.raw_os_error() {
            Some(EBUSY | EAGAIN | EINTR) => Ok(Some(None)),
            Some(ENXIO) => Err(nobody()),
            Some(EINVAL) => {
                let error = "the kernel calls the report data, or an option, invalid (EINVAL)".into();
                Err(GenerateError::Refused { what: self.shown(file), error })
            }
            _ => Err(refused(&self.folder.join(file), &error)),
        }
    }

    fn generation(&self) -> Result<u64, GenerateError> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| GenerateError::Refused {
            what: self.shown("generation"),
            error: format!("{text:?} is no number"),
        })
    }

    fn text(&self, file: &str) -> Result<String, GenerateError> {
        let path = self.folder.join(file);
        match self.kernel.read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(error) if error.raw_os_error() == Some(ENXIO) => Err(nobody()),
            Err(error) => Err(refused(&path, &error)),
        }
    }

    fn shown(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        // The kernel frees it with the machine otherwise.
        let _ = self.kernel.remove(&self.folder);
    }
}

fn nobody() -> GenerateError {
    GenerateError::Unavailable(
        "configfs-tsm is there, and nothing behind it (ENXIO): no driver of a confidential VM is loaded"
            .into(),
    )
}

fn refused(path: &Path, error: &std::io::Error) -> GenerateError {
    GenerateError::Refused { what: path.display().to_string(), error: error.to_string() }
}

/// The certificates of SEV-SNP's table (GHCB specification 56421, section 4.1.8.1): GUID, offset and length, the last entry
/// all zeros. What is not a certificate is left out: a verifier needs the VCEK from somewhere else then.
fn certificates(table: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut bytes = Bytes::new(table, "certificate table");
    while found.len() < MAX_CERTIFICATES {
        let entry = (|| Ok::<_, crate::Refusal>((bytes.array::<16>()?, bytes.u32_le()?, bytes.u32_le()?)))();
        let Ok((guid, offset, len)) = entry else { break };
        if guid == [0; 16] {
            break;
        }
        let range =
            (offset as usize).checked_add(len as usize).and_then(|end| table.get(offset as usize..end));
        found.extend(range.filter(|der| x509::Certificate::parse(der).is_ok()).map(<[u8]>::to_vec));
    }
    found
}

#[cfg(test)]
mod tests;
