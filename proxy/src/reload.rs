//! The policy's file, followed: what changes in it comes into force without a restart, or is said to be wrong.
//!
//! The file is read, not watched: that sees a replaced symlink (`..data` of a Kubernetes ConfigMap) as well as an edit in
//! place, on every file system. What was read counts once it is read twice: half of a policy may be a policy too.

use crate::app::App;
use crate::policy_files::PolicyFiles;
use colophon_ledger::{PolicyNotChanged, PolicyText};
use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, OptionFuture};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the file is read: a change is in force after two such times.
const READ_EVERY: Duration = Duration::from_secs(1);

/// A policy on its way into force.
type Coming = BoxFuture<'static, Result<(), PolicyNotChanged>>;

/// Follows the policy file.
pub struct PolicyFile {
    app: Arc<App>,
    path: PathBuf,
    /// Digest of what was judged last; of the error, where it could not be read.
    judged: Option<Hash>,
    /// Digest of what was read last.
    read: Option<Hash>,
    coming: Option<Coming>,
}

impl PolicyFile {
    /// Of the file that the policy in force was read from.
    pub fn new(app: Arc<App>, path: PathBuf) -> PolicyFile {
        PolicyFile { app, path, judged: None, read: None, coming: None }
    }

    /// Follows it until `stop`; `now` has it read and judged at once.
    pub async fn follow(mut self, now: Arc<Notify>, stop: CancellationToken) {
        let mut ticks = interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let coming = OptionFuture::from(self.coming.as_mut());
            tokio::select! {
                Some(done) = coming => self.came(done),
                _ = ticks.tick() => self.look(false).await,
                () = now.notified() => self.look(true).await,
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&mut self, at_once: bool) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            PolicyFiles::read_lasting(&path).map_err(|error| format!("{error:#}"))
        })
        .await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        let seen = read.as_ref().map_or_else(|error| sha256(error.as_bytes()), PolicyFiles::digest);
        let settled = self.read.replace(seen) == Some(seen);
        if !at_once && (self.judged == Some(seen) || !settled) {
            return;
        }
        self.judged = Some(seen);
        let parsed = read.and_then(|files| files.parse().map_err(|error| error.to_string()));
        match parsed {
            Ok(policy) => self.bring(policy),
            Err(error) => {
                self.app.metrics.policy_reload_failed.set(1);
                tracing::error!(error, "the policy file is wrong: the old policy stays in force");
            }
        }
    }

    fn bring(&mut self, policy: colophon_policies::Policy) {
        self.app.metrics.policy_reload_failed.set(0);
        let text = PolicyText::new(&policy.canonical());
        let before = self.app.policy.load().digest;
        // What waits would come into force although the file no longer says so.
        if text.digest() == before && self.coming.is_none() {
            return;
        }
        let in_force = match self.app.enforcing.in_force(policy) {
            Ok(in_force) => in_force,
            Err(error) => {
                self.app.metrics.policy_reload_failed.set(1);
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "the policy names an upstream that cannot be one: the old policy stays in force"
                );
                return;
            }
        };
        for warning in in_force.policy.warnings() {
            tracing::warn!(%warning, "the policy");
        }
        let (app, digest) = (self.app.clone(), text.digest());
        self.app.metrics.policy_reload_pending.set(1);
        let swap = move || {
            let name = in_force.policy.name().to_owned();
            let in_force = Arc::new(in_force);
            let before = app.policy.swap(in_force.clone()).digest;
            app.metrics.policy_in_force(&in_force);
            if before != digest {
                app.metrics.policy_reloads.inc();
                let (before, now) = (hex::encode(before), hex::encode(digest));
                tracing::info!(policy = name, before, now, "another policy is in force");
            }
        };
        let ledger = self.app.ledger.clone();
        self.coming = Some(async move { ledger.change_policy(text, swap).await }.boxed());
    }

    fn came(&mut self, done: Result<(), PolicyNotChanged>) {
        self.coming = None;
        self.app.metrics.policy_reload_pending.set(0);
        if let Err(error) = done {
            tracing::error!(%error, "the old policy stays in force");
        }
    }
}
