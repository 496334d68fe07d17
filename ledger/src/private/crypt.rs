//! The keys of the private store: one data key a tenant and month, wrapped by a key-encryption key from elsewhere.
//!
//! ```text
//! keys/<tenant, 32 hex digits>/<yyyymm>-<id, 16 hex digits>:
//! "colophon key   1" | key-encryption key's id (8) | nonce (12) | AES-256-GCM of the data key (32 + 16)
//! ```
//! The pages of one file are sealed by a key of their own, `HMAC-SHA-256(data key, "colophon/open/v2" ‖ salt of the
//! file)`, with the slot as nonce: no count of records wears a data key out, as random nonces would.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use colophon_receipt::merkle::sha256;
use colophon_receipt::record::RecordId;

const KEY_MAGIC: &[u8; 16] = b"colophon key   1";
/// Separates what a data key makes from everything else that it could.
const DOMAIN: &[u8; 16] = b"colophon/open/v2";
/// What AES-GCM adds to a text.
pub(crate) const TAG: usize = 16;
/// A file of a wrapped key has exactly this many bytes.
pub(crate) const KEY_FILE: usize = 16 + 8 + NONCE_LEN + 32 + TAG;
/// Bytes of a [`KeyName`] in a page.
pub(crate) const KEY_NAME: usize = 16 + 4 + 8;

/// Why a key or what it sealed cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptError {
    /// A key-encryption key that is not 64 hexadecimal digits.
    #[error("a key-encryption key is 64 hexadecimal digits (32 random bytes)")]
    KekText,
    /// Bytes that are not a file of a wrapped key.
    #[error("not a version 1 file of a wrapped key")]
    KeyFile,
    /// Wrapped by another key-encryption key.
    #[error(
        "it is wrapped by the key-encryption key {wrapped}, and the one given is {given} (see --private-key)"
    )]
    OtherKek {
        /// Id of the key that is needed.
        wrapped: String,
        /// Id of the key that was given.
        given: String,
    },
    /// The tag does not fit: changed bytes, or bytes from another place.
    #[error("it does not decrypt: its bytes were changed, or belong to another record, batch or key")]
    Seal,
}

/// A key-encryption key (AES-256): whoever has it and the private store can open every record.
pub struct Kek {
    key: LessSafeKey,
    id: [u8; 8],
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kek").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Kek {
    /// The key of these 32 bytes.
    ///
    /// # Errors
    /// Never in practice: the length is right.
    pub fn new(secret: &[u8; 32]) -> Result<Kek, CryptError> {
        let hash = sha256(&[b"colophon/kek/v1".as_slice(), secret].concat());
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Ok(Kek { key: aes(secret)?, id })
    }

    /// Reads a key as files and environment hold it: 64 hexadecimal digits, white space around them allowed.
    ///
    /// # Errors
    /// [`CryptError::KekText`].
    pub fn parse(text: &str) -> Result<Kek, CryptError> {
        let mut secret = [0; 32];
        hex::decode_to_slice(text.trim(), &mut secret).map_err(|_| CryptError::KekText)?;
        Kek::new(&secret)
    }

    /// What tells this key from others; says nothing about it.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// The file of a wrapped data key.
    pub(crate) fn wrap(&self, key: &DataKey) -> Result<Vec<u8>, CryptError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| CryptError::Seal)?;
        let mut sealed = key.secret.to_vec();
        let aad = Aad::from(key_aad(&key.name));
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| CryptError::Seal)?;
        Ok([KEY_MAGIC.as_slice(), &self.id, &nonce, &sealed].concat())
    }

    /// Reads the file of the data key `name`.
    pub(crate) fn unwrap(&self, name: &KeyName, file: &[u8]) -> Result<DataKey, CryptError> {
        let rest = file.strip_prefix(KEY_MAGIC).ok_or(CryptError::KeyFile)?;
        let (id, rest) = rest.split_first_chunk::<8>().ok_or(CryptError::KeyFile)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(CryptError::KeyFile)?;
        if *id != self.id {
            return Err(CryptError::OtherKek { wrapped: hex::encode(id), given: self.id() });
        }
        let mut sealed: [u8; 32 + TAG] = sealed.try_into().map_err(|_| CryptError::KeyFile)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(key_aad(name)), &mut sealed);
        let secret = opened.map_err(|_| CryptError::Seal)?;
        let secret = secret.try_into().map_err(|_| CryptError::KeyFile)?;
        Ok(DataKey { name: *name, secret })
    }
}

fn key_aad(name: &KeyName) -> Vec<u8> {
    [KEY_MAGIC.as_slice(), &name.to_bytes()].concat()
}

/// Whose records a key seals: the first half of `H("colophon/tenant/v1" ‖ name)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tenant(pub(crate) [u8; 16]);

