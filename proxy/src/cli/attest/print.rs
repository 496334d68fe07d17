//! What `colophon attest verify` says.

use super::super::term;
use super::{BAD, CONSISTENT};
use colophon_attest::{Policy, Refusal, Report, Results};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints all results; the exit code is that of the worst.
pub(super) fn results(results: &Results, policy: Option<&Policy>, as_json: bool) -> ExitCode {
    let bad = results.pieces.iter().any(Result::is_err) || results.together.is_err();
    let verdict = match (bad, policy) {
        (true, _) => "refused",
        (false, None) => "consistent",
        (false, Some(_)) => "trusted",
    };
    if as_json {
        let pieces: Vec<Value> = results.pieces.iter().map(piece_json).collect();
        let together = results.together.as_ref().err().map(refusal_json);
        outln!("{:#}", json!({"verdict": verdict, "evidence": pieces, "refusal": together}));
    } else {
        for result in &results.pieces {
            match result {
                Ok(report) => print_report(report),
                Err(refusal) => {
                    outln!("{} {}", term::refused("✗ refused:"), term::safe_line(&refusal.to_string()))
                }
            }
        }
        if let Err(refusal) = &results.together {
            outln!("{} {}", term::refused("✗ refused:"), term::safe_line(&refusal.to_string()));
        }
        if verdict == "consistent" {
            outln!("Consistent, not trusted: without --policy nobody said what it has to measure.");
        }
    }
    match verdict {
        "refused" => ExitCode::from(BAD),
        "consistent" => ExitCode::from(CONSISTENT),
        _ => ExitCode::SUCCESS,
    }
}

fn piece_json(result: &Result<Report, Refusal>) -> Value {
    match result {
        Ok(report) => json!({
            "report": report,
            "highest_level": report.highest_level().as_str(),
            "proves": report.platform.proves(),
            "does_not_prove": report.platform.does_not_prove(),
        }),
        Err(refusal) => json!({"refusal": refusal_json(refusal)}),
    }
}

fn refusal_json(refusal: &Refusal) -> Value {
    json!({"code": refusal.code(), "why": refusal.to_string()})
}

fn print_report(report: &Report) {
    let line = |name: &str, value: &str| outln!("  {:<24} {}", term::dim(name), term::safe_line(value));
    outln!(
        "{} {} {}",
        term::green("✓"),
        term::bold(report.platform.as_str()),
        term::safe_line(&report.about)
    );
    if report.is_simulated() {
        outln!("  {} no hardware vouches for it; it counts as `sign` at most", term::refused("SIMULATED:"));
    }
    let source = serde_json::to_value(report.source).ok();
    line("source", source.as_ref().and_then(Value::as_str).unwrap_or_default());
    line("root", &format!("{} (SHA-256 {})", report.root.name, hex::encode(report.root.sha256)));
    let time = |seconds: Option<u64>| {
        seconds.map(|seconds| colophon_verify::time(seconds.saturating_mul(1_000_000)))
    };
    line("judged at", &time(Some(report.at)).unwrap_or_default());
    let ages = [
        ("made", report.age.made),
        ("collateral from", report.age.collateral_from),
        ("good until", report.age.good_until),
    ];
    for (name, seconds) in ages {
        if let Some(time) = time(seconds) {
            line(name, &time);
        }
    }
    let bytes = [("report data", &report.report_data), ("nonce", &report.nonce)];
    for (name, value) in bytes {
        if let Some(value) = value {
            line(name, &hex::encode(value));
        }
    }
    report.tcb.iter().for_each(|(name, value)| line(&format!("tcb {name}"), &value.to_string()));
    report.claims.iter().for_each(|(name, value)| line(name, value));
    report.measurements.iter().for_each(|(name, value)| line(name, value));
    report.notes.iter().for_each(|note| line("note", note));
    let compared = if report.compared { "yes" } else { "no" };
    line("compared with a policy", compared);
    outln!("  It shows:");
    report.platform.proves().iter().for_each(|what| outln!("  + {what}"));
    outln!("  It does not show:");
    report.platform.does_not_prove().iter().for_each(|what| outln!("  - {what}"));
}
