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
    /// Streams of HTTP/2 under way at once, over all connections: each may take a connection to the upstream.
    pub(crate) streams: u32,
}

/// Takes all that the system allows this process, and says how many clients may be served at once, of `wanted` connections.
pub(crate) fn clients(wanted: u32) -> Clients {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Clients { connections: wanted, streams: u32::MAX };
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

/// Two for each connection and one for each stream, of what is not kept from them: half of a very low limit.
fn within(limit: u64, wanted: u32) -> Clients {
    let theirs = limit - KEPT.min(limit / 2);
    let connections = u32::try_from((theirs / 3).max(1)).unwrap_or(u32::MAX).min(wanted);
    let streams = theirs.saturating_sub(2 * u64::from(connections)).max(1);
    Clients { connections, streams: u32::try_from(streams).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_something_to_the_rest() {
        for (limit, wanted, connections, streams) in [
            (1_048_576, 16_384, 16_384, 1_048_576 - 512 - 2 * 16_384),
            (65_536, 16_384, 16_384, 65_536 - 512 - 2 * 16_384),
            (1024, 16_384, 170, 172),
            (256, 16_384, 42, 44),
            (0, 16_384, 1, 1),
            (u64::MAX, 5, 5, u32::MAX),
        ] {
            assert_eq!(within(limit, wanted), Clients { connections, streams }, "{limit}");
        }
    }
}
