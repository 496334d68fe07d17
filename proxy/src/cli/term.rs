//! Colour where a person is looking.

use std::io::IsTerminal;

fn paint(code: &str, text: &str, terminal: bool) -> String {
    let plain = !terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

/// For errors, which go to standard error.
pub(super) fn red(text: &str) -> String {
    paint("1;31", text, std::io::stderr().is_terminal())
}

/// For what went well.
pub(super) fn green(text: &str) -> String {
    paint("32", text, std::io::stdout().is_terminal())
}

/// For what was refused as it should be.
pub(super) fn refused(text: &str) -> String {
    paint("31", text, std::io::stdout().is_terminal())
}

/// For headings.
pub(super) fn bold(text: &str) -> String {
    paint("1", text, std::io::stdout().is_terminal())
}

/// For what matters less.
pub(super) fn dim(text: &str) -> String {
    paint("2", text, std::io::stdout().is_terminal())
}

/// What came from elsewhere, without control characters that a terminal would obey.
pub(super) fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