impl Tenant {
    pub(crate) fn new(name: &[u8]) -> Tenant {
        let hash = sha256(&[b"colophon/tenant/v1".as_slice(), name].concat());
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Tenant(half)
    }

    /// The folder of the tenant's keys.
    pub(crate) fn folder(&self) -> String {
        format!("keys/{}", hex::encode(self.0))
    }
}

/// Names a data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KeyName {
    pub(crate) tenant: Tenant,
    /// `yyyymm` as a number: when the records were completed, UTC.
    pub(crate) month: u32,
    pub(crate) id: [u8; 8],
}

impl KeyName {
    /// The key's file in the private store.
    pub(crate) fn path(&self) -> String {
        format!("{}/{:06}-{}", self.tenant.folder(), self.month, hex::encode(self.id))
    }

    /// Reads a name from the last part of its path.
    pub(crate) fn parse(tenant: Tenant, file: &str) -> Option<KeyName> {
        let (month, id) = file.split_once('-')?;
        let mut name = KeyName { tenant, month: month.parse().ok()?, id: [0; 8] };
        hex::decode_to_slice(id, &mut name.id).ok()?;
        // In its one spelling, so that a name and a file are the same.
        name.path().ends_with(&format!("/{file}")).then_some(name)
    }

    pub(crate) fn to_bytes(self) -> [u8; KEY_NAME] {
        let mut out = [0; KEY_NAME];
        out[..16].copy_from_slice(&self.tenant.0);
        out[16..20].copy_from_slice(&self.month.to_le_bytes());
        out[20..].copy_from_slice(&self.id);
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8; KEY_NAME]) -> KeyName {
        let (mut tenant, mut month, mut id) = ([0; 16], [0; 4], [0; 8]);
        tenant.copy_from_slice(&bytes[..16]);
        month.copy_from_slice(&bytes[16..20]);
        id.copy_from_slice(&bytes[20..]);
        KeyName { tenant: Tenant(tenant), month: u32::from_le_bytes(month), id }
    }
}

/// Seals the openings of one tenant and month.
pub(crate) struct DataKey {
    pub(crate) name: KeyName,
    secret: [u8; 32],
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("name", &self.name.path()).finish_non_exhaustive()
    }
}

impl DataKey {
    pub(crate) fn generate(tenant: Tenant, month: u32) -> Result<DataKey, getrandom::Error> {
        let (mut id, mut secret) = ([0; 8], [0; 32]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        Ok(DataKey { name: KeyName { tenant, month, id }, secret })
    }

    /// The key of the pages of one file.
    pub(crate) fn of_file(&self, salt: &[u8; 16]) -> Result<PageKey, CryptError> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret));
        context.update(DOMAIN);
        context.update(salt);
        let key = context.sign().as_ref().try_into().map_err(|_| CryptError::Seal)?;
        Ok(PageKey(aes(&key)?))
    }
}

/// Where a page belongs: what is moved elsewhere does not decrypt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) shard: &'a str,
    pub(crate) seq: u64,
    pub(crate) slot: u32,
    pub(crate) id: &'a RecordId,
}

impl Place<'_> {
    fn aad(&self) -> Vec<u8> {
        let (slot, seq) = (self.slot.to_be_bytes(), self.seq.to_be_bytes());
        [DOMAIN.as_slice(), self.id, &slot, &seq, self.shard.as_bytes()].concat()
    }

    /// No two pages of one file share a slot, and no two files a key.
    fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 4..].copy_from_slice(&self.slot.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals and opens the pages of one file that belong to one data key.
pub(crate) struct PageKey(LessSafeKey);

impl PageKey {
    /// Appends the sealed text to `out`.
    pub(crate) fn seal(&self, place: Place<'_>, text: &[u8], out: &mut Vec<u8>) -> Result<(), CryptError> {
        let start = out.len();
        out.extend_from_slice(text);
        self.seal_from(place, out, start)
    }

    /// Seals what `out` has from `start` on, where it stands.
    pub(crate) fn seal_from(
        &self,
        place: Place<'_>,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), CryptError> {
        let aad = Aad::from(place.aad());
        let tag = self.0.seal_in_place_separate_tag(place.nonce(), aad, &mut out[start..]);
        out.extend_from_slice(tag.map_err(|_| CryptError::Seal)?.as_ref());
        Ok(())
    }

    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, CryptError> {
        let mut text = sealed.to_vec();
        let opened = self.0.open_in_place(place.nonce(), Aad::from(place.aad()), &mut text);
        let length = opened.map_err(|_| CryptError::Seal)?.len();
        text.truncate(length);
        Ok(text)
    }
}

fn aes(key: &[u8; 32]) -> Result<LessSafeKey, CryptError> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptError::Seal)?))
}

#[cfg(test)]
mod tests;
