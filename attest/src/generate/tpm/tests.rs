use super::*;
use crate::report::Source;
use colophon_receipt::level::Level;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// swtpm, a real TPM 2.0 in software, of the test's own.
pub(super) struct SoftwareTpm {
    child: Child,
    folder: tempfile::TempDir,
}

impl SoftwareTpm {
    /// Starts one. Where there is none the test says so, loudly, and has nothing to do.
    pub(super) fn start() -> Option<SoftwareTpm> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let child = Command::new("swtpm")
            .args([
                "socket",
                "--tpm2",
                "--tpmstate",
                &format!("dir={}", at("")),
                "--flags",
                "not-need-init,startup-clear",
            ])
            .args(["--server", &format!("type=unixio,path={}", at("tpm"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(SoftwareTpm { child, folder }),
            Err(error) => {
                eprintln!("\n*** skipped: no swtpm ({error}; Debian: apt-get install swtpm) ***\n");
                None
            }
        }
    }

    pub(super) fn connect(&self) -> UnixStream {
        for _ in 0..500 {
            if let Ok(stream) = UnixStream::connect(self.folder.path().join("tpm")) {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                return stream;
            }
            pause();
        }
        panic!("swtpm does not listen");
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn report(quote: &TpmQuote, nonce: &[u8]) -> Result<crate::Report, Refusal> {
    let simulated = SimulatedRoots::default();
    let question = Question { nonce: Some(nonce), simulated: Some(&simulated), ..Question::default() };
    verify(&Evidence::Tpm(quote.clone()), &Collateral::default(), &question)
}

#[test]
fn a_real_tpm_in_software_quotes_for_each_nonce_and_counts_for_sign() {
    let Some(tpm) = SoftwareTpm::start() else { return };
    let mut stream = tpm.connect();
    let mut digests = Vec::new();
    // More often than a TPM without a resource manager has room for keys: each is let go of.
    for number in 0u8..6 {
        let nonce = [number; 64];
        let quote = quote(&mut stream, &nonce).unwrap();
        assert_eq!(quote.pcrs.len(), 10);
        let report = report(&quote, &nonce).unwrap();
        assert_eq!((report.source, report.highest_level()), (Source::OperatorAsserted, Level::Sign));
        assert!(report.is_simulated());
        assert_eq!(super::tests::report(&quote, &[99; 64]).unwrap_err().code(), "nonce");
        let question = Question { nonce: Some(&nonce), ..Question::default() };
        let refused = verify(&Evidence::Tpm(quote.clone()), &Collateral::default(), &question);
        assert_eq!(refused.unwrap_err().code(), "simulated", "nobody allowed it");
        digests.push(report.measurements["pcr7"].clone());
        if number == 2 {
            extend(&mut stream, 7);
        }
        let mut bent = quote.clone();
        bent.pcrs.insert(7, "11".repeat(32));
        assert_eq!(super::tests::report(&bent, &nonce).unwrap_err().code(), "identity");
    }
    assert!(digests[0] == digests[2] && digests[2] != digests[3] && digests[3] == digests[5], "{digests:?}");
}

/// Extends a PCR as firmware does (`TPM2_PCR_Extend`).
fn extend(stream: &mut UnixStream, pcr: u32) {
    let mut parameters = pcr.to_be_bytes().to_vec();
    parameters.extend(PASSWORD);
    parameters.extend([0, 0, 0, 1]);
    parameters.extend(SHA256.to_be_bytes());
    parameters.extend([0xab; 32]);
    Commands(stream).command(SESSIONS, 0x182, &parameters).unwrap();
}

#[test]
fn what_a_tpm_refuses_is_told_with_its_code() {
    let Some(tpm) = SoftwareTpm::start() else { return };
    let mut stream = tpm.connect();
    let error = quote(&mut stream, &[0; 200]).unwrap_err().to_string();
    assert!(error.contains("0x158") && error.contains("code"), "{error}");
    // And it goes on.
    assert!(quote(&mut stream, &[1; 32]).is_ok());
    let error = open(Path::new("/nowhere/tpmrm0")).unwrap_err();
    assert!(matches!(&error, GenerateError::Unavailable(why) if why.contains("there is no")), "{error}");
}

/// Says what it is told, whatever it is asked.
struct Says(Vec<u8>);

impl Read for Says {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        (&self.0[..]).read(into).inspect(|read| drop(self.0.drain(..*read)))
    }
}

impl Write for Says {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn answers_that_are_none_are_errors_and_no_panics() {
    let header = |len: u32, code: u32| [&[0x80, 1][..], &len.to_be_bytes(), &code.to_be_bytes()].concat();
    for answer in [
        vec![],
        vec![0; 9],
        header(10, 0),
        header(9, 0),
        header(u32::MAX, 0),
        header(10, 0x101),
        [header(14, 0), vec![0; 4]].concat(),
        [header(80, 0), vec![0xff; 70]].concat(),
        vec![0; 2 * MAX_ANSWER],
    ] {
        let shown = format!("{:02x?}", &answer[..answer.len().min(20)]);
        assert!(matches!(quote(&mut Says(answer), &[0; 64]), Err(GenerateError::Refused { .. })), "{shown}");
    }
}
