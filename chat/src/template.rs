//! A chat template, rendered as `transformers` renders it: Jinja with trimmed blocks. What a template can spend is bounded.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};

use crate::ChatError;
use crate::bodies::Message;

/// What one rendering may spend: about as many instructions, and 64 times as many bytes.
const FUEL: u64 = 500_000;
/// Longest prompt, bytes.
const MAX_PROMPT: usize = 4 << 20;
const NAME: &str = "chat_template";

/// A template with the tokens that it may name.
#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
    begin: Option<String>,
    end: String,
}

impl Template {
    /// # Errors
    /// It is no template.
    pub(crate) fn new(text: String, begin: Option<String>, end: String) -> Result<Template, Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        // By its name it would be text; nothing is escaped.
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("raise_exception", |why: String| -> Result<(), Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment.add_template_owned(NAME, text)?;
        Ok(Template { environment, begin, end })
    }

    /// The prompt of these messages.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let fails = |error: Error| ChatError::detailed("the chat template fails, or refuses", error);
        let values = context! {
            messages => Serde(messages),
            add_generation_prompt => true,
            bos_token => self.begin.as_deref(),
            eos_token => self.end.as_str(),
        };
        let mut out = Bounded(Vec::new());
        let template = self.environment.get_template(NAME).map_err(fails)?;
        template.render_captured_to(values, &mut out).map_err(fails)?;
        String::from_utf8(out.0).map_err(|error| ChatError::detailed("the prompt is no text", error))
    }
}

/// What is rendered, up to [`MAX_PROMPT`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT {
            return Err(io::Error::other("a prompt that is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
