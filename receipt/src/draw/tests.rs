use super::*;

const QUICKNET: Schedule = Schedule { genesis: 1_692_803_367, period: 3 };

#[test]
fn a_round_is_the_first_after_the_delay() {
    let s = 1_000_000;
    let begin = QUICKNET.genesis - DELAY;
    assert_eq!(QUICKNET.round(begin * s), 1);
    assert_eq!(QUICKNET.round(begin * s + 1), 2, "never before");
    assert_eq!(QUICKNET.round((begin + 3) * s), 2);
    assert_eq!(QUICKNET.round((begin + 4) * s), 3);
    assert_eq!(QUICKNET.round(0), 1);
    for to in [1_794_700_000_000_000, 1_794_700_000_000_001, 1_794_700_002_999_999] {
        let round = QUICKNET.round(to);
        assert!(QUICKNET.time(round) >= to + DELAY * s && QUICKNET.time(round - 1) < to + DELAY * s + s);
    }
    // Nothing that a statement may say overflows.
    assert!(QUICKNET.round(u64::MAX) > 0 && QUICKNET.time(u64::MAX) == u64::MAX);
}

#[test]
fn about_as_many_are_drawn_as_were_asked_for() {
    let threshold = u64::MAX / 100 * 25;
    let count = (0u64..4000).filter(|n| drawn(&[7; 32], &sha256(&n.to_be_bytes()), threshold)).count();
    assert!((900..1100).contains(&count), "{count}");
    assert!(!drawn(&[7; 32], &[1; 32], 0) && drawn(&[7; 32], &[1; 32], u64::MAX));
}

/// The formula, spelt out once more: frozen.
#[test]
fn the_formula_is_the_documented_one() {
    let digest = sha256(&[b"colophon/draw/v1".as_slice(), &[1; 32], &[2; 32]].concat());
    let first = u64::from_be_bytes(digest[..8].try_into().unwrap());
    assert!(!drawn(&[1; 32], &[2; 32], first) && drawn(&[1; 32], &[2; 32], first + 1));
}
