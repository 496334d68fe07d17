//! Evidence of this proxy itself, where it runs in a trusted environment: for the log, at the birth of each shard's key, and
//! for whoever asks with a nonce of his own.
//!
//! What is signed says which keys live here and for which nonce. Nothing that a client sends is signed but that nonce.

use crate::config::AttestOptions;
use crate::files;
use crate::upstream::attested::spki_sha256;
use anyhow::Context as _;
use colophon_attest::attester::Attester;
use colophon_attest::{
    Collateral, Document, Keyset, Policy, Question, Report, SimulatedRoots, Source, aci, collateral,
};
use colophon_ledger::KeyEvidence;
use colophon_listen::ServerCertificate;
use machines::Judging;
pub(crate) use machines::Machines;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

mod machines;

/// Challenges under way at once: the hardware answers one after another.
const AT_ONCE: usize = 4;
/// A challenge waits so long for its turn.
const TURN: Duration = Duration::from_secs(10);

/// The TLS exporter of the connection that a request came on (RFC 9266).
#[derive(Clone, Copy)]
pub struct Exporter(pub [u8; 32]);

/// Makes this proxy's evidence.
pub struct Attesting {
    attester: Attester,
    /// What goes along with evidence; read each time, since it goes stale.
    collateral: Option<PathBuf>,
    /// The listener's, whose key clients may have pinned.
    certificate: Option<Arc<ServerCertificate>>,
    turns: Semaphore,
    /// The roots of its own simulation, if it is one.
    simulated: Option<SimulatedRoots>,
    /// The newest evidence about shards' keys, and what it is compared with.
    judging: Mutex<Judging>,
}

/// Why a challenge gets no evidence.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Too many at once.
    #[error("too many challenges at once")]
    Busy,
    /// The machine gave none.
    #[error("{0}")]
    Failed(String),
}

impl Attesting {
    /// As `--attest` says; nothing without it.
    pub fn new(
        options: &AttestOptions,
        certificate: Option<Arc<ServerCertificate>>,
    ) -> anyhow::Result<Option<Arc<Attesting>>> {
        let Some(what) = &options.attest else { return Ok(None) };
        let attester: Attester =
            what.parse().map_err(|error: String| anyhow::anyhow!("--attest: {error}"))?;
        if attester.is_simulated() {
            tracing::warn!(
                "--attest {what}: the evidence is simulated, proves nothing, and is refused unless allowed"
            );
        }
        let attesting = Attesting {
            simulated: attester.simulated_roots(),
            attester,
            collateral: options.collateral.clone(),
            certificate,
            turns: Semaphore::new(AT_ONCE),
            judging: Mutex::default(),
        };
        attesting.read_collateral().context("--attest-collateral")?;
        Ok(Some(Arc::new(attesting)))
    }

    /// Evidence about this shard's key for a reader's nonce, of 1 to 128 characters of `0-9A-Za-z_-`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn challenge(
        self: &Arc<Self>,
        shard_key: [u8; 32],
        nonce: String,
        exporter: Option<Exporter>,
    ) -> Result<Vec<u8>, Unanswered> {
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Unanswered::Busy) };
        let this = self.clone();
        let make = move || this.document(shard_key, Some(nonce), None, exporter);
        let made = tokio::task::spawn_blocking(make).await;
        let made = made.unwrap_or_else(|error| Err(error.to_string()));
        made.map(|document| document.to_json()).map_err(Unanswered::Failed)
    }

    /// Compares the newest evidence about each key with what a model certificate says of machines, and from now on all that
    /// is made, in place of what was named before. Blocks.
    pub fn compare_with(&self, machines: Arc<Machines>) {
        let mut judging = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        judging.compare_with(machines, |document, policy| self.source_of(document, policy));
    }

    /// Whose word a document of its own is by a policy: the weakest piece's.
    fn source_of(&self, document: &[u8], policy: &Policy) -> Result<Source, String> {
        let reports = self.judge(document, Some(policy))?;
        Ok(reports.iter().map(|report| report.source).min().unwrap_or(Source::OperatorAsserted))
    }

    /// Verifies a document of its own at this time.
    fn judge(&self, document: &[u8], policy: Option<&Policy>) -> Result<Vec<Report>, String> {
        let at = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        let question = Question { at, policy, simulated: self.simulated.as_ref(), ..Question::default() };
        let document = Document::read(document).map_err(|refusal| refusal.to_string())?;
        let verified = document.verify(&Collateral::default(), &question);
        verified.map(|attested| attested.reports).map_err(|refusal| refusal.to_string())
    }

    fn document(
        &self,
        shard_key: [u8; 32],
        nonce: Option<String>,
        token: Option<Vec<u8>>,
        exporter: Option<Exporter>,
    ) -> Result<Document, String> {
        let spki = self.certificate.as_ref().and_then(|certificate| spki_sha256(&certificate.leaf()?));
        let keyset =
            Keyset::new(vec![shard_key], spki.into_iter().collect(), exporter.map(|exporter| exporter.0));
        let collateral = self.read_collateral().map_err(|error| format!("{error:#}"))?;
        let at = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        self.attester.document(&keyset, nonce, token, &collateral, at).map_err(|error| error.to_string())
    }

    fn read_collateral(&self) -> anyhow::Result<Collateral> {
        self.collateral.as_deref().map_or(Ok(Collateral::default()), read_collateral)
    }
}

/// Reads a file of collateral, of bounded length.
pub(crate) fn read_collateral(path: &Path) -> anyhow::Result<Collateral> {
    let bytes = files::read(path, collateral::MAX_BYTES)?;
    Collateral::read(&bytes).with_context(|| format!("{}", path.display()))
}

impl KeyEvidence for Attesting {
    fn of_key(&self, key: &[u8; 32], token: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        let nonce = token.as_deref().map(|token| hex::encode(aci::epoch_nonce(token)));
        let document = self.document(*key, nonce, token, None)?.to_json();
        let mut judging = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        judging.made(*key, document.clone(), |document, policy| self.source_of(document, policy));
        Ok(document)
    }

    fn check(&self, document: &[u8]) -> Result<(), String> {
        self.judge(document, None).map(drop).map_err(|refusal| format!("it does not verify: {refusal}"))
    }
}

#[cfg(test)]
mod tests;
