//! What other tests need of the private store's insides.

use super::Opening;
use super::crypt::Tenant;
use super::file::{Entry, tests::clear as clear_file};
use colophon_receipt::record::{Record, RecordId};

/// The folder of a tenant's keys.
pub(crate) fn folder(tenant: &[u8]) -> String {
    Tenant::new(tenant).folder()
}

/// A version 1 file with one opening.
pub(crate) fn clear(id: &RecordId, opening: &Opening) -> Vec<u8> {
    clear_files(&[(*id, opening.clone())])
}

/// A version 1 file.
pub(crate) fn clear_files(openings: &[(RecordId, Opening)]) -> Vec<u8> {
    let record = |opening: &Opening| Record {
        leaf: Vec::new(),
        leaf_hash: [0; 32],
        seed: opening.seed,
        fields: opening.fields.clone(),
    };
    let records: Vec<Record> = openings.iter().map(|(_, opening)| record(opening)).collect();
    let entries = openings.iter().zip(&records).map(|((id, opening), record)| Entry {
        record,
        id,
        completed_at: 0,
        tenant: b"-",
        signatures: &opening.signatures,
        announced: opening.announced,
    });
    clear_file(entries)
}
