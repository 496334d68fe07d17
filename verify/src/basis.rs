//! What a part of a receipt rests on beside the record's own statement: whose signatures, and which tree head of the log.
//!
//! What dates and cosigns the statement's tree head does so for whatever else is proved under it, and for nothing more.

use colophon_receipt::checkpoint::Checkpoint;
use colophon_signer::note::VerifierKey;

use crate::log::{LogProof, Signed};

/// One part of a receipt.
pub(crate) struct Basis {
    /// What it is, for people.
    pub(crate) what: String,
    /// The tree head that it is proved under.
    pub(crate) checkpoint: Checkpoint,
    /// Whose signatures it needs: `H(public key)` each. The log's only with a trust file.
    pub(crate) keys: Vec<[u8; 32]>,
    /// The witnesses of the trust file that cosigned its tree head, and when, in seconds since the epoch.
    pub(crate) cosigned: Vec<(VerifierKey, u64)>,
    /// The times that it says, µs.
    pub(crate) times: Vec<u64>,
}

impl Basis {
    /// Of something that `kid` signed and the log holds under `proof`, whose checkpoint has these signatures.
    pub(crate) fn new(what: String, proof: &LogProof, kid: [u8; 32], signed: Option<Signed>) -> Basis {
        let mut basis = Basis {
            what,
            checkpoint: proof.checkpoint.clone(),
            keys: vec![kid],
            cosigned: Vec::new(),
            times: Vec::new(),
        };
        if let Some(signed) = signed {
            basis.keys.extend(signed.log_key.public_key().map(|key| key.key_id()));
            basis.cosigned = signed.cosigned;
        }
        basis
    }

    /// The witnesses of the trust file under its tree head.
    pub(crate) fn witnesses(&self) -> Vec<VerifierKey> {
        self.cosigned.iter().map(|(key, _)| key.clone()).collect()
    }
}
