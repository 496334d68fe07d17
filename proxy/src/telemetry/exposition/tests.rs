use super::*;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

type Labels = Vec<(&'static str, String)>;

/// The encoder's own text of everything that this process has: what it changes there has to be seen here.
#[test]
fn what_the_encoder_writes_is_read() {
    let mut registry = Registry::with_prefix("c");
    let named = Family::<Labels, Counter>::default();
    let strange = "a\"b\\c\nd}e,f=\"g\" h ☃";
    named.get_or_create(&vec![("model", strange.into()), ("kind", String::new())]).inc_by(7);
    registry.register("named", "With labels, and a word", named.clone());
    registry.register("empty", "Nothing yet", Family::<Labels, Counter>::default());
    let seconds = Counter::<f64, AtomicU64>::default();
    seconds.inc_by(2.0);
    registry.register("cpu_seconds", "Not whole", seconds);
    let gauge = Gauge::<i64>::default();
    gauge.set(-3);
    registry.register("gauge", "Goes down", gauge);
    let histogram = Histogram::new([0.5, 1.0]);
    histogram.observe(0.7);
    registry.register("times", "Spread", histogram);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let families = read(&text).unwrap_or_else(|line| panic!("{line:?} of {text}"));
    let named: Vec<_> = families.iter().map(|family| (family.name, family.kind)).collect();
    assert_eq!(
        named,
        [
            ("c_named", Kind::Counter),
            ("c_cpu_seconds", Kind::Counter),
            ("c_gauge", Kind::Gauge),
            ("c_times", Kind::Histogram)
        ]
    );
    assert_eq!(families[0].help, "With labels, and a word.");
    let sample = &families[0].samples[0];
    assert_eq!((sample.suffix, sample.value), ("_total", "7"));
    assert_eq!(sample.labels, [("model", strange.into()), ("kind", "".into())]);
    assert_eq!((families[1].samples[0].value, families[2].samples[0].value), ("2.0", "-3"));
    let lines: Vec<_> = families[3].samples.iter().map(|sample| (sample.suffix, sample.value)).collect();
    assert_eq!(
        lines,
        [("_sum", "0.7"), ("_count", "1"), ("_bucket", "0"), ("_bucket", "1"), ("_bucket", "1")]
    );
    assert_eq!(families[3].samples[4].labels, [("le", "+Inf".into())]);
}

#[test]
fn what_it_would_not_write_is_refused_with_its_line() {
    const GAUGE: &str = "# TYPE a gauge\n";
    for (text, wrong) in [
        ("a 1\n", "a 1"),
        ("# TYPE a summary\n", "# TYPE a summary"),
        ("# HELP a\n", "# HELP a"),
        (&format!("{GAUGE}b 1\n"), "b 1"),
        (&format!("{GAUGE}a{{l=\"x}} 1\n"), "a{l=\"x} 1"),
        (&format!("{GAUGE}a{{l=x}} 1\n"), "a{l=x} 1"),
        (&format!("{GAUGE}a\n"), "a"),
    ] {
        assert_eq!(read(text).err(), Some(wrong), "{text:?}");
    }
    assert_eq!(read(""), Ok(Vec::new()));
}
