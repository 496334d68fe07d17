//! Proof jobs (DESIGN section 9): beside the request, never on its path.
//!
//! A [`Request`] names a record, a [`Statement`] about it and a backend. The [`Queue`] keeps jobs on disk, hands each to
//! one worker at a time under a lease, and remembers how it ended. A [`Worker`](worker::Worker) runs the [`Backend`] and
//! then the backend's own verifier on what came out: nothing is called proven before that.
//!
//! What an artefact shows is what its circuit says, about a quantised model: never that the content is true.

pub mod backend;
mod budget;
mod job;
pub mod local;
mod queue;
pub mod sandbox;
pub mod worker;

pub use backend::Backend;
pub use budget::{Budget, Spent};
pub use colophon_receipt::proof::{MAX_STATEMENT, Statement, StatementError, limbs};
pub use job::{Artefact, Failure, Job, JobId, Limits, Progress, Request, State, Told, WEBHOOK_TRIES};
pub use queue::{Counts, Leased, Mark, Queue, QueueConfig, QueueError, Submitted, Waiting};
