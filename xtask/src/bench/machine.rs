//! The machine, as far as numbers depend on it, and what /proc says of a process.

use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, Result, bail};

/// /proc counts a core's time in hundredths of a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Above this, in percent of one core, others were busy before the run.
const BUSY: f64 = 10.0;

const PAGE_KB: u64 = 1024;

/// Where the run takes place.
pub(super) struct Machine {
    pub(super) cpu: String,
    /// Whether a hypervisor runs it.
    pub(super) is_virtual: bool,
    pub(super) memory_gb: f64,
    pub(super) kernel: String,
    pub(super) rustc: String,
    /// All that the run may use.
    pub(super) cores: usize,
    /// The proxies' core.
    pub(super) proxy_core: usize,
    /// The others', less those that share the proxies' physical core where enough are left.
    pub(super) load_cores: Vec<usize>,
    /// How busy the cores were before the run, in percent of one core.
    pub(super) busy_before: f64,
    /// While it is open, idle cores wait in a loop instead of sleeping (the kernel's PM QoS).
    awake: Option<fs::File>,
}

impl Machine {
    pub(super) fn look() -> Result<Machine> {
        let cores = allowed_cores()?;
        let [proxy_core, others @ ..] = cores.as_slice() else { bail!("no core to run on") };
        if others.is_empty() {
            bail!("two cores are needed: one for the proxy, one for the load");
        }
        let load_cores = apart_from(*proxy_core, others);
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let is_virtual =
            cpuinfo.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).map(kilobytes);
        // Not there where only builds are measured (`--no-build`).
        let rustc = crate::shell::run_quietly(std::process::Command::new("rustc").arg("--version"));
        let rustc = rustc.unwrap_or_default();
        Ok(Machine {
            is_virtual,
            cpu: cpuinfo
                .lines()
                .find(|line| line.starts_with("model name"))
                .and_then(|line| line.split_once(':'))
                .map_or_else(|| "unknown CPU".into(), |(_, name)| name.trim().to_owned()),
            memory_gb: total.unwrap_or(0) as f64 / (PAGE_KB * PAGE_KB) as f64,
            // Major and minor: builds differ in their names only.
            kernel: kernel.trim().split('.').take(2).collect::<Vec<_>>().join("."),
            rustc: rustc.split_whitespace().nth(1).unwrap_or("unknown").to_owned(),
            cores: cores.len(),
            proxy_core: *proxy_core,
            load_cores,
            busy_before: busy_now(&cores)?,
            awake: stay_awake(),
        })
    }

    /// In one line, for people.
    pub(super) fn line(&self) -> String {
        format!(
            "{} cores, {}{}, {:.0} GB, Linux {}, rustc {}; before the run the cores were {:.0} % busy (of {} %); idle \
             cores {}",
            self.cores,
            self.cpu,
            if self.is_virtual { " (virtual machine)" } else { "" },
            self.memory_gb,
            self.kernel,
            self.rustc,
            self.busy_before,
            self.cores * 100,
            if self.awake.is_some() { "were kept awake" } else { "slept" }
        )
    }

    /// Whether others kept it so busy that times are upper bounds at best.
    pub(super) fn is_busy(&self) -> bool {
        self.busy_before > BUSY
    }

    /// Seconds that all cores together have spent on anything but idling.
    pub(super) fn busy_seconds(&self) -> Result<f64> {
        let cores = self.load_cores.iter().chain([&self.proxy_core]);
        cores.map(|core| core_busy_seconds(*core)).sum()
    }
}

/// CPU seconds that a process has used, all its threads together, user and system, to the nanosecond: what /proc says
/// comes in hundredths of a second, which is a seventh of all that a run's streams cost.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(i32::try_from(pid)?));
    let used =
        clock.and_then(nix::time::ClockId::now).with_context(|| format!("CPU clock of process {pid}"))?;
    Ok(used.tv_sec() as f64 + used.tv_nsec() as f64 / 1e9)
}

/// A process and its descendants; none where it has ended.
pub(super) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let Ok(child) = name.parse::<u32>() else { continue };
        // One that ended meanwhile is nobody's child any more.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.push((child, parent.unwrap_or(0)));
    }
    let mut family: Vec<u32> =
        parents.iter().map(|(child, _)| *child).filter(|child| *child == pid).collect();
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    Ok(family)
}

/// Resident memory of a process, kB.
pub(super) fn resident_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")).map(kilobytes).context("no VmRSS")
}

/// How often the threads that a process has now have given up their core to wait: for work, a lock, a disk.
pub(super) fn waits(pid: u32) -> Result<u64> {
    let mut waits = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that ended meanwhile does not count any more.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        waits += voluntary_switches(&status).context("no voluntary_ctxt_switches")?;
    }
    Ok(waits)
}

fn voluntary_switches(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// Seconds that a core has spent on anything but idling.
pub(super) fn core_busy_seconds(core: usize) -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line =
        stat.lines().find_map(|line| line.strip_prefix(&name)).context("no such core in /proc/stat")?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal …
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum::<f64>();
    Ok(busy / TICKS_PER_SECOND)
}

/// Keeps idle cores from sleeping. Waking one costs the waker some 2 µs in a virtual machine, and whoever is slower finds the
/// load's cores asleep more often: part of what it would be said to cost is not its work. Only root may.
fn stay_awake() -> Option<fs::File> {
    let mut latency = fs::File::options().write(true).open("/dev/cpu_dma_latency").ok()?;
    // Longest time to wake up that is accepted, µs.
    latency.write_all(&0_i32.to_ne_bytes()).ok()?;
    Some(latency)
}

fn busy_now(cores: &[usize]) -> Result<f64> {
    let busy = || -> Result<f64> { cores.iter().map(|core| core_busy_seconds(*core)).sum() };
    let before = busy()?;
    crate::shell::pause(std::time::Duration::from_secs(2));
    Ok((busy()? - before) / 2.0 * 100.0)
}

/// The cores among `others` that do not share a physical core with `core`; all of them where fewer than two do not.
pub(super) fn apart_from(core: usize, others: &[usize]) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    // A machine that does not say has none that matter here.
    let siblings = fs::read_to_string(path).ok().and_then(|list| parse_list(&list).ok()).unwrap_or_default();
    let apart: Vec<usize> = others.iter().copied().filter(|other| !siblings.contains(other)).collect();
    if apart.len() < 2 { others.to_vec() } else { apart }
}

fn allowed_cores() -> Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    parse_list(list.context("no Cpus_allowed_list")?)
}

/// The kernel's way to write sets of cores: `0-3,8`.
fn parse_list(list: &str) -> Result<Vec<usize>> {
    let mut cores = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<usize>()?..=last.parse::<usize>()?);
    }
    Ok(cores)
}

fn kilobytes(text: &str) -> u64 {
    text.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}
