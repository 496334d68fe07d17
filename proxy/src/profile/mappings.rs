//! Which files' code lies where in this process.

use std::fs::File;
use std::io::{self, Read as _};

/// The list is shorter.
const MAX_MAPS: u64 = 4 << 20;

/// A stretch of memory whose bytes are run.
#[derive(Debug, PartialEq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    /// The first address behind it.
    pub(super) end: u64,
    /// Where it begins in its file.
    pub(super) offset: u64,
    pub(super) file: String,
}

/// Those of this process.
pub(super) fn own() -> io::Result<Vec<Mapping>> {
    let mut text = String::new();
    File::open("/proc/self/maps")?.take(MAX_MAPS).read_to_string(&mut text)?;
    Ok(text.lines().filter_map(executable).collect())
}

/// `start-end perms offset device inode file` (proc(5)).
fn executable(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    if !words.next()?.contains('x') {
        return None;
    }
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let offset = hex(words.next()?)?;
    let file = words.skip(2).collect::<Vec<_>>().join(" ");
    Some(Mapping { start: hex(start)?, end: hex(end)?, offset, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_stretches_are_read() {
        let line = "55d0c0a00000-55d0c1b00000 r-xp 00a00000 fd:01 123      /usr/bin/with blank";
        let read = Mapping {
            start: 0x55d0_c0a0_0000,
            end: 0x55d0_c1b0_0000,
            offset: 0xa0_0000,
            file: "/usr/bin/with blank".into(),
        };
        assert_eq!(executable(line), Some(read));
        assert_eq!(executable(&line.replace("r-xp", "rw-p")), None);
        assert_eq!(executable(""), None);
        let own = own().unwrap();
        let here = executable_stretches_are_read as fn() as usize as u64;
        assert!(own.iter().any(|one| (one.start..one.end).contains(&here)), "{own:?}");
    }
}
