//! Rounds of a drand chain, verified offline: BLS12-381 over the round's number (scheme `bls-unchained-g1-rfc9380`).

use colophon_receipt::Hash;
use colophon_receipt::draw::Schedule;
use colophon_receipt::merkle::sha256;
use drand_verify::{G2PubkeyRfc, Pubkey as _};
use serde::Deserialize;

/// A round's file is no longer than this.
pub const MAX_ROUND: usize = 4096;

/// Quicknet of the League of Entropy, chain 52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971.
const QUICKNET_KEY: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";
const QUICKNET: Schedule = Schedule { genesis: 1_692_803_367, period: 3 };

/// What quicknet's chain hash commits to beside its key and schedule.
const QUICKNET_GROUP: &str = "f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e";

/// Whose rounds are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its public key, on G2.
    pub key: [u8; 96],
    /// When its rounds are made.
    pub schedule: Schedule,
    /// The hash of the group that began it.
    pub group: Hash,
    /// Its name, such as `quicknet`.
    pub name: String,
}

/// A round as a drand server answers it (`/<chain>/public/<round>`), not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Round {
    /// Its number.
    pub round: u64,
    /// The chain's signature over it.
    #[serde(with = "hex::serde")]
    pub signature: Vec<u8>,
}

impl Round {
    /// What [`Round::parse`] reads.
    pub fn to_json(&self) -> String {
        serde_json::json!({"round": self.round, "signature": hex::encode(&self.signature)}).to_string()
    }

    /// Reads a server's answer. What it says of the randomness is not looked at: that follows from the signature.
    ///
    /// # Errors
    /// [`RoundError::Form`].
    pub fn parse(json: &[u8]) -> Result<Round, RoundError> {
        if json.len() > MAX_ROUND {
            return Err(RoundError::Form(format!("longer than {MAX_ROUND} bytes")));
        }
        serde_json::from_slice(json).map_err(|error| RoundError::Form(error.to_string()))
    }
}

/// A chain as a drand server describes it (`/<chain>/info`).
#[derive(Deserialize)]
struct Info {
    #[serde(with = "hex::serde")]
    public_key: [u8; 96],
    period: u32,
    genesis_time: u64,
    #[serde(rename = "groupHash", with = "hex::serde")]
    group: Hash,
    hash: String,
    #[serde(rename = "schemeID")]
    scheme: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default, rename = "beaconID")]
    name: String,
}

/// The only scheme: its rounds can be verified one by one, and say when they were made.
const SCHEME: &str = "bls-unchained-g1-rfc9380";

/// Why a round is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundError {
    /// Not what a drand server answers.
    #[error("not a drand round: {0}")]
    Form(String),
    /// The chain's key is no point of the curve.
    #[error("the chain's public key is none")]
    Key,
    /// The chain's key did not sign it.
    #[error("the signature of round {0} is bad")]
    Signature(u64),
}

impl Chain {
    /// Quicknet.
    pub fn quicknet() -> Chain {
        let (mut key, mut group) = ([0; 96], [0; 32]);
        // Constants: a test verifies a round by them, and compares their hash with the chain's.
        let _ = hex::decode_to_slice(QUICKNET_KEY, &mut key);
        let _ = hex::decode_to_slice(QUICKNET_GROUP, &mut group);
        Chain { key, schedule: QUICKNET, group, name: "quicknet".into() }
    }

    /// The chain's hash, which commits to all of it: its name in a server's URLs.
    pub fn hash(&self) -> Hash {
        let mut input = u32::try_from(self.schedule.period).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        input.extend(self.schedule.genesis.to_be_bytes());
        input.extend(self.key);
        input.extend(self.group);
        if self.name != "default" {
            input.extend(self.name.as_bytes());
        }
        sha256(&input)
    }

    /// Its description, as a server answers it.
    pub fn to_info(&self) -> String {
        serde_json::json!({
            "public_key": hex::encode(self.key),
            "period": self.schedule.period,
            "genesis_time": self.schedule.genesis,
            "groupHash": hex::encode(self.group),
            "hash": hex::encode(self.hash()),
            "schemeID": SCHEME,
            "metadata": {"beaconID": self.name},
        })
        .to_string()
    }

    /// Another chain of the scheme `bls-unchained-g1-rfc9380`, from a server's description of it (`/<chain>/info`).
    /// Its hash has to be that of what it says.
    ///
    /// # Errors
    /// [`RoundError::Form`].
    pub fn from_info(json: &[u8]) -> Result<Chain, RoundError> {
        let form = |why: &str| RoundError::Form(why.to_owned());
        if json.len() > MAX_ROUND {
            return Err(form("the chain's description is too long"));
        }
        let info: Info = serde_json::from_slice(json).map_err(|error| form(&error.to_string()))?;
        if info.scheme != SCHEME || info.period == 0 {
            return Err(form("its chain is not of the scheme bls-unchained-g1-rfc9380"));
        }
        let schedule = Schedule { genesis: info.genesis_time, period: info.period.into() };
        let chain = Chain { key: info.public_key, schedule, group: info.group, name: info.metadata.name };
        if !hex::encode(chain.hash()).eq_ignore_ascii_case(&info.hash) {
            return Err(form("the chain's hash is not that of its description"));
        }
        Ok(chain)
    }

    /// The randomness of a round, if the chain's key signed it.
    ///
    /// # Errors
    /// [`RoundError`].
    pub fn randomness(&self, round: &Round) -> Result<Hash, RoundError> {
        let key = G2PubkeyRfc::from_fixed(self.key).map_err(|_| RoundError::Key)?;
        match key.verify(round.round, b"", &round.signature) {
            Ok(true) => Ok(sha256(&round.signature)),
            Ok(false) | Err(_) => Err(RoundError::Signature(round.round)),
        }
    }
}

#[cfg(test)]
mod tests;
