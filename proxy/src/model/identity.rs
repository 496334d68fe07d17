//! Which model certificate the records of this process name: one whose files were read here and are those that it lists.
//!
//! That the server behind runs these files is the operator's word (`configured`). What this process can see, it acts on: a
//! file that changes, a certificate that expires or is taken back, an API call that changes the model. From then on no
//! record names the certificate, and a record says so.

use crate::app::App;
use crate::attestation::Machines;
use crate::config::ModelOptions;
use crate::files;
use crate::model::cache::Cache;
use crate::model::folder::{self, Stamp};
use crate::model::{compare, counts, in_words, refusal, stamps_of};
use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use colophon_attest::Source;
use colophon_ledger::{Done, Open, Shard};
use colophon_provers::local::now;
use colophon_receipt::fields::{self, Failure, Model, Operation, Times};
use colophon_receipt::merkle::sha256;
use colophon_receipt::record::{FieldSet, RecordId, seal};
use colophon_receipt::{Hash, Level, Outcome};
use colophon_signer::model::certificate::{self, ModelCertificate};
use colophon_signer::model::{Standing, authority};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// So many certificates are still handed out after others took their place.
const KEPT: usize = 16;
/// How a certificate is known by the operator's word alone, in records.
const CONFIGURED: &str = "configured";
/// Longest reason in a record, bytes.
const MAX_REASON: usize = 512;

/// A certificate that records name.
#[derive(Debug)]
pub struct Bound {
    /// Its digest.
    pub digest: Hash,
    /// The model's name.
    pub name: String,
    served_as: Vec<String>,
    /// What the certificate says of machines that run the model, and which keys are in such ones.
    machines: Option<Arc<Machines>>,
}

impl Bound {
    /// How the certificate is known in records of the shard with this public key, and whose word that is.
    pub fn known_by(&self, key: &[u8; 32]) -> (&'static str, &'static str) {
        match self.machines.as_ref().and_then(|machines| machines.known(key)) {
            Some(source) => ("attested", source.as_str()),
            None => (CONFIGURED, Source::OperatorAsserted.as_str()),
        }
    }

    /// Whether it is of the model that an exchange names, as far as names were given.
    pub fn is_of(&self, name: Option<&[u8]>) -> bool {
        self.served_as.is_empty()
            || name.is_some_and(|name| self.served_as.iter().any(|known| known.as_bytes() == name))
    }
}

/// The certificate in force, if any.
#[derive(Default)]
pub struct Identity {
    now: ArcSwapOption<Bound>,
    /// Whether there is a certificate to lose.
    configured: AtomicBool,
    /// What an API call changed, until the operator says that the certified files run again.
    changed: Mutex<Option<String>>,
    /// Wakes whoever follows, when `changed` is set.
    wake: Notify,
    files: Mutex<VecDeque<(Hash, Bytes)>>,
}

impl Identity {
    /// What records name now.
    pub fn now(&self) -> Option<Arc<Bound>> {
        self.now.load_full()
    }

    /// Whether this still is what records name.
    pub fn is(&self, bound: &Arc<Bound>) -> bool {
        self.now.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, bound))
    }

    /// An API call changed what the server runs: nothing is named from now on.
    pub fn changed_by_api(&self, operation: &str) {
        if self.configured.load(Ordering::Relaxed) {
            // Whoever stores a certificate looks at this afterwards.
            *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(operation.to_owned());
            self.now.store(None);
            self.wake.notify_one();
        }
    }

    fn name(&self, bound: Arc<Bound>) {
        self.now.store(Some(bound));
        if self.changed().is_some() {
            self.now.store(None);
        }
    }

    /// The file of a certificate that records of this process name.
    pub fn file(&self, digest: &Hash) -> Option<Bytes> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().find(|(known, _)| known == digest).map(|(_, file)| file.clone())
    }

    fn keep(&self, digest: Hash, file: Bytes) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(known, _)| *known != digest);
        files.truncate(KEPT - 1);
        files.push_front((digest, file));
    }

    fn changed(&self) -> Option<String> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn run_again(&self) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A certificate whose files were read, and all that has to stay as it was.
