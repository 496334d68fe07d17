use super::report::Report;
use super::{How, Place, Turn, Turns, arranged};

fn turns(name: &'static str, place: usize, figures: &[(f64, f64)]) -> Turns {
    let turns = figures
        .iter()
        .map(|&(per_second, cpu_us)| Turn { per_second, cpu_us, waits: 0.5, busy: 99.0 })
        .collect();
    Turns { name, place, turns }
}

/// No two of these cores share anything.
fn of(cores: &[usize]) -> (How, Vec<Place>) {
    arranged(cores, |proxy| cores.iter().copied().filter(|core| !proxy.contains(core)).collect())
}

#[test]
fn the_load_gets_cores_of_its_own_only_where_two_are_left() {
    let (how, places) = of(&[0, 1, 2, 3]);
    assert_eq!(how, How::Measured);
    let cores: Vec<_> =
        places.iter().map(|place| (&place.proxy[..], &place.load[..], place.threads)).collect();
    assert_eq!(cores, [(&[0][..], &[2, 3][..], None), (&[0, 1][..], &[2, 3][..], None)]);

    let (how, places) = of(&[0, 1, 2]);
    assert_eq!(how, How::Derived);
    let cores: Vec<_> =
        places.iter().map(|place| (&place.proxy[..], &place.load[..], place.threads)).collect();
    let both = &[0, 1][..];
    assert_eq!(cores, [(&[0][..], &[1][..], None), (both, both, Some("1")), (both, both, Some("2"))]);
}

#[test]
fn more_cores_are_the_proxys_while_the_load_has_as_many() {
    let sizes = |cores: usize| {
        let cores: Vec<usize> = (0..cores).collect();
        let (_, places) = of(&cores);
        // The load's cores are the same in each place and never the proxy's.
        assert!(places.iter().all(|place| place.load == cores[places[places.len() - 1].proxy.len()..]));
        places.iter().map(|place| place.proxy.len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(5), [1, 2]);
    assert_eq!(sizes(8), [1, 2, 4]);
    assert_eq!(sizes(15), [1, 2, 4]);
    assert_eq!(sizes(16), [1, 2, 4, 8]);
}

#[test]
fn what_is_derived_is_called_so_and_comes_from_cpu_time_alone() {
    let (how, places) = of(&[0, 1]);
    let measured = vec![
        turns("plain", 0, &[(50_000.0, 16.0)]),
        turns("plain", 1, &[(30_000.0, 18.0)]),
        turns("plain", 2, &[(20_000.0, 18.0)]),
        turns("sign", 0, &[(25_000.0, 36.0)]),
        turns("sign", 1, &[(15_000.0, 40.0)]),
        turns("sign", 2, &[(14_000.0, 50.0)]),
    ];
    let report = Report { machine: "two cores".into(), noisy: false, seconds: 1, how, places, measured };
    let text = report.table();
    assert!(text.contains("**Derived, not measured as throughput:**"), "{text}");
    assert!(text.contains("plain hyper proxy: two cores do at most 2.00 (2.00–2.00) × one core."), "{text}");
    assert!(
        text.contains("`sign`: two cores do at most 1.60 (1.60–1.60) × one core; aim ≥ 1.80 **missed**."),
        "{text}"
    );
    assert_eq!(report.json()["measured_as_throughput"], false);
}

#[test]
fn throughput_is_compared_within_a_round() {
    let (how, places) = of(&[0, 1, 2, 3]);
    let measured = vec![
        turns("plain", 0, &[(50_000.0, 16.0), (25_000.0, 16.0)]),
        turns("plain", 1, &[(100_000.0, 16.0), (50_000.0, 16.0)]),
        turns("sign", 0, &[(20_000.0, 40.0), (10_000.0, 40.0)]),
        turns("sign", 1, &[(38_000.0, 42.0), (19_000.0, 42.0)]),
    ];
    let mut report = Report { machine: "two cores".into(), noisy: false, seconds: 1, how, places, measured };
    let text = report.table();
    assert!(!text.contains("noisy"), "{text}");
    report.noisy = true;
    assert!(report.table().contains("do not rely on these figures"));
    assert!(text.contains("`sign`: two cores do 1.90 (1.90–1.90) × one core; aim ≥ 1.80 ✓."), "{text}");
    assert!(text.contains("Measured as throughput"), "{text}");
}
