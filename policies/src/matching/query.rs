//! Parameters of the query.

use super::pattern::TextMatch;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Fits if any parameter of that name has a fitting value. Names and values are compared with their escapes undone and
/// `+` read as a space.
#[derive(Debug)]
pub(crate) struct QueryMatch {
    pub(crate) name: String,
    pub(crate) value: TextMatch,
}

impl QueryMatch {
    pub(crate) fn fits(&self, query: &str) -> bool {
        query.split('&').any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            *plain(name) == *self.name.as_bytes() && self.value.fits(&plain(value))
        })
    }
}

fn plain(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).collect());
    }
    percent_decode(text.as_bytes()).into()
}
