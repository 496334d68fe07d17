//! Proofs of records, beside their openings: `proof/<record>/<evidence>` in the private store, ids in hexadecimal.
//!
//! A proof says things about its record that only whoever may open it is to know, so it is sealed by the very key of the
//! record's opening, and goes when that goes.
//!
//! ```text
//! "colophon proof 1" | salt (16) | key's name (28) | sealed: salt of the commitment (16), the proof's JSON; and the tag
//! ```

use super::crypt::{DataKey, KEY_NAME, KeyName, Place, Tenant};
use super::file::Page;
use super::vault::{Kept, damage, private_key};
use super::{NO_TENANT, Vault};
use crate::index::{civil_month, id_ms};
use crate::ledger::LedgerError;
use crate::ledger::keeper::private_name;
use colophon_receipt::proof::{MAX_ARTEFACT, MAX_STATEMENT, Proof};
use colophon_receipt::receipt::{Bytes, ProofPart};
use colophon_receipt::record::RecordId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const MAGIC: &[u8; 16] = b"colophon proof 1";
const HEAD: usize = MAGIC.len() + 16 + KEY_NAME;
const FOLDER: &str = "proof";
/// Is there once any proof is: so that receipts of ledgers without proofs look for none.
const USED: &str = "proof/used";
/// The artefact in base64, the statement, and what is around them.
const MAX_FILE: u64 = 2 * (MAX_ARTEFACT + MAX_STATEMENT) as u64;

fn folder(record: &RecordId) -> String {
    format!("{FOLDER}/{}", hex::encode(record))
}

fn name(record: &RecordId, evidence: &RecordId) -> String {
    format!("{}/{}", folder(record), hex::encode(evidence))
}

fn id(text: &str) -> Option<RecordId> {
    let mut id = RecordId::default();
    hex::decode_to_slice(text, &mut id).ok().map(|()| id)
}

impl Vault {
    /// The key that seals the opening of a record.
    pub(crate) async fn key_of(
        &self,
        shard: &str,
        seq: u64,
        slot: u32,
        record: &RecordId,
    ) -> Result<Arc<DataKey>, LedgerError> {
        let name = private_name(shard, seq);
        let taken = || damage(&name, "an erasure has taken this opening");
        let page = match self.kept(&name, slot).await? {
            Kept::Gone(_) => return Err(taken()),
            Kept::Clear(_) => {
                return self.writing_key((Tenant::new(NO_TENANT), civil_month(id_ms(record)))).await;
            }
            Kept::Sealed(_, page) => page,
        };
        match Page::read(&page, slot).map_err(|e| damage(&name, e))? {
            Page::Sealed(key, _) => {
                let key = self.reading_key(&key, &name).await?;
                key.map_err(|_| damage(&name, "an erasure has destroyed its key"))
            }
            Page::Erased(_) => Err(taken()),
        }
    }

    /// Keeps a proof. One that is kept for the same evidence stays as it is.
    pub(crate) async fn keep_proof(
        &self,
        record: &RecordId,
        evidence: &RecordId,
        key: Arc<DataKey>,
        proof: &Proof,
    ) -> Result<(), LedgerError> {
        let name = name(record, evidence);
        let (mut salt, mut commitment_salt) = ([0; 16], [0; 16]);
        getrandom::fill(&mut salt)?;
        getrandom::fill(&mut commitment_salt)?;
        let mut text = commitment_salt.to_vec();
        serde_json::to_writer(&mut text, proof).map_err(|e| damage(&name, e))?;
        let mut out = [MAGIC.as_slice(), &salt, &key.name.to_bytes()].concat();
        let place = Place { shard: FOLDER, seq: 0, slot: 0, id: evidence };
        let sealed = key.of_file(&salt).and_then(|page| page.seal(place, &text, &mut out));
        sealed.map_err(|e| private_key(&key.name, e))?;
        self.store.create(&name, out.into()).await?;
        self.store.create(USED, bytes::Bytes::new()).await?;
        self.proofs.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A proof that is kept.
    pub(crate) async fn proof(
        &self,
        record: &RecordId,
        evidence: &RecordId,
    ) -> Result<Option<ProofPart>, LedgerError> {
        let name = name(record, evidence);
        let Some(bytes) = self.store.get(&name, MAX_FILE).await? else { return Ok(None) };
        let head = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<16>());
        let head = head.and_then(|(salt, rest)| Some((salt, rest.split_first_chunk::<KEY_NAME>()?.0)));
        let (salt, key) = head.ok_or_else(|| damage(&name, "it is no version 1 proof"))?;
        let Ok(key) = self.reading_key(&KeyName::from_bytes(key), &name).await? else { return Ok(None) };
        let place = Place { shard: FOLDER, seq: 0, slot: 0, id: evidence };
        let sealed = bytes.get(HEAD..).unwrap_or_default();
        let text =
            key.of_file(salt).and_then(|page| page.open(place, sealed)).map_err(|e| damage(&name, e))?;
        let (salt, json) = text.split_first_chunk::<16>().ok_or_else(|| damage(&name, "it is too short"))?;
        let proof = serde_json::from_slice(json).map_err(|e| damage(&name, e))?;
        Ok(Some(ProofPart { salt: Bytes(salt.to_vec()), proof }))
    }

    /// The evidence of a record of which a proof is kept.
    pub(crate) async fn proofs_of(&self, record: &RecordId) -> Result<Vec<RecordId>, LedgerError> {
        if !self.proofs.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let mut names = self.store.list(&folder(record)).await?;
        names.sort();
        Ok(names.iter().filter_map(|name| id(name)).collect())
    }

    /// The records of which a proof is kept.
    pub(crate) async fn proven(&self) -> Result<Vec<RecordId>, LedgerError> {
        let mut records: Vec<RecordId> = self
            .store
            .paths(FOLDER)
            .await?
            .iter()
            .filter_map(|path| {
                let (record, evidence) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
                id(evidence).and(id(record))
            })
            .collect();
        records.sort_unstable();
        records.dedup();
        Ok(records)
    }

    /// Deletes the proofs of a record.
    pub(crate) async fn erase_proofs(&self, record: &RecordId) -> Result<(), LedgerError> {
        let folder = folder(record);
        let names: Vec<String> =
            self.store.list(&folder).await?.iter().map(|name| format!("{folder}/{name}")).collect();
        self.store.delete_all(&names).await
    }

    /// Whether any proof was ever kept.
    pub(super) async fn has_proofs(store: &crate::ledger::objects::Objects) -> Result<bool, LedgerError> {
        store.exists(USED).await
    }
}
