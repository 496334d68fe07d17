//! PKCS#11 URIs (RFC 7512), as far as they name one private key in one token.
//!
//! `pkcs11:token=NAME;object=NAME;id=%01?module-path=/usr/lib/…/libsofthsm2.so&pin-source=file:/etc/colophon/pin`.
//! An attribute that is not known is refused, since it would say that less fits than is taken. So is `pin-value`: who may
//! list processes or read configuration would see it.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::keys::{KeyError, read_private};

/// No URI that names a key is longer.
const MAX_URI: usize = 4096;
/// No PIN is longer.
const MAX_PIN: usize = 256;

/// Which key in which token, by which module. `Display` gives the text again; there is no secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    text: String,
    /// The token's label.
    pub token: Option<String>,
    /// The token's manufacturer.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The slot's number, which may change from start to start.
    pub slot_id: Option<u64>,
    /// The key's label (`CKA_LABEL`).
    pub object: Option<String>,
    /// The key's identifier (`CKA_ID`).
    pub id: Option<Vec<u8>>,
    /// The PKCS#11 library.
    pub module_path: PathBuf,
    /// Where the user's PIN is; absent for a token that asks for none.
    pub pin: Option<PinSource>,
}

/// Where the PIN of a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl PinSource {
    /// Reads the PIN; a line break at its end is not part of it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let pin = match self {
            PinSource::File(path) => {
                let shown = path.display();
                let bytes = read_private(path).map_err(|e| match e {
                    KeyError::Permissions { mode } => {
                        format!("the PIN file {shown} may be read by others (mode {mode:o}): chmod 600")
                    }
                    KeyError::Io(e) => format!("the PIN file {shown} cannot be read: {e}"),
                    _ => format!("the PIN file {shown} is too long"),
                })?;
                match std::str::from_utf8(&bytes) {
                    Ok(text) => Zeroizing::new(text.to_owned()),
                    Err(_) => return Err(format!("the PIN file {shown} is not text")),
                }
            }
            PinSource::Env(name) => Zeroizing::new(
                std::env::var(name).map_err(|_| format!("there is no variable {name} with the PIN"))?,
            ),
        };
        let trimmed = pin.trim_end_matches(['\r', '\n']);
        match trimmed.len() {
            0 => Err(format!("the PIN in {self} is empty")),
            1..=MAX_PIN => Ok(Zeroizing::new(trimmed.to_owned())),
            _ => Err(format!("the PIN in {self} is longer than {MAX_PIN} bytes")),
        }
    }
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinSource::File(path) => write!(f, "file:{}", path.display()),
            PinSource::Env(name) => write!(f, "env:{name}"),
        }
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TokenUri {
    /// Reads what follows `pkcs11:`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(rest: &str) -> Result<TokenUri, String> {
        if rest.len() > MAX_URI {
            return Err(format!("a PKCS#11 URI has at most {MAX_URI} bytes"));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = TokenUri {
            text: format!("pkcs11:{rest}"),
            token: None,
            manufacturer: None,
            model: None,
            serial: None,
            slot_id: None,
            object: None,
            id: None,
            module_path: PathBuf::new(),
            pin: None,
        };
        let mut seen: Vec<&str> = Vec::new();
        for (separator, part) in [(';', path), ('&', query)] {
            for attribute in part.split(separator).filter(|attribute| !attribute.is_empty()) {
                let (name, value) =
                    attribute.split_once('=').ok_or_else(|| format!("`{attribute}` has no value"))?;
                if seen.contains(&name) {
                    return Err(format!("`{name}` stands there twice"));
                }
                seen.push(name);
                uri.take(separator == ';', name, value)?;
            }
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err("it names no key: give object= (its label) or id=".into());
        }
        if uri.module_path.as_os_str().is_empty() {
            return Err("it names no PKCS#11 library: give ?module-path=/path/to/module.so".into());
        }
        Ok(uri)
    }

    fn take(&mut self, in_path: bool, name: &str, value: &str) -> Result<(), String> {
        let bytes =
            decode(value).ok_or_else(|| format!("`{name}` is not percent-encoded as RFC 7512 wants"))?;
        if (in_path, name) == (true, "id") {
            self.id = Some(bytes);
            return Ok(());
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("`{name}` is not UTF-8"))?;
        match (in_path, name) {
            (true, "token") => self.token = Some(text),
            (true, "manufacturer") => self.manufacturer = Some(text),
            (true, "model") => self.model = Some(text),
            (true, "serial") => self.serial = Some(text),
            (true, "object") => self.object = Some(text),
            (true, "slot-id") => {
                let number = text.parse().map_err(|_| "`slot-id` is not a number".to_owned())?;
                self.slot_id = Some(number);
            }
            (true, "type") if text == "private" => {}
            (true, "type") => return Err("`type` has to be `private`, or be left out".into()),
            (false, "module-path") => self.module_path = PathBuf::from(text),
            (false, "module-name") => return Err("`module-name` is not looked up: give module-path".into()),
            (false, "pin-source") => self.pin = Some(pin_source(&text)?),
            (false, "pin-value") => {
                return Err(
                    "a `pin-value` would be seen by whoever may list processes: give pin-source".into()
                );
            }
            _ => return Err(format!("`{name}` is not an attribute that this program knows")),
        }
        Ok(())
    }
}

/// `file:/path`, a path, or `env:NAME`. RFC 7512 also allows a program after `|`: that is not run.
fn pin_source(text: &str) -> Result<PinSource, String> {
    match text.split_once(':') {
        Some(("env", name)) if super::is_variable(name) => Ok(PinSource::Env(name.to_owned())),
        Some(("file", path)) if !path.is_empty() => {
            Ok(PinSource::File(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
        }
        None if text.starts_with('/') => Ok(PinSource::File(PathBuf::from(text))),
        _ => Err("`pin-source` is file:/path, /path or env:NAME".into()),
    }
}

/// Undoes percent-encoding.
fn decode(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |b: u8| (b as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(rest.next()?)? << 4 | digit(rest.next()?)?
            }
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
