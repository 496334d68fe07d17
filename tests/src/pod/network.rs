//! A network namespace with an address that this machine reaches, as a Pod's.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::{PATIENCE, process};

/// Of this process, so that several tests have one each.
static NEXT: AtomicU8 = AtomicU8::new(0);

/// Dropping it takes it away, and with it both ends of the cable.
pub(super) struct Network {
    name: String,
    ip: Ipv4Addr,
}

impl Network {
    /// Makes one: loopback, and a cable from this machine to it.
    ///
    /// # Panics
    /// When ip(8) cannot.
    pub(super) fn new() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < 64, "too many networks");
        // A subnet of four addresses for each: 10.x.y.4n to 10.x.y.4n+3.
        let at = |last: u8| Ipv4Addr::new(10, high, low, number * 4 + last);
        let made = Self { name: format!("colo{high:02x}{low:02x}{number:02x}"), ip: at(2) };
        let name = made.name.as_str();
        let (outer, inner) = (format!("{name}h"), format!("{name}p"));
        ip(&["netns", "add", name]);
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", name]);
        ip(&["addr", "add", &format!("{}/30", at(1)), "dev", &outer]);
        ip(&["link", "set", &outer, "up"]);
        ip(&["-n", name, "addr", "add", &format!("{}/30", at(2)), "dev", &inner]);
        ip(&["-n", name, "link", "set", &inner, "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        made
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.ip.into()
    }

    /// The namespace, as a file.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from("/var/run/netns").join(&self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(args: &[&str]) {
    let out = process::run(Command::new("ip").args(args), PATIENCE);
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}
