//! Where a private key is: a path, `file:PATH`, `env:NAME` or `pkcs11:…` (RFC 7512).
//!
//! Each kind is one arm of [`KeySource`] and one file beside this one, and gives a [`Signer`]; a cloud's key service
//! would be one more.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use self::uri::TokenUri;
use crate::keys::{Ed25519Key, KeyError, Signer};

#[cfg(feature = "pkcs11")]
mod token;
pub mod uri;

/// An environment variable with a key is never longer than this many bytes.
const MAX_VARIABLE: usize = 16 * 1024;

/// Where a private key is. `Display` gives the text again; it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A PKCS#8 PEM file that only its owner may read.
    File(PathBuf),
    /// An environment variable that holds PKCS#8: PEM, or base64 of PEM or DER.
    Env(String),
    /// A key in a PKCS#11 token; opening one needs the feature `pkcs11`.
    Token(Box<TokenUri>),
}

/// Why a key cannot be had from where it was said to be.
#[derive(Debug, thiserror::Error)]
#[error("{source_text}: {why}")]
pub struct SourceError {
    /// The source, as it was given.
    pub source_text: String,
    /// What is wrong; its text is part of this error's.
    pub why: SourceProblem,
}

/// What can be wrong with a key source.
#[derive(Debug, thiserror::Error)]
pub enum SourceProblem {
    /// The text is not of a known form.
    #[error("{0}")]
    Form(String),
    /// There is no such file or variable.
    #[error("{0}")]
    Missing(String),
    /// What is there is no key, or may not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The token, or its module, does not do it.
    #[error("{0}")]
    Token(String),
}

impl KeySource {
    /// Opens the key.
    ///
    /// # Errors
    /// [`SourceError`]: it is not there, may be read by others, or is no Ed25519 key. A token may take seconds to say so.
    pub fn open(&self) -> Result<Arc<dyn Signer>, SourceError> {
        match self {
            KeySource::File(path) => match Ed25519Key::load(path) {
                Ok(key) => Ok(Arc::new(key)),
                Err(e) => Err(self.refused(e)),
            },
            KeySource::Env(name) => match from_env(name) {
                Ok(key) => Ok(Arc::new(key)),
                Err(e) => Err(self.refused(e)),
            },
            KeySource::Token(uri) => self.through_token(open_token(uri)),
        }
    }

    /// Makes a new key there and opens it. Nothing that is there is overwritten.
    ///
    /// # Errors
    /// [`SourceError`]: there is one already, or no key can be made there.
    pub fn generate(&self) -> Result<Arc<dyn Signer>, SourceError> {
        match self {
            KeySource::File(path) => {
                let key = Ed25519Key::generate().map_err(|e| self.refused(e))?;
                key.save(path).map_err(|e| self.refused(e))?;
                Ok(Arc::new(key))
            }
            KeySource::Env(_) => Err(self.refused(SourceProblem::Form(
                "a program cannot make a key in its own environment; generate a file and put its text there"
                    .into(),
            ))),
            KeySource::Token(uri) => self.through_token(generate_in_token(uri)),
        }
    }

    fn through_token(&self, token: Result<Arc<dyn Signer>, String>) -> Result<Arc<dyn Signer>, SourceError> {
        token.map_err(|why| self.refused(SourceProblem::Token(why)))
    }

    fn refused(&self, why: impl Into<SourceProblem>) -> SourceError {
        SourceError { source_text: self.to_string(), why: why.into() }
    }
}

impl FromStr for KeySource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<KeySource, SourceError> {
        let refused =
            |why: String| SourceError { source_text: text.to_owned(), why: SourceProblem::Form(why) };
        match scheme(text) {
            None if text.is_empty() => Err(refused("no key was named".into())),
            None => Ok(KeySource::File(PathBuf::from(text))),
            Some(("file", path)) => {
                // `file:///path` and `file:/path` mean the same (RFC 8089).
                let path = path.strip_prefix("//").unwrap_or(path);
                match path {
                    "" => Err(refused("`file:` is followed by a path".into())),
                    path => Ok(KeySource::File(PathBuf::from(path))),
                }
            }
            Some(("env", name)) if is_variable(name) => Ok(KeySource::Env(name.to_owned())),
            Some(("env", _)) => Err(refused("`env:` is followed by the name of a variable".into())),
            Some(("pkcs11", rest)) => match TokenUri::parse(rest) {
                Ok(uri) => Ok(KeySource::Token(Box::new(uri))),
                // The text may hold a PIN that should not be there: it is not repeated.
                Err(why) => {
                    Err(SourceError { source_text: "pkcs11: URI".into(), why: SourceProblem::Form(why) })
                }
            },
            Some((scheme, _)) => Err(refused(format!(
                "`{scheme}:` is no key source of this program. It takes a path, file:PATH, env:NAME and pkcs11:…; \
                 a path with a colon is written file:PATH"
            ))),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => write!(f, "{}", path.display()),
            KeySource::Env(name) => write!(f, "env:{name}"),
            KeySource::Token(uri) => write!(f, "{uri}"),
        }
    }
}

/// Splits `scheme:rest` (RFC 3986 section 3.1), if the text has a scheme.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic());
    let plain = bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    (first && plain).then_some((scheme, rest))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn from_env(name: &str) -> Result<Ed25519Key, SourceProblem> {
    let value = match std::env::var(name) {
        Ok(value) => Zeroizing::new(value),
        Err(std::env::VarError::NotPresent) => {
            return Err(SourceProblem::Missing("there is no such environment variable".into()));
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(KeyError::Pkcs8("the variable is not text".into()).into());
        }
    };
    Ok(from_text(&value)?)
}

/// PEM, or base64 of PEM or DER, with whatever white space came along.
fn from_text(text: &str) -> Result<Ed25519Key, KeyError> {
    if text.len() > MAX_VARIABLE {
        return Err(KeyError::Pkcs8("the variable is too long".into()));
    }
    if text.contains("-----BEGIN") {
        return Ed25519Key::from_pkcs8_pem(text.trim_start());
    }
    let packed: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
    if packed.is_empty() {
        return Err(KeyError::Pkcs8("the variable is empty".into()));
    }
    let bytes = STANDARD.decode(packed.as_bytes()).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| KeyError::Pkcs8("the variable holds neither PEM nor base64".into()))?;
    match std::str::from_utf8(&bytes) {
        Ok(pem) if pem.contains("-----BEGIN") => Ed25519Key::from_pkcs8_pem(pem.trim_start()),
        _ => Ed25519Key::from_pkcs8_der(&bytes),
    }
}

#[cfg(feature = "pkcs11")]
fn open_token(uri: &TokenUri) -> Result<Arc<dyn Signer>, String> {
    Ok(Arc::new(token::Token::open(uri)?))
}

#[cfg(feature = "pkcs11")]
fn generate_in_token(uri: &TokenUri) -> Result<Arc<dyn Signer>, String> {
    Ok(Arc::new(token::Token::generate(uri)?))
}

#[cfg(not(feature = "pkcs11"))]
fn open_token(_: &TokenUri) -> Result<Arc<dyn Signer>, String> {
    Err("this program was built without PKCS#11".into())
}

#[cfg(not(feature = "pkcs11"))]
fn generate_in_token(uri: &TokenUri) -> Result<Arc<dyn Signer>, String> {
    open_token(uri)
}

#[cfg(test)]
mod tests;
