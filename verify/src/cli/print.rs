//! The report for people.

use std::fmt::Write as _;

use colophon_receipt::Outcome;

use crate::report::{Compared, Model};
use crate::text::time;
use crate::{Binding, Report, Status, Verdict, checks};

const WIDTH: usize = 100;

struct Printer {
    text: String,
    colour: bool,
}

/// The whole report as text that ends in a newline.
pub(crate) fn human(report: &Report, colour: bool) -> String {
    let mut p = Printer { text: String::with_capacity(4096), colour };
    let passed = |name| report.check(name).is_some_and(|check| check.status == Status::Passed);
    let compared = passed(checks::RESPONSE_BODY) || passed(checks::MESSAGE);
    let (style, word, why) = match report.result {
        Verdict::Trusted if compared => {
            ("32;1", "TRUSTED", "every check that could be made passed against your trust file")
        }
        Verdict::Trusted => (
            "32;1",
            "TRUSTED",
            "every check that could be made passed against your trust file; your copy of the answer was not compared",
        ),
        Verdict::ConsistentNotTrusted => {
            ("33;1", "CONSISTENT, NOT TRUSTED", "nothing is wrong, but what trust needs is missing")
        }
        Verdict::Bad => ("31;1", "BAD", "do not rely on anything that this receipt says"),
    };
    let word = p.styled(style, word);
    p.line(&format!("{word}: {why}"));
    if report.result == Verdict::Bad {
        // Whose key, which record: of a bad receipt that is hearsay, and what failed comes first.
        p.checks(report);
        return p.text;
    }
    p.facts(report);
    p.list("What is proven", "+", "32", &report.proven);
    p.list("What is not proven", "-", "33", &report.not_proven);
    p.list("In the operator's own words (not verified)", " ", "0", &report.record_says);
    p.checks(report);
    p.text
}

impl Printer {
    fn styled(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn fact(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.text, "  {name:<11}{value}");
    }

    fn facts(&mut self, report: &Report) {
        let Some(record) = &report.record else { return };
        self.line("");
        self.fact("record", record);
        let level = |level: Option<colophon_receipt::Level>| level.map_or("none", |level| level.as_str());
        let less = report.verified_level.is_some_and(|verified| report.claimed_level > Some(verified));
        let not_shown = if less { ": what is claimed is NOT shown" } else { "" };
        let levels = format!(
            "{} claimed, {} verified{not_shown}",
            level(report.claimed_level),
            level(report.verified_level)
        );
        self.fact("level", &levels);
        if let Some(outcome) = report.outcome.filter(|outcome| *outcome != Outcome::Complete.as_str()) {
            self.fact("outcome", &format!("{outcome}, by the operator's record"));
        }
        if let Some(decision) = &report.decision {
            let word = |level: Option<&'static str>| level.unwrap_or("not said");
            let rule = decision.rule.as_deref().unwrap_or_default();
            let (asked, granted) = (word(decision.asked), word(decision.granted));
            let why = decision.why_lowered.as_ref().map(|why| format!(": \"{why}\"")).unwrap_or_default();
            self.fact("rule", &format!("\"{rule}\" of policy {}", decision.policy));
            self.fact("", &format!("{asked} asked, {granted} granted{why}"));
            if let Some(text) = &decision.text {
                self.fact("", text);
            }
        }
        if let Some(draw) = &report.draw {
            let is = match (draw.drawn, draw.evidence) {
                (None, _) => "may be drawn",
                (Some(false), _) => "not drawn",
                (Some(true), None) => "drawn",
                (Some(true), Some("not-done")) => "drawn, not done",
                (Some(true), Some(_)) => "drawn, evidence logged",
            };
            let by = if draw.operator_influenced { "; operator-influenced" } else { "" };
            self.fact("draw", &format!("{is} for {}{by}", draw.target));
        }
        if let Some(proof) = &report.proof {
            let is = if proof.verified { "verified" } else { "not verified" };
            let name = proof.name.as_ref().map(|name| format!("\"{name}\", ")).unwrap_or_default();
            self.fact("zk", &format!("{is}: {name}circuit {}", proof.circuit));
            let kind = if proof.hides { "" } else { "succinct, hides nothing; " };
            let setup = proof.setup.as_deref().unwrap_or("none");
            self.fact("", &format!("{kind}setup: {setup}; {}; by {}", proof.quantisation, proof.prover));
            if let Some(by) = &proof.certified_by {
                self.fact("", &format!("certified by \"{by}\""));
            }
            if let Some(claims) = &proof.claims {
                self.fact("", &format!("it shows {}", crate::text::shown(claims.to_string())));
            }
        }
        if let Some(model) = &report.model {
            self.model(model);
        }
        if let (Some(key), Some(shard)) = (&report.keys.statement, &report.shard) {
            self.fact("key", &format!("{key} of shard \"{shard}\""));
        }
        if let Some(log) = &report.log {
            self.fact("log", &format!("\"{}\", entry {} of {}", log.origin, log.index, log.size));
        }
        self.fact("log key", report.keys.log.as_deref().unwrap_or("not verified"));
        let clock = report.time.operator_completed.map(|at| format!(" The operator's clock: {}.", time(at)));
        self.fact("time", &format!("{}{}", report.time.source, clock.unwrap_or_default()));
        self.fact("unique", &report.uniqueness);
        if let Some(evidence) = &report.evidence {
            let simulated = if evidence.simulated { ", SIMULATED" } else { "" };
            let which =
                if evidence.renewed { "renewed while the key was in use" } else { "announced with the key" };
            let bound = |at: Option<u64>| at.map_or_else(|| "unknown".into(), time);
            let (after, before) = (bound(evidence.after), bound(evidence.before));
            self.fact(
                "evidence",
                &format!("{}{simulated}; {which}; made after {after}, before {before}", evidence.source),
            );
        }
        if let Some(upstream) = &report.upstream {
            let simulated = if upstream.simulated { ", SIMULATED" } else { "" };
            let signed = match upstream.signed {
                true => "a key that its evidence names signed request and answer",
                false => "that it answered is the proxy's word",
            };
            self.fact("upstream", &format!("{}{simulated}; {signed}", upstream.source));
        }
        let passed = |name| report.check(name).is_some_and(|check| check.status == Status::Passed);
        let copy = match report.binding {
            // A nonce needs no copy, and says nothing about one.
            Binding::Nonce if !passed(checks::REQUEST_BODY) && !passed(checks::RESPONSE_BODY) => {
                "none was compared; the record holds your nonce".into()
            }
            binding => format!("tied to the record by: {binding}"),
        };
        self.fact("your copy", &copy);
    }

