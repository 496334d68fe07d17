//! The message that an answer amounts to: the JSON that came, or the parts of a stream assembled as the makers' libraries
//! assemble them, for its digest (`docs/FORMATS.md`, section 3.5).

use colophon_policies::Api;
use colophon_receipt::Hash;
use colophon_receipt::canonical::{self, MAX_TEXT, Uncanonical};
use serde_json::{Map, Value, json};

mod assemble;
#[cfg(test)]
mod tests;

/// An answer as far as it has come. Memory is bounded by [`MAX_TEXT`] bytes of events.
#[derive(Debug)]
pub(crate) struct Message {
    api: Api,
    taken: usize,
    so_far: Result<Option<Map<String, Value>>, Uncanonical>,
    /// Anthropic: the parts of each content block's `input`, which are JSON only together.
    inputs: Vec<String>,
}

impl Message {
    /// Nothing has come.
    pub(crate) fn new(api: Api) -> Self {
        Self { api, taken: 0, so_far: Ok(None), inputs: Vec::new() }
    }

    /// Takes the data of the next event.
    pub(crate) fn event(&mut self, data: &[u8]) {
        self.taken = self.taken.saturating_add(data.len());
        if self.taken > MAX_TEXT {
            self.so_far = Err(Uncanonical::TooLong);
        }
        if let Ok(so_far) = &mut self.so_far
            && let Err(why) = canonical::parse(data).and_then(|event| {
                let Value::Object(event) = event else { return Err(Uncanonical::NotWhole) };
                match self.api {
                    Api::Chat => assemble::chat(so_far, event),
                    Api::Completions => assemble::completion(so_far, event),
                    Api::Responses => assemble::response(so_far, event),
                    Api::Messages => assemble::anthropic(so_far, &mut self.inputs, event),
                    _ => Err(Uncanonical::NotWhole),
                }
            })
        {
            self.so_far = Err(why);
        }
    }

    /// An event that was not kept.
    pub(crate) fn too_long(&mut self) {
        self.so_far = Err(Uncanonical::TooLong);
    }

    /// The digest of what was assembled.
    pub(crate) fn finish(self) -> Result<Hash, Uncanonical> {
        match self.so_far? {
            Some(message) => canonical::digest_of_message(Value::Object(message)),
            None => Err(Uncanonical::NotWhole),
        }
    }
}
