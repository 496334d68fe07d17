//! From a chat's messages to token ids, and from token ids to its answer: what a statement says of a language model's work
//! (`docs/PROVERS.md`), made and checked by what a model's folder has.
//!
//! An answer's ids are turned into text and compared, never the other way round: many ids give the same text.

mod bodies;
mod model;
mod template;

pub use model::{Ids, MAX_FILE, Model, ModelError};

/// Why ids do not follow from a request and its answer.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// They follow from something else.
    #[error("{0}")]
    Differs(String),
    /// Nothing can be said: the bodies, or the template, are of a kind that is not read here.
    #[error("{0}")]
    Unread(String),
}

impl ChatError {
    pub(crate) fn unread(why: impl std::fmt::Display) -> ChatError {
        ChatError::Unread(why.to_string())
    }
}
