//! From a chat's messages to token ids, and from token ids to its answer: what a statement says of a language model's work
//! (`docs/PROVERS.md`), made and checked by what a model's folder has.
//!
//! An answer's ids are turned into text and compared, never the other way round: many ids give the same text.

mod bodies;
mod model;
mod template;

pub use model::{Ids, MAX_FILE, Model, ModelError};

/// A detail is never longer, bytes.
const MAX_DETAIL: usize = 512;

/// Why ids do not follow from a request and its answer. What it displays has nothing of either, so that a log may have it.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// They follow from something else.
    #[error("{0}")]
    Differs(&'static str),
    /// Nothing can be said: the bodies, or the template, are of a kind that is not read here.
    #[error("{what}")]
    Unread {
        /// What cannot be read.
        what: &'static str,
        /// More of it, for whoever has the bodies: it may quote them. Empty where there is no more.
        detail: String,
    },
    /// By its own words the answer need not be of the tokens with the highest scores.
    #[error(
        "the request asks for an answer that is drawn or weighed (temperature, penalties), not the likeliest"
    )]
    NotGreedy,
}

impl ChatError {
    pub(crate) fn unread(what: &'static str) -> ChatError {
        ChatError::Unread { what, detail: String::new() }
    }

    pub(crate) fn detailed(what: &'static str, detail: impl std::fmt::Display) -> ChatError {
        let mut detail = detail.to_string();
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        ChatError::Unread { what, detail }
    }

    /// All that is known, for whoever has the bodies and for no log: it may quote them.
    pub fn in_full(&self) -> String {
        match self {
            ChatError::Unread { what, detail } if !detail.is_empty() => format!("{what}: {detail}"),
            other => other.to_string(),
        }
    }
}
