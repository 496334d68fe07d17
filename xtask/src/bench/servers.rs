//! The contenders: started on free loopback ports, pinned, and stopped by their process ids.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::machine::{self, Machine};
use super::{RELEASE, http, program_of};
use crate::shell::{end, pause, run_quietly};

/// A contender listens within this time, or the run fails.
const START: Duration = Duration::from_secs(60);

/// One contender that listens.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) listen: SocketAddr,
    /// Colophon's own side door.
    pub(super) admin: Option<SocketAddr>,
    /// What each request needs beyond the usual, `Name: value`.
    pub(super) headers: Vec<String>,
    child: Child,
}

/// A release build that kept its names.
pub(super) const COUNTED: &str = "counted";

/// What the proxies run under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    Nothing,
    /// Nothing, but the build that kept its names: perf attaches itself later.
    Perf,
    /// Valgrind's counter of instructions, off until it is told to count; dumps go to `callgrind.NAME` in the folder.
    Callgrind,
}

/// glibc clears and copies thousands of bytes by one instruction on some CPUs, which callgrind counts once for each byte: on none here.
const NO_STRING_INSTRUCTIONS: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_stosb_threshold=0x7fffffff:glibc.cpu.x86_rep_movsb_threshold=0x7fffffff",
);

/// All of them.
pub(super) struct Stage {
    /// In the order of the tables: `direct` (the upstream itself), `plain`, `floor`, `floor sign`, `pass`, `commit`, `sign`.
    pub(super) servers: Vec<Server>,
    /// For the run's own files.
    pub(super) folder: PathBuf,
    profile: &'static str,
}

impl Stage {
    /// Starts everything.
    pub(super) fn set(folder: &Path, machine: &Machine) -> Result<Stage> {
        Stage::set_under(folder, machine, Under::Nothing)
    }

    /// Starts everything, the proxies under a tool.
    pub(super) fn set_under(folder: &Path, machine: &Machine, under: Under) -> Result<Stage> {
        let profile = match under {
            Under::Nothing => RELEASE,
            Under::Perf | Under::Callgrind => COUNTED,
        };
        let upstream = pinned_to(&machine.load_cores, &program_of(profile, "fixed-upstream"));
        let upstream = Server::announced("direct", upstream)?;
        let target = upstream.listen;
        let mut servers = vec![upstream];
        let proxy = |name: &str, level: &str| match under {
            Under::Nothing | Under::Perf => pinned_to(&[machine.proxy_core], &program_of(profile, name)),
            Under::Callgrind => {
                let mut command = pinned_to(&[machine.proxy_core], Path::new("valgrind"));
                command.args(["--quiet", "--tool=callgrind", "--instr-atstart=no"]);
                command.env(NO_STRING_INSTRUCTIONS.0, NO_STRING_INSTRUCTIONS.1);
                let out = folder.join(format!("callgrind.{level}"));
                command.arg(format!("--callgrind-out-file={}", out.display())).arg(program_of(profile, name));
                command
            }
        };
        servers.push(Server::plain(proxy("plain-proxy", "plain"), target)?);
        // Where counts and samples go is asked of Colophon; instructions are counted without most of what a floor does.
        let floors = [("floor", &[][..]), ("floor sign", &["--sign"])];
        for (name, flags) in floors.into_iter().filter(|_| under == Under::Nothing) {
            let mut floor = proxy("plain-proxy", name);
            floor.args(["--upstream", &target.to_string()]).arg("--floor").arg(folder.join(name)).args(flags);
            servers.push(Server::announced(name, floor)?);
        }
        for level in ["pass", "commit", "sign"] {
            servers.push(Server::colophon(proxy("colophon", level), level, &folder.join(level), target)?);
        }
        Ok(Stage { servers, folder: folder.to_owned(), profile })
    }

    /// A program of the build that is measured.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        program_of(self.profile, name)
    }

    /// The contender of this name.
    pub(super) fn server(&self, name: &str) -> Result<&Server> {
        self.servers.iter().find(|server| server.name == name).with_context(|| format!("no contender {name}"))
    }

    /// (contender, resident kB).
    pub(super) fn memory(&self) -> Result<Vec<(&'static str, u64)>> {
        self.servers.iter().map(|server| Ok((server.name, machine::resident_kb(server.pid())?))).collect()
    }

    /// Refuses a run in which a record was lost.
    pub(super) fn check_records(&self) -> Result<()> {
        check_records(&self.servers)
    }

    /// Asks everything to end, proxies first.
    pub(super) fn stop(&mut self) {
        while let Some(server) = self.servers.pop() {
            drop(server);
        }
    }
}

