use super::*;
use std::cell::{Cell, RefCell};

#[cfg(target_os = "linux")]
mod fuse;

/// Stands in for the kernel: counts writes, answers as its script says.
#[derive(Default)]
struct Fake {
    provider: &'static str,
    generation: Cell<u64>,
    /// errno of the next writes of `inblob` and reads of `outblob`.
    write_errors: RefCell<Vec<i32>>,
    read_errors: RefCell<Vec<i32>>,
    /// So many times somebody else writes before `outblob` is read.
    others: Cell<u32>,
    make_error: Option<i32>,
    in_blob: RefCell<Vec<u8>>,
    aux: Vec<u8>,
    folders: RefCell<Vec<PathBuf>>,
}

impl Fake {
    fn of(provider: &'static str) -> Fake {
        Fake { provider, generation: Cell::new(7), ..Fake::default() }
    }

    fn ask(&self, data: u8) -> Result<Evidence, GenerateError> {
        ask(self, Path::new("/tsm"), &[data; 64]).and_then(evidence)
    }
}

fn errno(number: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(number)
}

impl Kernel for Fake {
    fn make(&self, folder: &Path) -> std::io::Result<()> {
        self.folders.borrow_mut().push(folder.to_owned());
        self.make_error.map_or(Ok(()), |number| Err(errno(number)))
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> std::io::Result<()> {
        assert!(file.ends_with("inblob"));
        if let Some(number) = self.write_errors.borrow_mut().pop() {
            return Err(errno(number));
        }
        *self.in_blob.borrow_mut() = bytes.to_vec();
        self.generation.set(self.generation.get() + 1);
        Ok(())
    }

    fn read(&self, file: &Path) -> std::io::Result<Vec<u8>> {
        match file.file_name().and_then(|name| name.to_str()) {
            Some("generation") => Ok(format!("{}\n", self.generation.get()).into_bytes()),
            Some("provider") => Ok(format!("{}\n", self.provider).into_bytes()),
            Some("auxblob") if self.aux.is_empty() => Err(errno(2)),
            Some("auxblob") => Ok(self.aux.clone()),
            Some("outblob") => {
                if let Some(number) = self.read_errors.borrow_mut().pop() {
                    return Err(errno(number));
                }
                if self.others.get() > 0 {
                    self.others.set(self.others.get() - 1);
                    self.write(Path::new("inblob"), b"somebody else's")?;
                }
                Ok(self.in_blob.borrow().clone())
            }
            other => panic!("{other:?}"),
        }
    }

    fn remove(&self, folder: &Path) -> std::io::Result<()> {
        self.folders.borrow_mut().retain(|known| known != folder);
        Ok(())
    }
}

#[test]
fn each_provider_gives_its_evidence_and_the_folder_is_removed() {
    let fake = Fake::of(TDX);
    assert_eq!(fake.ask(1).unwrap(), Evidence::IntelQuote { quote: vec![1; 64] });
    assert!(fake.folders.borrow().is_empty());
    let fake = Fake::of(SEV_SNP);
    assert_eq!(fake.ask(2).unwrap(), Evidence::SnpReport { report: vec![2; 64], certificates: vec![] });
    let error = Fake::of("arm_cca_guest").ask(3).unwrap_err();
    assert!(error.to_string().contains("arm_cca_guest"), "{error}");
}

#[test]
fn what_somebody_else_asked_for_is_never_taken() {
    let fake = Fake::of(TDX);
    fake.others.set(2);
    assert_eq!(fake.ask(1).unwrap(), Evidence::IntelQuote { quote: vec![1; 64] });
    fake.others.set(99);
    assert!(matches!(fake.ask(1), Err(GenerateError::Busy(_))));
    assert!(fake.folders.borrow().is_empty(), "removed after a failure too");
}

#[test]
fn a_busy_kernel_is_asked_again_and_a_refusal_is_not() {
    let fake = Fake::of(TDX);
    *fake.write_errors.borrow_mut() = vec![EBUSY, EINTR];
    *fake.read_errors.borrow_mut() = vec![EBUSY, EAGAIN];
    assert!(fake.ask(1).is_ok());
    *fake.write_errors.borrow_mut() = vec![EBUSY; 9];
    assert!(matches!(fake.ask(1), Err(GenerateError::Busy(_))));
    fake.write_errors.borrow_mut().clear();
    *fake.write_errors.borrow_mut() = vec![EINVAL];
    assert!(fake.ask(1).unwrap_err().to_string().contains("EINVAL"));
    *fake.read_errors.borrow_mut() = vec![ENXIO];
    assert!(matches!(fake.ask(1), Err(GenerateError::Unavailable(_))));
}

#[test]
fn why_there_is_nothing_to_ask_is_said() {
    for (number, word) in [(2, "not a confidential VM"), (13, "permission"), (ENXIO, "ENXIO")] {
        let error = Fake { make_error: Some(number), ..Fake::of(TDX) }.ask(1).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_certificate_table_is_read_within_its_bounds() {
    let Some(vcek) = crate::testing::recorded("snp/vcek_milan.der") else { return };
    let entry = |guid: u8, offset: u32, len: u32| {
        [&[guid; 16][..], &offset.to_le_bytes(), &len.to_le_bytes()].concat()
    };
    let len = vcek.len() as u32;
    let table =
        [entry(1, 96, len), entry(2, 0, 10), entry(3, u32::MAX, u32::MAX), entry(0, 0, 0), vcek.clone()]
            .concat();
    assert_eq!(certificates(&table), [vcek]);
    assert!(certificates(&table[..30]).is_empty());
    assert!(certificates(&[]).is_empty());
}
