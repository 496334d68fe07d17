//! One session with a token: the module loaded, the token found, the PIN given, the key pair found.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session as RawSession, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::super::uri::TokenUri;
use super::Signature;
use crate::keys::PublicKey;

/// `CKA_EC_PARAMS` of Ed25519: the object identifier 1.3.101.112 (RFC 8410), or the curve's name as some modules want it.
const CURVE: [&[u8]; 2] = [&[0x06, 0x03, 0x2b, 0x65, 0x70], b"\x13\x0cedwards25519"];

/// What went wrong, and whether the PIN is to blame.
pub(super) struct Problem {
    pub(super) why: String,
    pub(super) pin: bool,
}

impl From<String> for Problem {
    fn from(why: String) -> Problem {
        Problem { why, pin: false }
    }
}

/// The private key, and a session that may use it.
pub(super) struct Session {
    raw: RawSession,
    key: ObjectHandle,
    public: PublicKey,
}

impl Session {
    /// Logs in and finds the key. With `again`, the module is started anew: it may have seen another token since.
    pub(super) fn open(uri: &TokenUri, again: bool) -> Result<Session, Problem> {
        let (module, slot) = find_token(uri, again)?;
        let raw = module.open_ro_session(slot).map_err(|e| said("opening a session", &e))?;
        log_in(&raw, uri)?;
        let key = only(&raw, uri, ObjectClass::PRIVATE_KEY, "private key")?;
        let public = public_half(&raw, uri, key)?;
        Ok(Session { raw, key, public })
    }

    pub(super) fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, String> {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let signature = self.raw.sign(&mechanism, self.key, message).map_err(|e| said("signing", &e))?;
        let length = signature.len();
        signature.try_into().map_err(|_| format!("the token's signature has {length} bytes instead of 64"))
    }
}

/// Makes a key pair that never leaves the token.
pub(super) fn generate(uri: &TokenUri) -> Result<(), String> {
    let (module, slot) = find_token(uri, false)?;
    let raw = module.open_rw_session(slot).map_err(|e| said("opening a session for writing", &e))?;
    log_in(&raw, uri).map_err(|problem| problem.why)?;
    let there =
        raw.find_objects(&template(uri, ObjectClass::PRIVATE_KEY)).map_err(|e| said("looking", &e))?;
    if !there.is_empty() {
        return Err("the token already has a key of this name; it is not overwritten".into());
    }
    let mut id = vec![0; 16];
    match &uri.id {
        Some(given) => id.clone_from(given),
        None => getrandom::fill(&mut id).map_err(|e| format!("no randomness: {e}"))?,
    }
    let label = uri.object.clone().unwrap_or_default().into_bytes();
    let shared = [Attribute::Token(true), Attribute::Label(label), Attribute::Id(id)];
    let private = [
        &shared[..],
        &[
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ],
    ]
    .concat();
    let mut last = String::new();
    for curve in CURVE {
        let public = [
            &shared[..],
            &[Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(curve.to_vec())],
        ]
        .concat();
        match raw.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private) {
            Ok(_) => return Ok(()),
            Err(e) => last = said("generating an Ed25519 key", &e),
        }
    }
    Err(last)
}

fn load(uri: &TokenUri, again: bool) -> Result<Pkcs11, String> {
    let shown = uri.module_path.display();
    let module = Pkcs11::new(&uri.module_path)
        .map_err(|e| format!("the PKCS#11 library {shown} cannot be used: {e}"))?;
    let start = || module.clone().initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    match start() {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) if again => {
            // Ends the sessions of other keys in this module, too: they are opened again when next used.
            module.clone().finalize().map_err(|e| said("ending the module", &e))?;
            start().map_err(|e| said("starting the module again", &e))?;
        }
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(e) => return Err(said("starting the module", &e)),
    }
    Ok(module)
}

fn find_token(uri: &TokenUri, again: bool) -> Result<(Pkcs11, Slot), String> {
    let module = load(uri, again)?;
    let slots = module.get_slots_with_token().map_err(|e| said("listing the tokens", &e))?;
    let (mut fitting, mut labels) = (Vec::new(), Vec::new());
    for slot in slots {
        // One broken reader does not hide the others.
        let Ok(info) = module.get_token_info(slot) else { continue };
        // SoftHSM always shows one more slot, in which a new token could be set up.
        if !info.token_initialized() {
            continue;
        }
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        if is(&uri.token, info.label())
            && is(&uri.manufacturer, info.manufacturer_id())
            && is(&uri.model, info.model())
            && is(&uri.serial, info.serial_number())
            && uri.slot_id.is_none_or(|id| id == slot.id())
        {
            fitting.push(slot);
        }
        labels.push(format!("`{}`", info.label().escape_debug()));
    }
    match fitting.as_slice() {
        [slot] => Ok((module, *slot)),
        [] if labels.is_empty() => Err("there is no token: is it plugged in, and the module set up?".into()),
        [] => Err(format!("no token fits; there are {}", labels.join(", "))),
        several => Err(format!("{} tokens fit: name one with token= or serial=", several.len())),
    }
}

