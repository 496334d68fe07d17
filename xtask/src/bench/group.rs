//! A control group of a contender's own, which counts its memory as a container's is counted.
//!
//! Kubernetes holds a container's *working set* against its limit: what the group uses, its sockets and files' pages
//! included, less the pages of files that were not used lately, which the kernel takes back for nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::shell::pause;

/// Where the kernel's groups are: all controllers (v2), or memory's alone (v1).
const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY_ALONE: &str = "/sys/fs/cgroup/memory";

/// How many this process has made: each has a folder of its own.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A group, removed when dropped. Whoever was in it has to have ended by then.
pub(super) struct Group {
    folder: PathBuf,
    /// What is used, in bytes.
    used: &'static str,
    /// In `memory.stat`: pages of files that were not used lately, in bytes.
    inactive: &'static str,
}

impl Group {
    /// A new one, or why this machine does not let us have one: not root, or no memory controller.
    pub(super) fn new() -> Result<Group> {
        let v1 = Path::new(MEMORY_ALONE).join("memory.usage_in_bytes").exists();
        let (root, used, inactive) = match v1 {
            true => (MEMORY_ALONE, "memory.usage_in_bytes", "total_inactive_file"),
            false => (UNIFIED, "memory.current", "inactive_file"),
        };
        if !v1 {
            // It stays so: others' groups may use it by the time that the bench ends.
            let control = Path::new(root).join("cgroup.subtree_control");
            let on = fs::read_to_string(&control).context("no control groups")?;
            if !on.split_whitespace().any(|controller| controller == "memory") {
                fs::write(&control, "+memory").context("no memory controller to be had")?;
            }
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(root).join(format!("colophon-bench-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let group = Group { folder, used, inactive };
        group.working_set_kb()?;
        Ok(group)
    }

    /// The command, begun within the group: what a program uses stays with the group that it began in.
    pub(super) fn within(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.folder.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }

    /// The working set, kB.
    pub(super) fn working_set_kb(&self) -> Result<u64> {
        let read =
            |name| fs::read_to_string(self.folder.join(name)).with_context(|| format!("{name} of a group"));
        let used: u64 = read(self.used)?.trim().parse()?;
        let stat = read("memory.stat")?;
        let inactive =
            stat.lines().filter_map(|line| line.split_once(' ')).find(|(key, _)| *key == self.inactive);
        let inactive: u64 = inactive.context("nothing about files in memory.stat")?.1.parse()?;
        Ok(used.saturating_sub(inactive) / 1024)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..20 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            pause(Duration::from_millis(50));
        }
        eprintln!("bench: {} is still there", self.folder.display());
    }
}