    fn model(&mut self, model: &Model) {
        let name = |name: &Option<String>, what| name.as_ref().map(|name| format!("\"{name}\" {what}"));
        let names = [name(&model.requested, "requested"), name(&model.reported, "answered")];
        let names = names.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let known = model.known_by.as_deref().unwrap_or("not said how");
        let source = model.source.as_ref().map(|source| format!(", {source}")).unwrap_or_default();
        let names = if names.is_empty() { "named in neither request nor answer".to_owned() } else { names };
        self.fact("model", &format!("{names}; known by: {known}{source}"));
        self.compared("the evidence of the server that answered", model.upstream_evidence.as_ref());
        let Some(digest) = &model.certificate else { return };
        let standing = match (&model.name, &model.issuer, model.standing) {
            (Some(name), issuer, Some(standing)) => {
                let version = model.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
                let issuer = issuer.as_ref().map(|issuer| format!(" by \"{issuer}\"")).unwrap_or_default();
                format!("\"{name}{version}\"{issuer}: {standing}")
            }
            _ => "not given".to_owned(),
        };
        self.fact("", &format!("certificate {digest}: {standing}"));
        self.compared("the evidence about the key", model.evidence.as_ref());
        if let Some(shown) = model.shown_by.filter(|shown| model.known_by.as_deref() != Some(*shown)) {
            self.fact("", &format!("of \"{known}\" the receipt shows no more than {shown}"));
        }
    }

    fn compared(&mut self, what: &str, compared: Option<&Compared>) {
        let Some(compared) = compared else { return };
        let how = match (&compared.detail, compared.counts) {
            (Some(why), _) => format!("is not as the certificate says: {why}"),
            (None, true) => "is as the certificate says".to_owned(),
            (None, false) => "is as the certificate says, but no dated evidence of hardware".to_owned(),
        };
        self.fact("", &format!("{what} {how}"));
    }

    fn list(&mut self, title: &str, mark: &str, style: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        let title = self.styled("1", title);
        self.line(&format!("\n{title}"));
        for item in items {
            let mark = self.styled(style, mark);
            self.wrapped(&format!("  {mark} "), 4, item);
        }
    }

    fn checks(&mut self, report: &Report) {
        let title = self.styled("1", "Checks");
        self.line(&format!("\n{title}"));
        for check in &report.checks {
            let status = match check.status {
                Status::Passed => self.styled("32", "ok   "),
                Status::Failed => self.styled("31;1", "FAIL "),
                Status::NotChecked => self.styled("33", "--   "),
            };
            self.wrapped(&format!("  {status}{:<21}", check.name), 28, &check.detail);
        }
    }

    /// Words up to the width, the lines after the first indented.
    fn wrapped(&mut self, start: &str, indent: usize, text: &str) {
        self.text.push_str(start);
        let mut column = indent;
        for (at, word) in text.split(' ').enumerate() {
            if at > 0 && column + 1 + word.len() > WIDTH {
                let _ = write!(self.text, "\n{:indent$}", "");
                column = indent;
            } else if at > 0 {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += word.len();
        }
        self.text.push('\n');
    }
}
