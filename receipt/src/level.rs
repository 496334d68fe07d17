//! What a policy asks for, and how an exchange ended (DESIGN sections 1 and 3).

use crate::cbor::CborError;
use std::fmt;
use std::str::FromStr;

/// What a policy asks for. An operational order, not a logical one: a `zk` proof does not imply TEE evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Forwarded and counted, not recorded.
    Pass = 0,
    /// Recorded, batched and logged.
    Commit = 1,
    /// `Commit`, and the answer carries an RFC 9421 signature.
    Sign = 2,
    /// `Sign`, and bound to evidence from a trusted execution environment.
    Tee = 3,
    /// `Sign`, and a zero-knowledge proof follows.
    Zk = 4,
}

impl Level {
    /// The word used in policies, headers and receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Pass => "pass",
            Level::Commit => "commit",
            Level::Sign => "sign",
            Level::Tee => "tee",
            Level::Zk => "zk",
        }
    }

    /// The number committed in a record leaf.
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The level of a number from a record leaf.
    pub fn from_code(code: u64) -> Result<Level, CborError> {
        Ok(match code {
            0 => Level::Pass,
            1 => Level::Commit,
            2 => Level::Sign,
            3 => Level::Tee,
            4 => Level::Zk,
            _ => return Err(CborError::Value("level")),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no level.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a level; the levels are pass, commit, sign, tee and zk")]
pub struct UnknownLevel(pub String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match word {
            "pass" => Level::Pass,
            "commit" => Level::Commit,
            "sign" => Level::Sign,
            "tee" => Level::Tee,
            "zk" => Level::Zk,
            _ => return Err(UnknownLevel(word.to_owned())),
        })
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// The upstream's whole answer was released (or all of it that its API terminator promised).
    Complete = 0,
    /// The client left first; the response digest covers what was sent to it.
    ClientAborted = 1,
    /// The upstream could not be reached, broke off or answered garbage.
    UpstreamFailed = 2,
    /// The upstream answered, with a status of 400 or above.
    UpstreamError = 3,
    /// The proxy refused the exchange itself.
    Refused = 4,
    /// The process died between the request and the end of the response.
    Recovered = 5,
}

impl Outcome {
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::ClientAborted => "client-aborted",
            Outcome::UpstreamFailed => "upstream-failed",
            Outcome::UpstreamError => "upstream-error",
            Outcome::Refused => "refused",
            Outcome::Recovered => "recovered",
        }
    }

    /// The number committed in a record leaf.
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The outcome of a number from a record leaf.
    pub fn from_code(code: u64) -> Result<Outcome, CborError> {
        Ok(match code {
            0 => Outcome::Complete,
            1 => Outcome::ClientAborted,
            2 => Outcome::UpstreamFailed,
            3 => Outcome::UpstreamError,
            4 => Outcome::Refused,
            5 => Outcome::Recovered,
            _ => return Err(CborError::Value("outcome")),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
