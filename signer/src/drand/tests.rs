use super::*;

/// Round 123 of quicknet, as https://api.drand.sh/52db9ba7…/public/123 answers it.
const ROUND: &str = r#"{"round":123,"randomness":"fa","signature":"b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92"}"#;

#[test]
fn a_published_round_of_quicknet_verifies() {
    let round = Round::parse(ROUND.as_bytes()).unwrap();
    let randomness = Chain::quicknet().randomness(&round).unwrap();
    // What the server calls the randomness is not believed: it follows from the signature.
    assert_eq!(randomness, sha256(&round.signature));
}

#[test]
fn another_number_signature_or_chain_is_refused() {
    let round = Round::parse(ROUND.as_bytes()).unwrap();
    let chain = Chain::quicknet();
    let other = Round { round: 124, ..round.clone() };
    assert_eq!(chain.randomness(&other), Err(RoundError::Signature(124)));
    for at in 0..round.signature.len() {
        let mut flipped = round.clone();
        flipped.signature[at] ^= 1;
        assert_eq!(chain.randomness(&flipped), Err(RoundError::Signature(123)), "byte {at}");
    }
    let cut = Round { signature: round.signature[..47].to_vec(), ..round.clone() };
    assert!(chain.randomness(&cut).is_err());
    let mut thief = chain;
    thief.key[50] ^= 1;
    assert!(thief.randomness(&round).is_err());
    for bad in ["", "{}", r#"{"round":1,"signature":"zz"}"#] {
        assert!(matches!(Round::parse(bad.as_bytes()), Err(RoundError::Form(_))), "{bad}");
    }
}

#[test]
fn a_chain_can_be_described() {
    let info = |scheme: &str| {
        format!(
            r#"{{"public_key":"{QUICKNET_KEY}","period":3,"genesis_time":1692803367,"hash":"52db","schemeID":"{scheme}"}}"#
        )
    };
    assert_eq!(Chain::from_info(info(SCHEME).as_bytes()).unwrap(), Chain::quicknet());
    assert!(Chain::from_info(info("pedersen-bls-chained").as_bytes()).is_err());
}
