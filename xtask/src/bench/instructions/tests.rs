use super::{Figures, compare};

fn figures(commit: f64, plain: f64) -> Figures {
    let all = [("commit".to_owned(), commit), ("plain".to_owned(), plain)];
    Figures { rustc: "1.95.0".into(), instructions_per_request: all.into() }
}

#[test]
fn a_rise_over_three_percent_fails_and_names_the_level() {
    let before = figures(100_000.0, 40_000.0);
    assert!(compare(&before, &figures(102_900.0, 40_000.0)).is_ok());
    assert!(compare(&before, &figures(60_000.0, 40_000.0)).is_ok());
    let error = compare(&before, &figures(103_100.0, 40_000.0)).err();
    assert!(error.is_some_and(|error| error.to_string().contains("commit rose by 3.1 %")));
    // The yardstick itself may change.
    assert!(compare(&before, &figures(100_000.0, 80_000.0)).is_ok());
}

#[test]
fn a_level_that_falls_behind_the_plain_proxy_fails() {
    let before = figures(100_000.0, 40_000.0);
    // Plain got better by a tenth, and commit by as much, or by half of that.
    assert!(compare(&before, &figures(90_000.0, 36_000.0)).is_ok());
    let error = compare(&before, &figures(95_000.0, 36_000.0)).err();
    let said = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("commit's ratio to plain rose by 5.6 %"), "{said}");
    assert!(!said.contains("commit rose"), "{said}");
}

#[test]
fn figures_of_another_compiler_are_not_compared() {
    let before = figures(100_000.0, 40_000.0);
    let now = Figures { rustc: "1.96.0".into(), ..figures(200_000.0, 40_000.0) };
    let error = compare(&before, &now).err();
    let said = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("not comparable") && said.contains("1.95.0") && said.contains("1.96.0"), "{said}");
    assert!(!said.contains("rose"), "{said}");
}

#[test]
fn what_cannot_be_compared_is_not_taken_for_good() {
    let whole = figures(100_000.0, 40_000.0);
    let mut part = figures(100_000.0, 40_000.0);
    part.instructions_per_request.remove("commit");
    let said = |before, now| compare(before, now).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said(&part, &whole).contains("commit has no figure"));
    assert!(said(&whole, &part).contains("commit was not measured"));
}

#[test]
fn a_dump_is_added_up_without_what_is_left_out() {
    let dump = "events: Ir\nfl=(1) a.rs\nfn=(1) app::serve\n10 100\n+2 7\ncfn=(2) sha2::compress\ncalls=3 5\n* 3000\n\
                fn=(2)\n5 3000\nfn=(3) app::send\n-4 20\ncfn=(1)\ncalls=1 10\n12 107\nfn=(2)\n* 9\n\ntotals: 3136\n";
    assert_eq!(super::callgrind::count(dump, &["sha2::"]).ok(), Some(127));
    assert_eq!(super::callgrind::count(dump, &[]).ok(), Some(3136));
    assert!(super::callgrind::count("fn=(1) 0x000012\n1 5\n", &["sha2::"]).is_err());
}