struct Judged {
    bound: Arc<Bound>,
    file: Bytes,
    seen: Seen,
}

/// What tells that something changed, without reading the files again.
#[derive(PartialEq, Eq)]
struct Seen {
    certificate: Hash,
    authority: Option<Hash>,
    /// Why the certificate does not count at the moment.
    refused: Option<String>,
    stamps: Vec<(String, Stamp)>,
}

/// What was configured.
struct Sources {
    options: ModelOptions,
    cache: Option<Cache>,
}

/// Judges the certificate at the start, and follows it.
pub struct Follower {
    sources: Arc<Sources>,
    judged: Judged,
    every: Duration,
}

impl Follower {
    /// Reads the certificate and all files; `None` where none is configured.
    ///
    /// # Errors
    /// When the certificate does not count, or the files are not those that it lists.
    pub async fn start(options: &ModelOptions, data: &Path) -> anyhow::Result<Option<Follower>> {
        let (Some(certificate), Some(_)) = (&options.model_cert, &options.model_dir) else {
            // clap asks for both on the command line only.
            anyhow::ensure!(
                options.model_cert.is_none() && options.model_dir.is_none(),
                "--model-cert and --model-dir go together"
            );
            return Ok(None);
        };
        let cache = match options.model_no_cache {
            true => None,
            false => {
                std::fs::create_dir_all(data).with_context(|| format!("--data {}", data.display()))?;
                Some(Cache::open(&data.join("model-digests"))?)
            }
        };
        if options.model_authority.is_none() {
            tracing::warn!(
                "no --model-authority: nobody looked at whose certificate it is, or whether it was revoked"
            );
        }
        let sources = Arc::new(Sources { options: options.clone(), cache });
        let judged = sources.clone().judge().await;
        let judged = judged.with_context(|| format!("--model-cert {}", certificate.display()))?;
        Ok(Some(Follower { sources, judged, every: options.model_check_every }))
    }

    /// Has records name the certificate.
    pub async fn begin(&self, app: &App) {
        app.model.configured.store(true, Ordering::Relaxed);
        app.model.keep(self.judged.bound.digest, self.judged.file.clone());
        bind(app, None, &self.judged.bound).await;
    }

    /// Follows it until `stop`. `now`: the operator says that the certified files run.
    pub async fn follow(self, app: Arc<App>, now: Arc<Notify>, stop: CancellationToken) {
        let Follower { sources, judged, every } = self;
        let mut seen = Some(judged.seen);
        // What records named before anything went wrong.
        let mut before = Some(judged.bound);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                () = app.model.wake.notified() => false,
                () = now.notified() => true,
                () = stop.cancelled() => return,
            };
            if asked {
                app.model.run_again();
            }
            if let Some(operation) = app.model.changed() {
                if let Some(bound) = before.take() {
                    let why = format!("the API call {operation} changed what the server runs");
                    lapse(&app, &bound, &why).await;
                }
                seen = None;
                continue;
            }
            let looked = sources.clone().look().await;
            if !asked && looked.as_ref().ok() == seen.as_ref() && (seen.is_some() || before.is_none()) {
                continue;
            }
            // Nothing is named while it is not known what the files are.
            app.model.now.store(None);
            let judged = tokio::select! {
                judged = sources.clone().judge() => judged,
                () = stop.cancelled() => return,
            };
            match judged {
                Ok(judged) => {
                    seen = Some(judged.seen);
                    app.model.keep(judged.bound.digest, judged.file);
                    before = Some(match before.take() {
                        // Read again and found the same: nothing to tell.
                        Some(same) if same.digest == judged.bound.digest => {
                            app.model.name(same.clone());
                            same
                        }
                        other => {
                            bind(&app, other.as_deref(), &judged.bound).await;
                            judged.bound
                        }
                    });
                }
                Err(error) => {
                    // Judged again once anything is other than it was.
                    seen = looked.ok();
                    if let Some(bound) = before.take() {
                        lapse(&app, &bound, &format!("{error:#}")).await;
                    }
                }
            }
        }
    }
}

