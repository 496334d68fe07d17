//! Which rule of which policy decided, and why the level is what it is.

use colophon_receipt::merkle::sha256;
use colophon_receipt::{Level, Outcome};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Bodies;
use crate::checks::{Checks, POLICY};
use crate::record::Record;
use crate::report::Decision;
use crate::text::{line, quoted, shown};

/// The rule named in a decision that no rule made.
const DEFAULT_RULE: &str = "(default)";

/// What of a policy's canonical text matters here.
#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    defaults: &'a RawValue,
    #[serde(borrow, default)]
    rules: Vec<&'a RawValue>,
}

/// What of a rule matters here.
#[derive(Deserialize)]
struct Rule {
    name: Option<String>,
    level: Option<String>,
    sample: Option<Sample>,
}

/// What a rule draws.
#[derive(Deserialize)]
struct Sample {
    /// A decimal number.
    threshold: String,
    to: String,
    draw: String,
}

/// What the record says of its decision.
pub(crate) fn decision(record: Option<&Record>) -> Option<Decision> {
    let decision = record?.opened.decision.as_ref()?;
    let level = |code: Option<u64>| code.and_then(|code| Level::from_code(code).ok()).map(Level::as_str);
    Some(Decision {
        policy: hex::encode(decision.policy?),
        rule: decision.rule.as_deref().map(shown),
        named: decision.rule.as_deref().map(|rule| String::from_utf8_lossy(rule).into_owned()),
        asked: level(decision.asked),
        granted: level(decision.granted),
        why_lowered: decision.why_lowered.as_deref().map(shown),
        text: None,
    })
}

/// Makes the check `policy`, where the reader has the policy's text; gives the rule's own text.
pub(crate) fn check(record: Option<&Record>, bodies: &Bodies, checks: &mut Checks) -> Option<String> {
    let text = bodies.policy.as_deref()?;
    let Some(decision) = decision(record) else {
        checks.skip(POLICY, "the receipt does not show which policy decided");
        return None;
    };
    let judged = judge(text, &decision).and_then(|rule| {
        record.map_or(Ok(()), |record| draws(rule, record))?;
        Ok(line(rule.get()))
    });
    match judged {
        Ok(rule) => {
            let name = quoted(decision.named.as_deref().unwrap_or_default());
            checks
                .add(POLICY, Ok(format!("the text is that of the policy in force; {name} is a rule of it")));
            Some(rule)
        }
        Err(error) => {
            checks.add(POLICY, Err(error));
            None
        }
    }
}

/// The text of the rule that a decision names, if `text` is the policy that it names and agrees with it.
pub(crate) fn judge<'a>(text: &'a [u8], decision: &Decision) -> Result<&'a RawValue, String> {
    // `colophon policy show` ends it with a newline.
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if hex::encode(sha256(text)) != decision.policy {
        return Err(format!(
            "the text is another policy's: its SHA-256 is {}, the record names {}",
            hex::encode(sha256(text)),
            decision.policy
        ));
    }
    let policy: Text<'_> = serde_json::from_slice(text)
        .map_err(|error| format!("the policy's text is not canonical: {error}"))?;
    let name = decision.named.as_deref().unwrap_or_default();
    let read = |rule: &RawValue| serde_json::from_str::<Rule>(rule.get()).ok();
    let named = |rule: &&&RawValue| read(rule).is_some_and(|rule| rule.name.as_deref() == Some(name));
    let rule = match name == DEFAULT_RULE {
        true => Some(policy.defaults),
        false => policy.rules.iter().find(named).copied(),
    };
    let rule = rule.ok_or_else(|| format!("the policy has no rule named {}", quoted(name)))?;
    let level = read(rule).and_then(|rule| rule.level).and_then(|level| level.parse::<Level>().ok());
    let asked = decision.asked.and_then(|asked| asked.parse::<Level>().ok());
    if let (Some(level), Some(asked)) = (level, asked)
        && asked < level
    {
        return Err(format!("the rule {} asks for {level}, the record says {asked}", quoted(name)));
    }
    Ok(rule)
}

/// The record is in the draw that its rule asks for, and in no other. What a crash cut short is in none.
fn draws(rule: &RawValue, record: &Record) -> Result<(), String> {
    let sample = serde_json::from_str::<Rule>(rule.get()).ok().and_then(|rule| rule.sample);
    let wanted = sample.as_ref().filter(|sample| sample.draw == "PostCommit");
    let wanted = wanted.map(|sample| (sample.threshold.parse::<u64>(), sample.to.parse::<Level>()));
    let local = sample.is_some_and(|sample| sample.draw == "Local");
    match (wanted, record.leaf.draw) {
        (Some((Ok(threshold), Ok(to))), Some(found)) if found == (threshold, to) => Ok(()),
        (Some(_), None) if record.leaf.outcome == Outcome::Recovered => Ok(()),
        (Some(_), None) => {
            Err("the rule draws by public randomness, and the record is left out of the draw".into())
        }
        // A proof that was asked for follows for certain.
        (_, Some((u64::MAX, Level::Zk))) if record.asked() >= Level::Zk => Ok(()),
        // Who is drawn locally was decided before.
        (None, found) if local || found.is_none() => Ok(()),
        (Some(_), Some(_)) => Err("the record is in another draw than the rule asks for".into()),
        (None, _) => Err("the record is in a draw that the rule does not ask for".into()),
    }
}

#[cfg(test)]
mod tests;