impl Server {
    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A contender that prints where it listens.
    pub(super) fn announced(name: &'static str, mut command: Command) -> Result<Server> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start")?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            // It prints one line at once, or ends.
            BufReader::new(out).read_line(&mut line)?;
        }
        let listen = line.trim().parse().with_context(|| format!("{name} did not say where it listens"))?;
        Ok(Server { name, listen, admin: None, headers: Vec::new(), child })
    }

    /// The proxy that forwards and does nothing else.
    pub(super) fn plain(mut command: Command, upstream: SocketAddr) -> Result<Server> {
        command.args(["--upstream", &upstream.to_string()]);
        Server::announced("plain", command)
    }

    /// A contender that was told where to listen, once it accepts connections.
    pub(super) fn told(
        name: &'static str,
        mut command: Command,
        listen: SocketAddr,
        within: Duration,
    ) -> Result<Server> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
        let mut server = Server { name, listen, admin: None, headers: Vec::new(), child };
        let begun = Instant::now();
        while begun.elapsed() < within {
            if TcpStream::connect(listen).is_ok() {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended at its start: {status}");
            }
            pause(Duration::from_millis(100));
        }
        bail!("{name} did not listen on {listen} within {within:?}")
    }

    /// A `colophon serve` at this level for all requests.
    pub(super) fn colophon(
        mut command: Command,
        level: &'static str,
        folder: &Path,
        upstream: SocketAddr,
    ) -> Result<Server> {
        command.args(["serve", "--upstream", &format!("http://{upstream}")]);
        Server::serving(command, level, folder, &policy_text(level))
    }

    /// A `colophon serve` with this policy, whose files are in a folder of its own.
    pub(super) fn serving(
        mut command: Command,
        name: &'static str,
        folder: &Path,
        policy_text: &str,
    ) -> Result<Server> {
        fs::create_dir_all(folder)?;
        let policy = folder.join("policy.yaml");
        fs::write(&policy, policy_text)?;
        let ready = folder.join("ready.json");
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "warn"]);
        for (flag, path) in [
            ("--policy", policy.as_path()),
            ("--data", folder.join("data").as_path()),
            ("--state", folder.join("state").as_path()),
            ("--ready-file", ready.as_path()),
        ] {
            command.arg(flag).arg(path);
        }
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot start colophon")?;
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { name, listen: placeholder, admin: None, headers: Vec::new(), child };
        let text = server.wait_for(&ready)?;
        let said: serde_json::Value = serde_json::from_str(&text)?;
        let address = |key: &str| -> Result<SocketAddr> {
            said[key]
                .as_str()
                .with_context(|| format!("no {key} in the ready file"))?
                .parse()
                .context("an address")
        };
        server.listen = address("listen")?;
        server.admin = Some(address("admin")?);
        Ok(server)
    }

    fn wait_for(&mut self, ready: &Path) -> Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if let Ok(text) = fs::read_to_string(ready) {
                return Ok(text);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start: {status}", self.name);
            }
            pause(Duration::from_millis(20));
        }
        bail!("{} did not listen within {START:?}", self.name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Refuses a run in which one of these lost a record: it would have measured something else.
pub(super) fn check_records(servers: &[Server]) -> Result<()> {
    for server in servers {
        let Some(admin) = server.admin else { continue };
        let metrics = http::get(admin, "/metrics")?.body;
        for name in ["colophon_degraded", "colophon_ledger_lost"] {
            let value = metric(&metrics, name).with_context(|| format!("no metric {name}"))?;
            if value > 0.0 {
                bail!("{}: {name} is {value}: records were not kept, so this measured nothing", server.name);
            }
        }
        let recorded = metric(&metrics, "colophon_ledger_recorded").unwrap_or(0.0);
        let passed = metric(&metrics, "colophon_ledger_passed").unwrap_or(0.0);
        eprintln!("bench: {}: {recorded} exchanges recorded, {passed} passed", server.name);
    }
    Ok(())
}

/// A program that may run on these cores only.
pub(super) fn pinned_to(cores: &[usize], program: &Path) -> Command {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    let mut command = Command::new("taskset");
    // taskset turns into the program, so the process id stays.
    command.args(["-c", &cores.join(",")]).arg(program);
    command
}

/// Makes `cert.pem` and `key.pem` for the loopback in the folder.
pub(super) fn certificate(folder: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]).arg(folder.join("key.pem"));
    run_quietly(openssl.arg("-out").arg(folder.join("cert.pem"))).map(drop).context("openssl is needed")
}

/// `Fail`: an exchange whose record cannot be kept shall not look fast.
pub(super) fn policy_text(level: &str) -> String {
    format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: bench-{level}}}\n\
         spec:\n  defaults: {{level: commit, failurePolicy: Fail}}\n  clientMayRaiseTo: sign\n  rules:\n  \
         - name: all\n    level: {level}\n"
    )
}

/// A metric's value in OpenMetrics text; counters end in `_total`.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| key.strip_suffix("_total").unwrap_or(key) == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}
