use super::parse;

const GOOD: &str = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"1\",y=\"q\\\"u,}o\"} 3\na_b_total{x=\"2\"} 0\n\
                    # HELP g Level.\n# TYPE g gauge\ng -1.5\n# EOF\n";

#[test]
fn what_the_specification_allows() {
    let families = parse(GOOD).unwrap();
    assert_eq!((families["a_b"].kind.as_str(), families["a_b"].samples.len()), ("counter", 2));
    assert_eq!(families["g"].samples["g"], -1.5);
    assert!(parse("# EOF\n").unwrap().is_empty());
}

#[test]
fn what_it_forbids() {
    for (from, to) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\n# EOF\n"),
        ("# EOF\n", "\n# EOF\n"),
        ("# TYPE g gauge\n", "# TYPE g gauge\n# TYPE g gauge\n"),
        ("# TYPE g gauge\n", ""),
        ("# TYPE g gauge\n", "# TYPE g number\n"),
        ("# HELP g Level.\n", "# HELP g Level.\n# HELP a_b Again.\n"),
        ("# HELP g Level.\n", ""),
        ("g -1.5", "g one"),
        ("g -1.5", "g -1.5\ng 2"),
        ("g -1.5", "g_total 1"),
        ("a_b_total{x=\"2\"} 0", "a_b_total{x=\"2\"} -1"),
        ("a_b_total{x=\"2\"} 0", "a_b{x=\"2\"} 0"),
        ("a_b_total{x=\"2\"} 0", "a_b_total{x=\"2\",x=\"3\"} 0"),
        ("a_b_total{x=\"2\"} 0", "a_b_total{x=\"2} 0"),
        ("a_b_total{x=\"2\"} 0", "a_b_total{x=2} 0"),
    ] {
        let spoilt = GOOD.replace(from, to);
        assert_ne!(spoilt, GOOD);
        assert!(parse(&spoilt).is_err(), "{spoilt}");
    }
}
