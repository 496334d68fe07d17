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
    let mut thief = chain.clone();
    thief.key[50] ^= 1;
    assert!(thief.randomness(&round).is_err());
    for bad in ["", "{}", r#"{"round":1,"signature":"zz"}"#] {
        assert!(matches!(Round::parse(bad.as_bytes()), Err(RoundError::Form(_))), "{bad}");
    }
}

/// What https://api.drand.sh/52db9ba7…/info answers.
const INFO: &str = r#"{"public_key":"83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a","period":3,"genesis_time":1692803367,"hash":"52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971","groupHash":"f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e","schemeID":"bls-unchained-g1-rfc9380","metadata":{"beaconID":"quicknet"}}"#;

#[test]
fn a_chain_can_be_described() {
    let chain = Chain::from_info(INFO.as_bytes()).unwrap();
    assert_eq!(chain, Chain::quicknet());
    assert_eq!(Chain::from_info(chain.to_info().as_bytes()).unwrap(), chain);
    for (from, to) in [
        (SCHEME, "pedersen-bls-chained"),
        ("52db9", "52dba"),
        ("\"period\":3", "\"period\":30"),
        ("\"period\":3", "\"period\":0"),
        ("83cf0f", "83cf0e"),
        ("\"beaconID\":\"quicknet\"", "\"beaconID\":\"fastnet\""),
    ] {
        let other = INFO.replace(from, to);
        assert!(other != INFO && Chain::from_info(other.as_bytes()).is_err(), "{other}");
    }
}