impl Sources {
    /// Reads everything, on a thread of its own. Dropped, it stops.
    async fn judge(self: Arc<Self>) -> anyhow::Result<Judged> {
        let stop = Arc::new(AtomicBool::new(false));
        let _stopping = Stopping(stop.clone());
        tokio::task::spawn_blocking(move || self.judge_now(&stop)).await?
    }

    /// Looks whether anything changed, on a thread of its own.
    async fn look(self: Arc<Self>) -> anyhow::Result<Seen> {
        tokio::task::spawn_blocking(move || {
            let (_, certificate) = self.certificate()?;
            let (authority, refused) = self.standing(&certificate)?;
            let listed = &certificate.manifest;
            let stamps = stamps_of(folder::list(self.folder()?, &listed.ignored, listed.symlinks)?);
            Ok(Seen { certificate: certificate.digest(), authority, refused, stamps })
        })
        .await?
    }

    fn judge_now(&self, stop: &AtomicBool) -> anyhow::Result<Judged> {
        let (file, certificate) = self.certificate()?;
        let (authority, refused) = self.standing(&certificate)?;
        if let Some(refused) = refused {
            anyhow::bail!(refused);
        }
        let (read, differences) = compare(&certificate, self.folder()?, self.cache.as_ref(), stop)?;
        anyhow::ensure!(
            differences.is_empty(),
            "the files are not those certified: {}",
            in_words(&differences)
        );
        let spec = certificate.terms.as_ref().and_then(|terms| terms.attestation.as_ref());
        let machines = spec.map(Machines::new).transpose();
        let machines = machines.unwrap_or_else(|why| {
            tracing::warn!(
                why,
                "what the model certificate says of machines cannot be compared with evidence"
            );
            None
        });
        let bound = Bound {
            digest: certificate.digest(),
            name: certificate.name().to_owned(),
            served_as: self.options.model_served_as.clone(),
            machines: machines.map(Arc::new),
        };
        let seen = Seen { certificate: bound.digest, authority, refused: None, stamps: read.stamps };
        Ok(Judged { bound: Arc::new(bound), file: file.into(), seen })
    }

    fn certificate(&self) -> anyhow::Result<(Vec<u8>, ModelCertificate)> {
        let path = self.options.model_cert.as_deref().context("no certificate is configured")?;
        let file = files::read(path, certificate::MAX_BYTES)?;
        let certificate = ModelCertificate::parse(&file)?;
        Ok((file, certificate))
    }

    fn folder(&self) -> anyhow::Result<&Path> {
        self.options.model_dir.as_deref().context("no folder is configured")
    }

    /// What the authority's file is, and why the certificate does not count, if so.
    fn standing(&self, certificate: &ModelCertificate) -> anyhow::Result<(Option<Hash>, Option<String>)> {
        let Some(path) = &self.options.model_authority else {
            return Ok((None, unverified(certificate)));
        };
        let digest = sha256(&files::read(path, authority::MAX_BYTES)?);
        Ok((Some(digest), counts(path, certificate)?))
    }
}

/// Without an authority's file only the certificate's own validity is known.
fn unverified(certificate: &ModelCertificate) -> Option<String> {
    let terms = certificate.terms.as_ref()?;
    match now() {
        now if now < terms.not_before => refusal(&Standing::NotYet(terms.not_before)),
        now if now > terms.not_after => refusal(&Standing::Expired(terms.not_after)),
        _ => None,
    }
}

