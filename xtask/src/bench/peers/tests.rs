use super::chart::{Bar, svg};
use super::choose;
use super::configs::Peer;

#[test]
fn the_longest_bar_fills_the_chart_and_the_others_are_in_proportion() {
    let bar = |name: &str, value, own| Bar { name: name.into(), value, own };
    let text = svg("a & b", &[bar("fast", 200.0, false), bar("slow", 50.0, true)]);
    let widths: Vec<f64> = text
        .split("<rect ")
        .skip(1)
        .filter_map(|rect| rect.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
        .collect();
    assert_eq!(widths.len(), 2);
    assert!((widths[0] / widths[1] - 4.0).abs() < 0.1, "{widths:?}");
    assert!(text.contains("a &amp; b") && !text.contains("a & b"));
}

#[test]
fn peers_are_chosen_by_name_and_a_wrong_name_lists_the_right_ones() {
    assert!(choose(&[]).is_ok_and(|all| all.len() == Peer::ALL.len()));
    assert!(choose(&["nginx".into()]).is_ok_and(|some| some == [Peer::Nginx]));
    let error = choose(&["ngnix".into()]).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("ngnix") && error.contains("nginx, haproxy"), "{error}");
}
