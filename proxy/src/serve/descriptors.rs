//! Files and sockets that the system lets this process have open. An exchange takes two, and where clients take all of them the log
//! cannot be written, the upstream cannot be reached, and no probe is answered.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Kept from clients: the store and the WAL, the operator's side, probes, and connections of the log's own.
const KEPT: u64 = 512;

/// Takes all that the system allows this process, and says how many clients may be connected at once, of `wanted`.
pub(crate) fn places(wanted: u32) -> u32 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let places = within(limit, wanted);
    if places < wanted {
        tracing::warn!(
            limit,
            places,
            wanted,
            "the limit on open files is too low for --max-connections: so many clients are served at once, the others wait (raise it: \
             ulimit -n, LimitNOFILE, or the container runtime's)"
        );
    }
    places
}

/// Two for each client, of what is not kept from them: half of a very low limit.
fn within(limit: u64, wanted: u32) -> u32 {
    let theirs = (limit - KEPT.min(limit / 2)) / 2;
    u32::try_from(theirs.max(1)).unwrap_or(u32::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn clients_leave_something_to_the_rest() {
        assert_eq!(within(1_048_576, 16_384), 16_384);
        assert_eq!(within(32_768 + 512, 16_384), 16_384);
        assert_eq!(within(1024, 16_384), 256);
        assert_eq!(within(256, 16_384), 64);
        assert_eq!(within(0, 16_384), 1);
        assert_eq!(within(u64::MAX, 5), 5);
    }
}