/// Sets it when it is dropped.
struct Stopping(Arc<AtomicBool>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn bind(app: &App, before: Option<&Bound>, bound: &Arc<Bound>) {
    let digest = hex::encode(bound.digest);
    app.metrics.model_certified.set(1);
    compare_evidence(app, bound).await;
    let record = note(app, "model.certified", bound, None).await;
    let (model, replaces) = (&bound.name, before.map(|before| hex::encode(before.digest)));
    app.model.name(bound.clone());
    tracing::info!(model, certificate = digest, replaces, record, "records name this model certificate");
}

/// Has this machine's evidence compared with what the certificate says of machines, now and whenever it is made.
async fn compare_evidence(app: &App, bound: &Bound) {
    let (Some(attesting), Some(machines)) = (app.attesting.clone(), bound.machines.clone()) else { return };
    let compared = tokio::task::spawn_blocking(move || attesting.compare_with(machines));
    if let Err(error) = compared.await {
        tracing::error!(%error, "the model certificate is not compared with the evidence");
    }
}

async fn lapse(app: &App, bound: &Bound, why: &str) {
    app.metrics.model_certified.set(0);
    let record = note(app, "model.lapsed", bound, Some(why)).await;
    let certificate = hex::encode(bound.digest);
    tracing::error!(
        model = bound.name,
        certificate,
        why,
        record,
        "records name this model certificate no longer"
    );
}

/// Writes a `model-change` record; its id, for the log line.
async fn note(app: &App, operation: &'static str, bound: &Bound, why: Option<&str>) -> Option<String> {
    match record(app, operation, bound, why).await {
        Ok(id) => Some(colophon_receipt::record::id_text(&id)),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), operation, "the record of this change is lost");
            None
        }
    }
}

async fn record(
    app: &App,
    operation: &'static str,
    bound: &Bound,
    why: Option<&str>,
) -> anyhow::Result<RecordId> {
    let ledger = &app.ledger;
    let received = ledger.now();
    let id = ledger.new_id(received / 1000);
    let times = Times { received: Some(received), clock: Some("system".into()), ..Times::default() };
    let fields = |times: Times<'_>, shard: &Shard| {
        let (known_by, source) = bound.known_by(&shard.public_key.0);
        let mut set = FieldSet::new();
        Operation {
            api: Some("model-change".into()),
            operation: Some(operation.into()),
            ..Operation::default()
        }
        .write(fields::OPERATION, &mut set);
        Model {
            certificate: Some(bound.digest),
            known_by: Some(known_by.into()),
            source: Some(source.into()),
            ..Model::default()
        }
        .write(fields::MODEL, &mut set);
        times.write(fields::TIMES, &mut set);
        let why = why.map(|why| why.split_at(why.floor_char_boundary(MAX_REASON)).0.into());
        Failure { reason: why, ..Failure::default() }.write(fields::FAILURE, &mut set);
        set
    };
    let opened = fields(times.clone(), &ledger.shard());
    let open =
        Open { id, received_at: received, level: Level::Commit, fields: &opened, tenant: None, rule: None };
    let mut ticket = match ledger.begin(&open) {
        Ok(ticket) => ticket,
        Err(_) => ledger.begin_degraded(&open),
    };
    // One that is not written counts as degraded; the record is made all the same.
    let _ = ledger.opened(&mut ticket).await;
    let completed = ledger.stamp(&mut ticket);
    let set = fields(Times { completed: Some(completed), ..times }, ticket.shard());
    let record = seal(id, completed, Level::Commit, Outcome::Complete, ledger.new_seed()?, set);
    app.metrics.finished(Level::Commit, Level::Commit, Outcome::Complete);
    let kept = match ledger.finishing(ticket, Done::from(record)) {
        Ok(finishing) => finishing.written().await,
        Err(unfinished) => Err(unfinished),
    };
    match kept {
        Ok(()) => Ok(id),
        Err(unfinished) => {
            ledger
                .finish_degraded(unfinished.ticket, unfinished.done)
                .map_err(|unfinished| unfinished.error)?;
            Ok(id)
        }
    }
}