fn log_in(session: &RawSession, uri: &TokenUri) -> Result<(), Problem> {
    let Some(source) = &uri.pin else { return Ok(()) };
    let pin = AuthPin::from(source.read()?.as_str().to_owned());
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(rv, _)) if is_about_pin(&rv) => {
            let why = format!("the token refused the PIN from {source} ({rv:?}); it is not tried again");
            Err(Problem { why, pin: true })
        }
        Err(e) => Err(said("logging in", &e).into()),
    }
}

fn is_about_pin(rv: &RvError) -> bool {
    matches!(
        rv,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
    )
}

fn template(uri: &TokenUri, class: ObjectClass) -> Vec<Attribute> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
    template
}

/// The one object that the URI names.
fn only(raw: &RawSession, uri: &TokenUri, class: ObjectClass, what: &str) -> Result<ObjectHandle, String> {
    let found = raw.find_objects(&template(uri, class)).map_err(|e| said("looking for the key", &e))?;
    match found.as_slice() {
        [one] => Ok(*one),
        [] if uri.pin.is_none() => {
            Err(format!("the token shows no such {what}; without pin-source it shows public objects only"))
        }
        [] => Err(format!("the token has no such {what}")),
        several => Err(format!("the token has {} objects of this name as {what}: add id=", several.len())),
    }
}

/// The public key beside the private one: of the same identifier and label.
fn public_half(raw: &RawSession, uri: &TokenUri, key: ObjectHandle) -> Result<PublicKey, String> {
    let mut same = uri.clone();
    for attribute in attributes(raw, key, &[AttributeType::KeyType, AttributeType::Id])? {
        match attribute {
            Attribute::KeyType(kind) if kind != KeyType::EC_EDWARDS => {
                return Err(format!("it is no Ed25519 key, but of the type {kind}"));
            }
            Attribute::Id(id) if !id.is_empty() => same.id = Some(id),
            _ => {}
        }
    }
    let public = only(raw, &same, ObjectClass::PUBLIC_KEY, "public key beside the private one")?;
    for attribute in attributes(raw, public, &[AttributeType::EcPoint])? {
        if let Attribute::EcPoint(point) = attribute {
            let raw = point_of(&point).ok_or("the public key beside it is no Ed25519 key")?;
            return Ok(PublicKey(raw));
        }
    }
    Err("the token does not show the public key's point".into())
}

fn attributes(
    raw: &RawSession,
    object: ObjectHandle,
    kinds: &[AttributeType],
) -> Result<Vec<Attribute>, String> {
    raw.get_attributes(object, kinds).map_err(|e| said("reading the key's attributes", &e))
}

/// `CKA_EC_POINT`: the 32 bytes of RFC 8032 (PKCS#11 3.0), or in a DER OCTET STRING (2.40) or BIT STRING (drafts).
fn point_of(point: &[u8]) -> Option<[u8; 32]> {
    let bare = match point {
        [0x04, 0x20, rest @ ..] if rest.len() == 32 => rest,
        [0x03, 0x21, 0x00, rest @ ..] if rest.len() == 32 => rest,
        other => other,
    };
    bare.try_into().ok()
}

/// The module's answer in short; the library's own text is a page of the specification.
fn said(doing: &str, error: &Error) -> String {
    match error {
        Error::Pkcs11(rv, function) => format!("{doing}: the token said {rv:?} ({function})"),
        other => format!("{doing}: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::point_of;

    #[test]
    fn a_point_is_read_in_its_three_forms() {
        let key = [7; 32];
        assert_eq!(point_of(&key), Some(key));
        assert_eq!(point_of(&[&[0x04, 0x20][..], &key].concat()), Some(key));
        assert_eq!(point_of(&[&[0x03, 0x21, 0x00][..], &key].concat()), Some(key));
        // A P-256 point, an Ed448 point, and nothing.
        assert_eq!(point_of(&[4; 65]), None);
        assert_eq!(point_of(&[&[0x04, 57][..], &[7; 57]].concat()), None);
        assert_eq!(point_of(&[]), None);
    }
}
