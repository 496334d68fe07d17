//! Files and sockets that the system lets this process have open. An exchange takes two, and where clients take all of them the log
//! cannot be written, the upstream cannot be reached, and no probe is answered.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept from clients: the store and the WAL, the operator's side, probes, and connections of the log's own.
const KEPT: u64 = 512;

/// What clients may have of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clients {
    /// Connected at once.
    pub(crate) connections: u32,
    /// Exchanges under way at once: each may take a connection to the upstream.
    pub(crate) exchanges: Exchanges,
}

/// How many exchanges may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchanges {
    /// One for each connection, and so many streams of HTTP/2.
    Streams(u32),
    /// So many in all.
    All(u32),
}

/// Takes all that the system allows this process, and says how many clients may be served at once, of `wanted` connections.
pub(crate) fn clients(wanted: u32) -> Clients {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Clients { connections: wanted, exchanges: Exchanges::default() };
    };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let clients = within(limit, wanted);
    if clients.connections < wanted {
        tracing::warn!(
            limit,
            connections = clients.connections,
            wanted,
            "the limit on open files is too low for --max-connections: so many clients are served at once, the others wait (raise it: \
             ulimit -n, LimitNOFILE, or the container runtime's)"
        );
    }
    clients
}

/// Of what is not kept from them (half of a very low limit), two thirds at most are for connections, of which many may be idle.
fn within(limit: u64, wanted: u32) -> Clients {
    let theirs = limit - KEPT.min(limit / 2);
    let connections = u64::from(wanted).min(theirs / 3 * 2).max(1);
    let rest = theirs.saturating_sub(connections).max(1);
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let exchanges = match rest.checked_sub(connections).filter(|streams| *streams >= connections) {
        Some(streams) => Exchanges::Streams(count(streams)),
        None => Exchanges::All(count(rest)),
    };
    Clients { connections: count(connections), exchanges }
}

impl Default for Exchanges {
    fn default() -> Exchanges {
        Exchanges::Streams(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_something_to_the_rest() {
        for (limit, wanted, connections, exchanges) in [
            (1_048_576, 16_384, 16_384, Exchanges::Streams(1_048_576 - 512 - 2 * 16_384)),
            (65_536, 16_384, 16_384, Exchanges::Streams(65_536 - 512 - 2 * 16_384)),
            (40_000, 16_384, 16_384, Exchanges::All(40_000 - 512 - 16_384)),
            (20_000, 16_384, 12_992, Exchanges::All(6496)),
            (1024, 16_384, 340, Exchanges::All(172)),
            (256, 16_384, 84, Exchanges::All(44)),
            (0, 16_384, 1, Exchanges::All(1)),
            (u64::MAX, 5, 5, Exchanges::Streams(u32::MAX)),
        ] {
            assert_eq!(within(limit, wanted), Clients { connections, exchanges }, "{limit}");
        }
    }
}
