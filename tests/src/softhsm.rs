//! A SoftHSM2 of the test's own: a PKCS#11 token in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where distributions put the module.
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];
const PIN: &str = "0123-pin";

/// One token, labelled `colophon`.
pub struct SoftHsm {
    folder: PathBuf,
    module: &'static str,
}

impl SoftHsm {
    /// Sets one up in `folder`; `None`, and a line that says so, where SoftHSM2 or pkcs11-tool is missing.
    pub fn new(folder: &Path) -> Option<Self> {
        let module = MODULES.into_iter().find(|path| Path::new(path).exists());
        let has = |program: &str| Command::new(program).arg("--help").output().is_ok();
        let (Some(module), true) = (module, has("softhsm2-util") && has("pkcs11-tool")) else {
            eprintln!("skipped: no SoftHSM2 with pkcs11-tool (Debian: softhsm2 opensc)");
            return None;
        };
        let hsm = Self { folder: folder.to_owned(), module };
        fs::create_dir_all(hsm.tokens()).expect("the token folder");
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            hsm.tokens().display()
        );
        fs::write(hsm.conf(), conf).expect("softhsm2.conf");
        let pin = hsm.folder.join("pin");
        fs::write(&pin, PIN).expect("the PIN");
        fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mode 0600");
        let init = ["--init-token", "--free", "--label", "colophon", "--so-pin", "so-pin", "--pin", PIN];
        let mut util = Command::new("softhsm2-util");
        let done = util.args(init).env("SOFTHSM2_CONF", hsm.conf()).output().expect("softhsm2-util");
        assert!(done.status.success(), "{done:?}");
        Some(hsm)
    }

    /// The folder with the tokens: move it away, and they are pulled out.
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn conf(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// The variable by which a program finds the token.
    pub fn env(&self) -> (String, String) {
        ("SOFTHSM2_CONF".to_owned(), self.conf().display().to_string())
    }

    /// The URI of a key in it.
    pub fn uri(&self, object: &str) -> String {
        let pin = self.folder.join("pin");
        format!(
            "pkcs11:token=colophon;object={object}?module-path={}&pin-source=file:{}",
            self.module,
            pin.display()
        )
    }

    /// Runs pkcs11-tool, logged in.
    pub fn tool(&self, args: &[&str]) -> Output {
        let login = ["--module", self.module, "--token-label", "colophon", "--login", "--pin", PIN];
        let mut tool = Command::new("pkcs11-tool");
        tool.args(login).args(args).current_dir(&self.folder).env("SOFTHSM2_CONF", self.conf());
        tool.output().expect("pkcs11-tool")
    }
}
