use super::*;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

#[test]
fn whoever_scrapes_while_policies_change_sees_just_one() {
    let mut registry = Registry::with_prefix("colophon");
    let policy = Policy::default();
    registry.register_collector(Box::new(policy.clone()));
    let scrape = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.lines().filter(|line| line.starts_with("colophon_policy_in_force{")).map(str::to_owned).collect()
    };
    let none: Vec<String> = scrape();
    assert!(none.is_empty(), "{none:?}");
    policy.is_now("clinic", &[0; 32]);
    let changes = std::thread::spawn({
        let policy = policy.clone();
        move || (0..20_000_u32).for_each(|round| policy.is_now("clinic", &[round as u8; 32]))
    });
    while !changes.is_finished() {
        let lines: Vec<String> = scrape();
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
    changes.join().unwrap();
    policy.is_now("other", &[0xab; 32]);
    let (digest, version) = ("ab".repeat(32), env!("CARGO_PKG_VERSION"));
    let line =
        format!("colophon_policy_in_force{{name=\"other\",digest=\"{digest}\",version=\"{version}\"}} 1");
    assert_eq!(scrape(), [line]);
}
