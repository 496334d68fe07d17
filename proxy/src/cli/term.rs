//! What is printed, with colour where a person is looking.

#[macro_use]
pub(super) mod output;

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write as _};

fn paint(code: &str, text: &str, terminal: bool) -> String {
    let plain = !terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

/// Says on standard error what went wrong. Where that is gone too, only the exit code is left.
pub(super) fn error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "{} {}", red("error:"), safe(&causes(error)));
}

/// An error and its causes in one line. Many say their cause themselves: it is not said twice.
pub(super) fn causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| match cause.to_string() {
        cause if said.is_empty() => cause,
        cause if said.ends_with(&cause) => said,
        cause => format!("{said}: {cause}"),
    })
}

/// For errors, which go to standard error.
fn red(text: &str) -> String {
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
    text.chars().map(|c| if obeyed(c) && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// `safe`, and no line of its own: for names.
pub(super) fn safe_line(text: &str) -> String {
    safe(text).replace('\n', "\u{fffd}")
}

/// Control characters, line separators, and what reorders the text around it (Unicode's `Bidi_Control`).
fn obeyed(c: char) -> bool {
    let reorders =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || reorders
}

/// A bar on a terminal, and none elsewhere.
pub(crate) fn progress_bar(doing: &'static str, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{doing} {{wide_bar}} {{pos}}/{{len}} {what}"));
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_cause_is_said_once() {
        let denied = || std::io::Error::other("permission denied");
        let opened: Result<(), _> = Err(denied());
        let error = opened.context("cannot open x: permission denied").context("no log").unwrap_err();
        assert_eq!(causes(&error), "no log: cannot open x: permission denied");
        assert_eq!(causes(&anyhow::Error::new(denied()).context("no log")), "no log: permission denied");
    }

    #[test]
    fn what_came_from_elsewhere_cannot_act_on_a_terminal() {
        let bad = "a\u{1b}[2J\u{9b}\r\u{7f}\u{202e}b\u{2066}c\u{2069}\u{200f}\u{61c}\u{2028}\nd é";
        let clean =
            "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}\u{fffd}\u{fffd}\nd é";
        assert_eq!(safe(bad), clean);
        assert_eq!(safe_line(bad), clean.replace('\n', "\u{fffd}"));
    }
}
