//! Why evidence does not count.

/// Why evidence does not count. [`Refusal::code`] is for scripts, the text for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the bytes of what they claim to be.
    #[error("malformed {0}: {1}")]
    Malformed(&'static str, String),
    /// A signature is bad.
    #[error("the signature over {0} is bad")]
    Signature(&'static str),
    /// No chain to a pinned root.
    #[error("{0}")]
    Chain(String),
    /// Something was not valid at the time asked for.
    #[error("{0}")]
    Time(String),
    /// Another nonce than the one asked for.
    #[error("it answers another nonce: {0}")]
    Nonce(String),
    /// Other report data than asked for.
    #[error("it is about other report data: {0}")]
    ReportData(String),
    /// Debugging is on: the host can read and change what runs there.
    #[error("{0} is on: what runs there can be read and changed from outside")]
    Debug(&'static str),
    /// The workload may be moved to another machine.
    #[error("migration is on: the workload may move to a machine that this evidence is not about")]
    Migration,
    /// The TCB is too old, or not known.
    #[error("TCB: {0}")]
    Tcb(String),
    /// Certificate and evidence are not about the same device.
    #[error("{0}")]
    Identity(String),
    /// A measurement is none of the reference values.
    #[error("{name} is {got}, which is none of the reference values")]
    Measurement {
        /// Which.
        name: String,
        /// What the evidence says, printable.
        got: String,
    },
    /// Something the verification needs was not given.
    #[error("missing collateral: {0}")]
    Collateral(String),
    /// The policy asks for something else.
    #[error("the policy refuses it: {0}")]
    Policy(String),
    /// Simulated, or of a software TPM, and nobody allowed that.
    #[error("{0}; only for tests, with --allow-simulated, and never more than `sign`")]
    Simulated(&'static str),
}

impl Refusal {
    /// All words of [`code`](Refusal::code).
    pub const CODES: [&str; 14] = [
        "malformed",
        "signature",
        "chain",
        "time",
        "nonce",
        "report-data",
        "debug",
        "migration",
        "tcb",
        "identity",
        "measurement",
        "collateral",
        "policy",
        "simulated",
    ];

    /// A word for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Malformed(..) => "malformed",
            Refusal::Signature(_) => "signature",
            Refusal::Chain(_) => "chain",
            Refusal::Time(_) => "time",
            Refusal::Nonce(_) => "nonce",
            Refusal::ReportData(_) => "report-data",
            Refusal::Debug(_) => "debug",
            Refusal::Migration => "migration",
            Refusal::Tcb(_) => "tcb",
            Refusal::Identity(_) => "identity",
            Refusal::Measurement { .. } => "measurement",
            Refusal::Collateral(_) => "collateral",
            Refusal::Policy(_) => "policy",
            Refusal::Simulated(_) => "simulated",
        }
    }

    pub(crate) fn malformed(what: &'static str, why: impl Into<String>) -> Refusal {
        Refusal::Malformed(what, why.into())
    }
}
