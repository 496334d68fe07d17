//! Standard output and error, which may be closed (`| head`) or full. What a command does is done to its end all the same: a log
//! whose key was rotated must not stop half way, nor seem to have failed, because nobody reads what is said about it.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// The first error of standard output; after it nothing more is written.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// `print!`, which would panic where this remembers the error.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::term::output::text(format_args!($($text)*)) };
}

/// `println!` likewise.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::term::output::line(format_args!($($text)*)) };
}

/// `eprintln!`, which would panic; of standard error itself nobody could be told.
macro_rules! errln {
    ($($text:tt)*) => { $crate::cli::term::output::aside(format_args!($($text)*)) };
}

pub(in crate::cli) fn text(text: fmt::Arguments<'_>) {
    with(|out| out.write_fmt(text));
}

pub(in crate::cli) fn line(text: fmt::Arguments<'_>) {
    with(|out| writeln!(out, "{text}"));
}

pub(in crate::cli) fn aside(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What is no text, or shall be seen at once.
pub(in crate::cli) fn bytes(bytes: &[u8]) {
    with(|out| out.write_all(bytes).and_then(|()| out.flush()));
}

/// Whether nothing that is printed arrives any more: who has much to say may stop.
pub(in crate::cli) fn is_gone() -> bool {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// The end of the output: what was wrong with it, if that is not only that its reader had seen enough.
pub(in crate::cli) fn end() -> io::Result<()> {
    with(|out| out.flush());
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.filter(|error| error.kind() != io::ErrorKind::BrokenPipe).map_or(Ok(()), Err)
}

fn with(write: impl FnOnce(&mut io::StdoutLock<'static>) -> io::Result<()>) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    once(&mut failed, || write(&mut io::stdout().lock()));
}

/// Writes, unless it failed before.
fn once(failed: &mut Option<io::Error>, write: impl FnOnce() -> io::Result<()>) {
    if failed.is_none() {
        *failed = write().err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_first_error_nothing_is_written() {
        let (mut failed, mut written) = (None, 0);
        for kind in [None, Some(io::ErrorKind::StorageFull), Some(io::ErrorKind::BrokenPipe), None] {
            once(&mut failed, || {
                written += 1;
                kind.map_or(Ok(()), |kind| Err(kind.into()))
            });
        }
        assert_eq!(written, 2);
        assert_eq!(failed.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
