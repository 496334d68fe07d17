//! Attestation documents, as they are kept: `attested/<SHA-256>`, once each, for the receipts of all records that were made on
//! the same connection to an upstream, or by the same key.

use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use colophon_receipt::fields::{UPSTREAM, Upstream};
use colophon_receipt::merkle::{Hash, sha256};
use colophon_receipt::record::decode_field;

/// A document is never longer.
const MAX: u64 = 1 << 20;

fn name(hash: &Hash) -> String {
    format!("attested/{}", hex::encode(hash))
}

/// Keeps a document.
pub(crate) async fn keep(objects: &Objects, document: bytes::Bytes) -> Result<(), LedgerError> {
    objects.create(&name(&sha256(&document)), document).await.map(drop)
}

/// The one that a record's field names.
pub(crate) async fn of<'a>(
    objects: &Objects,
    fields: impl Iterator<Item = (u8, &'a [u8])>,
) -> Option<Vec<u8>> {
    let (_, encoded) = { fields }.find(|(number, _)| *number == UPSTREAM)?;
    let (_, value) = decode_field(encoded).ok()?;
    kept(objects, &Upstream::read(value).ok()?.evidence?).await
}

/// The document of this digest. What is damaged is told and passed over: a receipt without it is better than none.
pub(super) async fn kept(objects: &Objects, hash: &Hash) -> Option<Vec<u8>> {
    let name = name(hash);
    match objects.get(&name, MAX).await {
        Ok(Some(document)) if sha256(&document) == *hash => return Some(document.to_vec()),
        Ok(Some(_)) => tracing::error!(name, "is not what it is named after; receipts go without it"),
        Ok(None) => tracing::warn!(name, "is not kept; receipts go without it"),
        Err(error) => tracing::error!(%error, name, "cannot be read; receipts go without it"),
    }
    None
}
