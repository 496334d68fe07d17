use super::*;
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Of many leaves about as many are drawn as were asked for, whatever the randomness: within five standard deviations.
    #[test]
    fn about_as_many_are_drawn_as_were_asked_for(randomness: [u8; 32], percent in 1u64..100) {
        let (n, threshold) = (2000u64, u64::MAX / 100 * percent);
        let share = percent as f64 / 100.0;
        let count = (0..n).filter(|n| drawn(&randomness, &sha256(&n.to_be_bytes()), threshold)).count() as f64;
        let off = (count - n as f64 * share).abs();
        prop_assert!(off <= 5.0 * (n as f64 * share * (1.0 - share)).sqrt() + 1.0, "{} of {}", count, n);
    }

    /// Nothing is drawn at 0, all is at 100 %, and a larger share takes whoever a smaller one takes.
    #[test]
    fn none_all_and_more(randomness: [u8; 32], leaf: [u8; 32], a: u64, b: u64) {
        prop_assert!(!drawn(&randomness, &leaf, 0) && drawn(&randomness, &leaf, u64::MAX));
        let (less, more) = (a.min(b), a.max(b));
        prop_assert!(!drawn(&randomness, &leaf, less) || drawn(&randomness, &leaf, more));
    }
}

/// The formula, spelt out once more: frozen.
#[test]
fn the_formula_is_the_documented_one() {
    let digest = sha256(&[b"colophon/draw/v1".as_slice(), &[1; 32], &[2; 32]].concat());
    let first = u64::from_be_bytes(digest[..8].try_into().unwrap());
    assert!(!drawn(&[1; 32], &[2; 32], first) && drawn(&[1; 32], &[2; 32], first + 1));
}
