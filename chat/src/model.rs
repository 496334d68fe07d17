//! A model's folder: tokenizer, chat template, and the token that ends an answer.

use colophon_receipt::merkle::sha256;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::ChatError;
use crate::bodies::{Answer, Finish, Request};
use crate::template::Template;

/// The longest file that is read, bytes.
pub const MAX_FILE: usize = 64 << 20;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file that is needed is not there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A file is not what its name says.
    #[error("{0}: {1}")]
    Unread(&'static str, String),
}

/// Token ids of a request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// What the model is given.
    pub prompt: Vec<u32>,
    /// What it answers, the token that ends it included where it ends by itself.
    pub output: Vec<u32>,
}

/// What a folder says of text and ids.
#[derive(Debug)]
pub struct Model {
    tokenizer: Tokenizer,
    template: Template,
    end: u32,
    /// SHA-256 of `tokenizer.json`, lower-case hexadecimal.
    pub tokenizer_digest: String,
    /// SHA-256 of `tokenizer_config.json`; where there is a `chat_template.jinja`, SHA-256 of the digests of both.
    pub template_digest: String,
}

impl Model {
    /// Reads a folder's files by `read`, which gives a file of at most [`MAX_FILE`] bytes by its name, or `None` where it is not
    /// there.
    ///
    /// # Errors
    /// `read` fails, or a file is not what it has to be.
    pub fn read<E: From<ModelError>>(
        mut read: impl FnMut(&'static str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Model, E> {
        const TOKENIZER: &str = "tokenizer.json";
        const CONFIG: &str = "tokenizer_config.json";
        let tokenizer = read(TOKENIZER)?.ok_or(ModelError::Missing(TOKENIZER))?;
        let config = read(CONFIG)?.ok_or(ModelError::Missing(CONFIG))?;
        let own = read("chat_template.jinja")?;
        Ok(Model::of(&tokenizer, &config, own)?)
    }

    fn of(tokenizer: &[u8], config: &[u8], own: Option<Vec<u8>>) -> Result<Model, ModelError> {
        let tokens = |why: String| ModelError::Unread("tokenizer.json", why);
        let settings = |why: String| ModelError::Unread("tokenizer_config.json", why);
        let tokenizer_digest = hex::encode(sha256(tokenizer));
        let mut template_digest = sha256(config);
        if let Some(own) = &own {
            template_digest = sha256(&[template_digest, sha256(own)].concat());
        }
        let tokenizer = Tokenizer::from_bytes(tokenizer).map_err(|error| tokens(error.to_string()))?;
        let config: Value = serde_json::from_slice(config).map_err(|error| settings(error.to_string()))?;
        // A token is its text, or an object around it.
        let token = |name: &str| {
            let value = config.get(name)?;
            value.get("content").unwrap_or(value).as_str().map(str::to_owned)
        };
        let template = match own {
            Some(own) => String::from_utf8(own)
                .map_err(|error| ModelError::Unread("chat_template.jinja", error.to_string()))?,
            None => config
                .get("chat_template")
                .and_then(Value::as_str)
                .ok_or_else(|| settings("it has no chat_template".into()))?
                .to_owned(),
        };
        let end_text = token("eos_token").ok_or_else(|| settings("it has no eos_token".into()))?;
        let end = tokenizer
            .token_to_id(&end_text)
            .ok_or_else(|| tokens(format!("it has no token {end_text:?}, which ends an answer")))?;
        let template = Template::new(template, token("bos_token"), end_text)
            .map_err(|error| settings(format!("its chat_template: {error}")))?;
        let template_digest = hex::encode(template_digest);
        Ok(Model { tokenizer, template, end, tokenizer_digest, template_digest })
    }

    /// The ids of an exchange of which a proof may come: the answer's by the server's own word where it gives it, else by the tokenizer.
    ///
    /// # Errors
    /// As of [`Model::check`], and [`ChatError::NotGreedy`].
    pub fn ids(&self, request: &[u8], response: &[u8]) -> Result<Ids, ChatError> {
        let (request, answer) = (Request::read(request)?, Answer::read(response)?);
        if request.weighs {
            return Err(ChatError::NotGreedy);
        }
        let prompt = self.prompt(&request)?;
        let output = match &answer.ids {
            Some(ids) => ids.clone(),
            None => {
                let mut ids = self.encode(&answer.text)?;
                ids.extend((answer.finish == Finish::Stop).then_some(self.end));
                ids
            }
        };
        self.check_output(&output, &request, &answer)?;
        Ok(Ids { prompt, output })
    }

    /// That these ids are the request's prompt and the answer's text, and that the answer ends where they do.
    ///
    /// # Errors
    /// [`ChatError`] says what differs, or why nothing can be said.
    pub fn check(&self, ids: &Ids, request: &[u8], response: &[u8]) -> Result<(), ChatError> {
        let (request, answer) = (Request::read(request)?, Answer::read(response)?);
        if self.prompt(&request)? != ids.prompt {
            return Err(ChatError::Differs("the prompt's token ids are not those of the request"));
        }
        self.check_output(&ids.output, &request, &answer)
    }

    fn prompt(&self, request: &Request) -> Result<Vec<u32>, ChatError> {
        self.encode(&self.template.render(&request.messages)?)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        // The template has the special tokens.
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| ChatError::detailed("the tokenizer cannot read a text", error))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn check_output(&self, output: &[u32], request: &Request, answer: &Answer) -> Result<(), ChatError> {
        let differs = |why| Err(ChatError::Differs(why));
        if output.iter().any(|id| self.tokenizer.id_to_token(*id).is_none()) {
            return differs("the answer has token ids that the tokenizer has not");
        }
        let text = self
            .tokenizer
            .decode(output, true)
            .map_err(|error| ChatError::detailed("the answer's token ids are no text", error))?;
        if text != answer.text {
            return differs("the answer's token ids are not those of its text");
        }
        let (ends, last) = (output.iter().filter(|id| **id == self.end).count(), output.last());
        match answer.finish {
            Finish::Stop if ends != 1 || last != Some(&self.end) => {
                differs("the answer says that the model ended it, and its token ids do not")
            }
            Finish::Length if ends != 0 => {
                differs("the answer says that it was cut, and its token ids have an end")
            }
            _ if request.most.is_some_and(|most| output.len() as u64 > most) => {
                differs("the answer has more tokens than were asked for")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
