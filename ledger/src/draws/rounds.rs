//! Rounds in the store: `draw/round/<chain>/<number>`, as a drand server answers them. `draw/chain` describes the chain.

use colophon_receipt::Hash;
use colophon_signer::drand::{Chain, MAX_ROUND, Round};

use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use crate::store::Store;

/// Describes the chain that draws, as a drand server would.
pub const CHAIN_FILE: &str = "draw/chain";

/// The name of a round.
pub(crate) fn round_file(chain: &Chain, number: u64) -> String {
    format!("draw/round/{}/{number}", hex::encode(chain.hash()))
}

/// Writes the chain's description where auditors find it.
pub(crate) async fn keep_chain(objects: &Objects, chain: &Chain) -> Result<(), LedgerError> {
    let text = chain.to_info().into_bytes();
    match objects.get(CHAIN_FILE, MAX_ROUND as u64).await {
        Ok(Some(bytes)) if bytes == text => Ok(()),
        Ok(_) | Err(LedgerError::Damaged { .. }) => objects.put(CHAIN_FILE, text.into()).await,
        Err(error) => Err(error),
    }
}

/// The chain that a store's ledger draws by; quicknet where it does not say.
pub(crate) async fn chain_of(objects: &Objects) -> Result<Chain, LedgerError> {
    let Some(bytes) = objects.get(CHAIN_FILE, MAX_ROUND as u64).await? else { return Ok(Chain::quicknet()) };
    Chain::from_info(&bytes)
        .map_err(|error| LedgerError::Damaged { what: CHAIN_FILE.into(), why: error.to_string() })
}

/// Keeps a round whose signature was verified.
pub(crate) async fn keep(objects: &Objects, chain: &Chain, round: &Round) -> Result<(), LedgerError> {
    objects.put(&round_file(chain, round.round), round.to_json().into_bytes().into()).await
}

/// A round that was kept; its signature is not looked at.
pub(crate) async fn kept(
    objects: &Objects,
    chain: &Chain,
    number: u64,
) -> Result<Option<Round>, LedgerError> {
    let name = round_file(chain, number);
    let Some(bytes) = objects.get(&name, MAX_ROUND as u64).await? else { return Ok(None) };
    let damaged = |why: String| LedgerError::Damaged { what: name.clone(), why };
    let round = Round::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
    match round.round == number {
        true => Ok(Some(round)),
        false => Err(damaged(format!("it is round {}", round.round))),
    }
}

/// The randomness of a round that was kept, if the chain's key signed it.
pub(crate) async fn verified(store: &Store, chain: &Chain, number: u64) -> Result<Option<Hash>, String> {
    let name = round_file(chain, number);
    let bytes = store.get(&name, MAX_ROUND as u64).await.map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else { return Ok(None) };
    let round = Round::parse(&bytes).map_err(|error| error.to_string())?;
    if round.round != number {
        return Err(format!("it is round {}", round.round));
    }
    chain.randomness(&round).map(Some).map_err(|error| error.to_string())
}
