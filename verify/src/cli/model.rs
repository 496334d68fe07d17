//! `--model`: the folder of a model, whose tokenizer and chat template say which token ids belong to a text.

use std::io::ErrorKind;
use std::path::Path;

use colophon_chat::{ChatError, Ids, MAX_FILE, Model};
use colophon_receipt::proof::Statement;

use super::{cannot_read, read, shown};
use crate::proof::{NotProven, TokenReader};
use crate::text::line;

/// A folder that was read.
pub(super) struct ModelFolder(Model);

impl ModelFolder {
    /// Reads it.
    pub(super) fn open(folder: &Path) -> Result<ModelFolder, String> {
        let file = |name: &'static str| {
            let path = folder.join(name);
            match path.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Failed(cannot_read(&path, "the model's file", &error))),
                Ok(_) => match read(&path, MAX_FILE + 1, "the model's file") {
                    Ok(bytes) if bytes.len() <= MAX_FILE => Ok(Some(bytes)),
                    Ok(_) => Err(Failed(format!("{}: longer than {MAX_FILE} bytes", shown(&path)))),
                    Err(error) => Err(Failed(error)),
                },
            }
        };
        match Model::read(file) {
            Ok(model) => Ok(ModelFolder(model)),
            Err(Failed(why)) => Err(format!("the model's folder {}: {}", shown(folder), line(&why))),
        }
    }
}

struct Failed(String);

impl From<colophon_chat::ModelError> for Failed {
    fn from(error: colophon_chat::ModelError) -> Failed {
        Failed(error.to_string())
    }
}

impl TokenReader for ModelFolder {
    fn check(&self, statement: &Statement, request: &[u8], response: &[u8]) -> Result<(), NotProven> {
        for (what, own, said) in [
            ("tokenizer", &self.0.tokenizer_digest, &statement.tokenizer),
            ("chat template", &self.0.template_digest, &statement.template),
        ] {
            if Some(own) != said.as_ref() {
                return Err(NotProven::Unknown(format!(
                    "its statement is by another {what} than the folder that you gave has"
                )));
            }
        }
        let ids = Ids {
            prompt: statement.prompt.clone().unwrap_or_default(),
            output: statement.output.clone().unwrap_or_default(),
        };
        self.0.check(&ids, request, response).map_err(|error| match error {
            ChatError::Differs(why) => NotProven::Refused(format!("its statement does not fit: {why}")),
            other => NotProven::Unknown(other.in_full()),
        })
    }
}
