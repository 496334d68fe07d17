//! Who vouches for the log: TSAs and witnesses, where it is kept.

use colophon_ledger::anchor::{AnchorStatus, TsaCounts};
use colophon_ledger::witness::{WitnessCounts, WitnessStatus};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is known about them. `beacon` is the time of the newest token, in µs: the one that statements name.
pub(crate) fn encode(
    tsas: Option<&AnchorStatus>,
    beacon: Option<u64>,
    vouching: Option<&WitnessStatus>,
    mut encoder: DescriptorEncoder<'_>,
) -> fmt::Result {
    if let Some(status) = tsas {
        timestamps(&status.tsas(), beacon, &mut encoder)?;
    }
    vouching.map_or(Ok(()), |status| witnesses(&status.witnesses(), status.quorum_size(), encoder))
}

fn timestamps(
    tsas: &[TsaCounts],
    beacon: Option<u64>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = |time: u64| now.as_secs().saturating_sub(time / 1_000_000);
    if let Some(beacon) = beacon {
        let metric = gauge(age(beacon));
        let help = "Age of the newest timestamp that statements name, by this machine's clock";
        metric.encode(encoder.encode_descriptor(
            "anchor_age_seconds",
            help,
            None,
            metric.metric_type(),
        )?)?;
    }
    type Counted = fn(&TsaCounts) -> u64;
    let families: [(&str, &str, MetricType, Counted); 5] = [
        ("tsa_tokens", "Timestamps that were verified and stored", MetricType::Counter, |tsa| tsa.tokens),
        ("tsa_failed", "Requests that gave no timestamp", MetricType::Counter, |tsa| tsa.failed),
        ("tsa_size", "Leaves of the checkpoint that it dated last", MetricType::Gauge, |tsa| tsa.size),
        ("tsa_time_seconds", "Time in its last timestamp, by its clock", MetricType::Gauge, |tsa| {
            tsa.time / 1_000_000
        }),
        ("tsa_far_off", "1 where that is far from this machine's clock", MetricType::Gauge, |tsa| {
            u64::from(tsa.far_off)
        }),
    ];
    for (name, help, kind, value) in families {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for tsa in tsas {
            let labels = [("tsa", tsa.name.as_str())];
            match kind {
                MetricType::Counter => {
                    ConstCounter::new(value(tsa)).encode(family.encode_family(&labels)?)?
                }
                _ => gauge(value(tsa)).encode(family.encode_family(&labels)?)?,
            }
        }
    }
    Ok(())
}

fn witnesses(
    witnesses: &[WitnessCounts],
    quorum_size: u64,
    mut encoder: DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let metric = gauge(quorum_size);
    let help = "Leaves of the newest checkpoint that the quorum has cosigned";
    metric.encode(encoder.encode_descriptor("witness_quorum_size", help, None, metric.metric_type())?)?;
    type Counted = fn(&WitnessCounts) -> u64;
    let counters: [(&str, &str, Counted); 2] = [
        ("witness_cosigned", "Cosignatures that came and were verified", |w| w.cosigned),
        ("witness_failed", "Submissions that gave no cosignature", |w| w.failed),
    ];
    for (name, help, value) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for witness in witnesses {
            let labels = [("witness", witness.name.as_str())];
            ConstCounter::new(value(witness)).encode(family.encode_family(&labels)?)?;
        }
    }
    let gauges: [(&str, &str, Counted); 3] = [
        ("witness_size", "Leaves that the witness has cosigned for this process", |w| w.size),
        ("witness_cosigned_at_seconds", "When it last did, by this machine's clock", |w| w.at),
        ("witness_contradicts", "1 where it has seen another history of the log", |w| {
            u64::from(w.contradicts)
        }),
    ];
    for (name, help, value) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for witness in witnesses {
            let labels = [("witness", witness.name.as_str())];
            gauge(value(witness)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
