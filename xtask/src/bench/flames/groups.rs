//! What the samples were about, as a table.

use std::fmt::Write as _;

use super::fold::{Frame, Kind, Profile};
use crate::bench::report::title;
use crate::bench::rounds::CONNECTIONS;

/// What a sample was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Sockets,
    Files,
    PageFaults,
    Waiting,
    OtherKernel,
    Encrypting,
    Signing,
    Hashing,
    Memory,
    Http,
    Own,
    Other,
}

impl Group {
    const ALL: [Group; 12] = [
        Group::Sockets,
        Group::Files,
        Group::PageFaults,
        Group::Waiting,
        Group::OtherKernel,
        Group::Signing,
        Group::Hashing,
        Group::Encrypting,
        Group::Memory,
        Group::Http,
        Group::Own,
        Group::Other,
    ];

    fn title(self) -> &'static str {
        match self {
            Group::Sockets => "kernel: both connections",
            Group::Files => "kernel: files",
            Group::PageFaults => "kernel: page faults",
            Group::Waiting => "kernel: waiting, waking, the clock",
            Group::OtherKernel => "kernel: anything else",
            Group::Signing => "Ed25519, with its SHA-512",
            Group::Hashing => "SHA-256",
            Group::Encrypting => "AES-GCM",
            Group::Memory => "allocating, freeing, copying",
            Group::Http => "hyper, http, tokio",
            Group::Own => "Colophon's own code",
            Group::Other => "other code",
        }
    }
}

/// By a call anywhere in the kernel's part of a stack. A proxy writes to sockets with writev(2), to its files with write(2),
/// and to an eventfd, with write(2) too, where one thread wakes another.
const KERNEL: [(Group, &[&str]); 5] = [
    (Group::PageFaults, &["exc_page_fault"]),
    (Group::Sockets, &["sock_", "tcp_", "__sys_sendto", "__sys_recvfrom", "inet_", "writev"]),
    (Group::Waiting, &["eventfd"]),
    (Group::Files, &["vfs_", "ext4_", "xfs_", "btrfs_", "do_sys_open", "filename_", "do_unlinkat", "fsync"]),
    (Group::Waiting, &["ep_", "epoll", "futex", "schedule", "clock_", "nanosleep"]),
];

/// By the innermost call of the program.
const PROGRAM: [(Group, &[&str]); 5] = [
    // Before what else comes from aws-lc.
    (Group::Encrypting, &["aes_", "gcm_", "ghash"]),
    (Group::Signing, &["aws_lc", "25519", "sha512"]),
    (Group::Hashing, &["sha2::", "sha256", "digest::"]),
    (
        Group::Memory,
        &[
            "_rjem_",
            "jemalloc",
            "malloc",
            "memcpy",
            "memmove",
            "memset",
            "memcmp",
            "alloc::",
            "core::ptr::drop_in_place",
        ],
    ),
    (Group::Http, &["hyper", "http::", "http_body", "httparse", "tokio", "mio::", "bytes::"]),
];

/// Each sample falls into one.
pub(super) fn group(stack: &[Frame]) -> Group {
    let has = |frame: &Frame, words: &[&str]| words.iter().any(|word| frame.name.contains(word));
    let Some(last) = stack.last() else { return Group::Other };
    if last.kind == Kind::Kernel {
        let mut kernel = stack.iter().filter(|frame| frame.kind == Kind::Kernel);
        let found = KERNEL.iter().find(|(_, words)| kernel.clone().any(|frame| has(frame, words)));
        return match found {
            Some((group, _)) => *group,
            None if kernel.any(|frame| has(frame, &["write", "send", "recv"])) => Group::Sockets,
            None => Group::OtherKernel,
        };
    }
    match PROGRAM.iter().find(|(_, words)| has(last, words)) {
        Some((group, _)) => *group,
        None if last.kind == Kind::Own => Group::Own,
        None => Group::Other,
    }
}

/// CPU µs a request of each group.
pub(super) fn table(machine: &str, seconds: u64, noisy: bool, profiles: &[Profile]) -> String {
    let names: String = profiles.iter().map(|profile| format!(" {} |", title(profile.name))).collect();
    let mut text = format!(
        "Machine: {machine}.\nCPU µs a request by what samples of {seconds} s were about; {CONNECTIONS} connections, 1.5 KB up and \
         1.5 KB down.\n\n| |{names}\n|---|{}\n",
        "---:|".repeat(profiles.len())
    );
    for group in Group::ALL {
        let _ = write!(text, "| {} |", group.title());
        for profile in profiles {
            let samples = profile.groups.get(&group).copied().unwrap_or(0);
            let _ = write!(text, " {:.1} |", profile.cpu_us * samples as f64 / profile.samples as f64);
        }
        text.push('\n');
    }
    text.push_str("| in all |");
    for profile in profiles {
        let _ = write!(text, " {:.1} |", profile.cpu_us);
    }
    text.push_str("\n| samples |");
    for profile in profiles {
        let _ = write!(text, " {} |", profile.samples);
    }
    text.push('\n');
    if noisy {
        text.push_str("\nOthers kept the machine busy: **noisy: do not rely on these figures**.\n");
    }
    text
}
