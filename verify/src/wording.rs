//! The two lists, in the standard wording (DESIGN section 6), and what the record says, marked as the operator's word.

use colophon_receipt::fields;
use colophon_receipt::{Level, Outcome};
use colophon_signer::note::VerifierKey;

use crate::anchors::TimeSide;
use crate::copies::DECODED;
use crate::model::ATTESTED;
use crate::report::{Binding, Check, Verdict};
use crate::text::{quoted, shown, time};
use crate::{Case, Side, attestation, checks};

pub(crate) const NO_TIME: &str = "No independent time.";
pub(crate) const NOT_UNIQUE: &str = "none: the operator could keep a second log";

/// The bounds of the commitment, by others' clocks.
pub(crate) fn bounds(stamps: &TimeSide) -> String {
    let after = stamps.lower().map(|stamp| format!("After {} ({})", time(stamp.time), stamp.tsa()));
    let before = stamps.upper().map(|stamp| format!("{} ({})", time(stamp.time), stamp.tsa()));
    match (after, before) {
        (None, None) => NO_TIME.into(),
        (Some(after), Some(before)) => format!("{after} and before {before}."),
        (Some(after), None) => format!("{after}."),
        (None, Some(before)) => format!("Before {before}."),
    }
}

/// Under whose eyes the log is the only one.
pub(crate) fn uniqueness(case: &Case, result: Verdict) -> String {
    let names: Vec<String> =
        case.log.cosigned.iter().map(|(key, _)| format!("\"{}\"", shown(key.name()))).collect();
    match result {
        Verdict::Bad => NOT_UNIQUE.into(),
        _ if names.is_empty() => NOT_UNIQUE.into(),
        _ => format!("under the witnesses listed: {}", names.join(", ")),
    }
}

/// What is proven, and what is not.
pub(crate) fn lists(case: &Case, result: Verdict, checks: &[Check]) -> (Vec<String>, Vec<String>) {
    match result {
        Verdict::Bad => {
            (Vec::new(), vec!["Anything: a check failed, so nothing that this receipt says counts.".into()])
        }
        _ => (proven(case), not_proven(case, checks)),
    }
}

fn proven(case: &Case) -> Vec<String> {
    let mut list = Vec::new();
    let key = case.log.statement_kid.map(hex::encode).unwrap_or_default();
    let shard = case.log.statement.as_ref().map(|statement| shown(&statement.shard)).unwrap_or_default();
    list.push(format!(
        "The holder of key {key} (shard \"{shard}\") committed to these bytes as an exchange{}.",
        dated(&case.stamps)
    ));
    if let (Some(log_key), Some(proof)) = (&case.log.log_key, &case.log.proof) {
        let (index, size) = (proof.index, proof.checkpoint.size);
        let (name, id) = (shown(log_key.name()), hex::encode(log_key.id()));
        let apart = case.log.announced.first().map(|key| &key.proof.checkpoint);
        let apart = apart
            .filter(|head| !case.log.is_own(head))
            .map(|head| format!(" (under another tree head that it signed, of {} entries)", head.size));
        let apart = apart.unwrap_or_default();
        list.push(format!(
            "The log \"{name}\" announced that key{apart} and holds the commitment as entry {index} of {size}, \
             under a tree head that the log's key {id} signed; it cannot be changed there unseen by whoever has this receipt."
        ));
    }
    if !case.log.cosigned.is_empty() {
        let by = |(key, at): &(VerifierKey, u64)| {
            format!("\"{}\" (at {} by its clock)", shown(key.name()), time(at.saturating_mul(1_000_000)))
        };
        let by: Vec<String> = case.log.cosigned.iter().map(by).collect();
        list.push(format!(
            "The log is unique under {}: each has cosigned that tree head, and cosigns only one history of a log.",
            by.join(" and ")
        ));
    }
    if case.verified_level() >= Level::Sign {
        let other = case.http.signed.iter().map(|signed| signed.key.key_id_hex()).find(|other| *other != key);
        list.push(format!(
            // Most streams leave without their closing signature, and nobody but the client knows what arrived.
            "A signature over the HTTP answer{} covers the digests of request and response, the status, the \
             method, the path and the query.",
            other
                .map(|other| format!(" (by key {other}, which this log announced as well)"))
                .unwrap_or_default()
        ));
    }
    if let Some(tee) = case.tee.as_ref().filter(|tee| tee.level >= Level::Tee) {
        list.push(format!(
            "The key that committed to this was in a trusted environment whose measurements are those of your trust file, by \
             evidence {}: {}.",
            tee.interval(),
            attestation::names(tee)
        ));
        let shown = tee.reports.iter().flat_map(|report| report.platform.proves());
        list.extend(unique(shown).map(|shown| format!("By that evidence: {shown}.")));
    }
    if let Some(upstream) = case.upstream.as_ref().filter(|upstream| upstream.level >= Level::Tee) {
        list.push(format!(
            "A key that was in a trusted environment whose measurements are those of your trust file signed this request and this \
             answer, by evidence made before {}: {}.",
            upstream.before.map_or_else(|| "an unknown time".into(), time),
            attestation::named_pieces(&upstream.reports)
        ));
        let shown = upstream.reports.iter().flat_map(|report| report.platform.proves());
        list.extend(unique(shown).map(|shown| format!("By that server's evidence: {shown}.")));
    }
    if let Some(zk) = case.zk.as_ref().filter(|zk| zk.verified) {
        let proof = &zk.report;
        let name = proof.name.as_deref().unwrap_or_default();
        let claims = proof.claims.as_ref().map(|claims| format!(" It shows: {}.", shown(claims.to_string())));
        let whose = match &proof.certified_by {
            Some(by) => format!("that \"{by}\" certified"),
            None => "that your trust file names".to_owned(),
        };
        let made = match proof.tokens {
            None => "made the decision in the proof about this record: by your own prover program, for the numbers that follow from the \
                     record's fields"
                .to_owned(),
            Some(tokens) => format!(
                "gives this answer to this request, by taking the most likely of its tokens each time ({tokens} of them): by your own \
                 prover program, with the ids that the folder you gave makes of your copies"
            ),
        };
        list.push(format!(
            "The small model {whose} \"{name}\" ({}), quantised, {made}.{}",
            proof.circuit,
            claims.unwrap_or_default()
        ));
    }
    for (side, how, size) in &case.copies.matched {
        let what = if *side == Side::Request { "request" } else { "response" };
        let cut = cut_off(case).filter(|_| *side == Side::Response);
        let cut =
            cut.map(|how| format!(", as far as it was sent: the record says {how}")).unwrap_or_default();
        list.push(format!("Your {what} ({how}, {size} bytes) is the one committed to{cut}."));
    }
    if let Some(model) = case.model.report.as_ref().filter(|_| case.model.certified) {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let version =
            model.version.as_ref().map(|version| format!(", version \"{version}\"")).unwrap_or_default();
        list.push(format!(
            "\"{}\" certified the files of a model as \"{}\"{version}, and the record names that certificate ({}).",
            part(&model.issuer),
            part(&model.name),
            part(&model.certificate)
        ));
        if model.shown_by == Some(ATTESTED) {
            list.push(
                "The machine that the statement's key lives in is one of those that this certificate speaks of, by hardware's \
                 evidence; and the program in it says that it had read the certified files."
                    .into(),
            );
        }
    }
    match case.copies.binding() {
        Binding::Nonce => list.push(
            "The record holds your nonce: it was made after you chose that, if nobody could guess it.".into(),
        ),
        Binding::Signature => {
            list.push(
                "Your copy carries the key's own signature over this record, not only the same bytes.".into(),
            );
        }
        Binding::BytesOnly | Binding::None => {}
    }
    list
}

/// Each once, in their order.
fn unique<'a>(items: impl Iterator<Item = &'a &'a str>) -> impl Iterator<Item = &'a str> {
    let mut seen = Vec::new();
    items.copied().filter(move |item| {
        !seen.contains(item) && {
            seen.push(*item);
            true
        }
    })
}

/// The end of that sentence, where others have dated the commitment.
fn dated(stamps: &TimeSide) -> String {
    let after =
        stamps.lower().map(|stamp| format!("after {} (timestamp by {})", time(stamp.time), stamp.tsa()));
    let before = stamps.upper().map(|stamp| {
        let at = time(stamp.time);
        format!("before {at} (timestamp by {}); unchanged since {at}", stamp.tsa())
    });
    match (after, before) {
        (None, None) => String::new(),
        (Some(after), Some(before)) => format!(", {after} and {before}"),
        (Some(bound), None) | (None, Some(bound)) => format!(", {bound}"),
    }
}

fn not_proven(case: &Case, checks: &[Check]) -> Vec<String> {
    let mut list = Vec::new();
    if !case.trusted_log {
        list.push(
            "Who made this: without a trust file (--trust) the log's signature cannot be checked, and anyone could have \
             made the log and every key in this receipt."
                .into(),
        );
    }
    if let Some(missing) = checks.iter().find(|check| check.name == checks::REQUIREMENTS)
        && case.trusted_log
        && missing.status == crate::Status::NotChecked
    {
        list.push(format!("Enough for your trust file: {}.", missing.detail));
    }
    for (side, what) in [(Side::Request, "request"), (Side::Response, "response")] {
        if !case.copies.has(side) {
            list.push(format!(
                "That your copy of the {what} is the one committed to: none was compared (--{what} FILE)."
            ));
        }
    }
    list.extend(case.copies.left_out.iter().map(|members| {
        format!("What your answer object says in {members}: libraries add these, and no digest is over them.")
    }));
    for (side, how, _) in case.copies.matched.iter().filter(|(_, how, _)| how.ends_with(DECODED)) {
        let what = if *side == Side::Request { "request" } else { "response" };
        list.push(format!(
            "That the {what} decodes to your copy ({how}): both digests are in the record, but that they belong \
             together is the operator's word."
        ));
    }
    list.extend(incomplete(case));
    if let Some(left_out) = checks.iter().find(|check| check.name == checks::EVIDENCE)
        && case.trusted_log
        && left_out.status == crate::Status::NotChecked
    {
        list.push(format!("Anything by the evidence logged about the record: {}.", left_out.detail));
    }
    if let Some(record) = &case.record {
        let (claimed, verified) = (record.leaf.level, case.verified_level());
        if claimed > verified && case.trusted_log {
            list.push(format!(
                "The level {claimed} that the record claims: it is not shown. This receipt shows no more than {verified}."
            ));
        }
        if !record.withheld.is_empty() {
            let names: Vec<&str> = record.withheld.iter().map(|number| fields::name(*number)).collect();
            list.push(format!("What the withheld fields say: {}.", names.join(", ")));
        }
    }
    if let Some(upstream) = &case.upstream {
        if upstream.simulated() {
            list.push("Anything by the evidence of the server that answered: it is simulated, and anybody can make it.".into());
        }
        if !upstream.signed {
            list.push(
                "That the server whose evidence is here made this answer: that is the proxy's word.".into(),
            );
        }
        let open: Vec<_> =
            upstream.reports.iter().flat_map(|report| report.platform.does_not_prove()).collect();
        list.extend(unique(open.iter()).map(|open| format!("By the evidence of that server: {open}.")));
    }
    if let Some(tee) = &case.tee {
        if tee.simulated() {
            list.push(
                "Anything by the evidence in this receipt: it is simulated, and anybody can make it.".into(),
            );
        }
        if let Some(aged) = tee.aged() {
            list.push(format!("That the evidence was good when the record was made: {aged}."));
        }
        let open: Vec<&str> =
            tee.reports.iter().flat_map(|report| report.platform.does_not_prove()).collect();
        list.extend(unique(open.iter()).map(|open| format!("By the evidence: {open}.")));
    }
    if let Some(zk) = &case.zk {
        if !zk.verified {
            list.push("What the proof in this receipt says: see the check `proof`.".into());
        }
        let beyond = match zk.report.tokens {
            None => {
                "Anything by a proof beyond one small model's decision about this record: neither the answer's truth, nor that a \
                 language model computed it."
            }
            Some(_) => {
                "Anything by a proof beyond what one small model, quantised, answers: neither the answer's truth, nor that it was \
                 computed before it was sent."
            }
        };
        list.push(beyond.into());
        if !zk.report.hides {
            list.push("That the proof hides anything: it is succinct, not zero-knowledge.".into());
        }
        if zk.report.setup.as_deref() == Some("local") {
            list.push("That nobody forged the proof: whoever made its parameters can.".into());
        }
    }
    list.push(when(case));
    list.push(match case.log.cosigned.is_empty() {
        true => format!("That it is the only record of the exchange: uniqueness {NOT_UNIQUE}."),
        false => "That it is the only record of the exchange: the operator could keep a second log that the witnesses \
                  listed never saw. A witness's time is its own word."
            .into(),
    });
    list.extend(unseen(case));
    list.push("That the answer is true, safe or unbiased.".into());
    list.push("That the named model produced it, or that the exchange took place.".into());
    list.extend(uncertified(case));
    list.push("That the user is who they claim.".into());
    list.push("That no inference bypassed the proxy.".into());
    let bypasses = case.log.statement.iter().flat_map(|statement| &statement.bypasses);
    list.extend(bypasses.map(|bypass| {
        format!(
            "That what came before and after this record was recorded: while its batch was made, or shortly before, a \
             break-glass bypass let {} exchanges through unrecorded.",
            bypass.count
        )
    }));
    list
}

/// How the answer ended before its end, by the record.
fn cut_off(case: &Case) -> Option<Outcome> {
    let outcome = case.record.as_ref()?.leaf.outcome;
    let cut = [Outcome::ClientAborted, Outcome::UpstreamFailed, Outcome::Recovered];
    cut.contains(&outcome).then_some(outcome)
}

/// What an exchange that did not end well leaves open.
fn incomplete(case: &Case) -> Option<String> {
    let outcome = case.record.as_ref()?.leaf.outcome;
    Some(match outcome {
        Outcome::Complete => return None,
        Outcome::ClientAborted | Outcome::UpstreamFailed => format!(
            "That this is the whole answer: the record says {outcome}; what was sent until then is what is committed to."
        ),
        Outcome::Recovered => format!(
            "That this is the whole exchange: the record says {outcome}; what the process knew before it died is what is committed to."
        ),
        Outcome::UpstreamError => format!(
            "That a model answered: the record says {outcome}; the upstream's error is what is committed to."
        ),
        Outcome::Refused => {
            format!(
                "That a model answered: the record says {outcome}; the proxy's own answer is what is committed to."
            )
        }
    })
}

/// What is proved under tree heads that not all those witnesses have cosigned who cosigned the statement's.
fn unseen(case: &Case) -> impl Iterator<Item = String> {
    let heads = case.log.elsewhere().filter(|basis| {
        let seen = basis.witnesses();
        case.log.cosigned.iter().any(|(key, _)| !seen.contains(key))
    });
    heads.map(|basis| {
        format!(
            "That the witnesses listed saw {}: it is proved under another tree head, of {} entries, which not all of them have \
             cosigned.",
            basis.what, basis.checkpoint.size
        )
    })
}

/// What a model certificate leaves open.
fn uncertified(case: &Case) -> Option<String> {
    let model = case.model.report.as_ref()?;
    let digest = model.certificate.as_ref()?;
    let known_by = model.shown_by.unwrap_or("not said how");
    Some(match (&model.detail, case.model.certified) {
        (_, true) if model.shown_by == Some(ATTESTED) => "That the model server in that machine loaded the certified files: \
            it does if its measured software does what whoever issued the certificate believes it does. A certificate \
            vouches for files, not for what was done with them."
            .to_owned(),
        (_, true) => format!(
            "That the server ran the certified files: that is the operator's word ({known_by}). A certificate vouches for \
             files, not for what was done with them."
        ),
        (Some(detail), false) => format!("That the model certificate {digest} counts: {detail}."),
        (None, false) => format!(
            "What the model certificate {digest} says, or by whom it is: it was not given (--model-cert FILE)."
        ),
    })
}

/// What the timestamps leave open. They date the commitment, never the exchange.
fn when(case: &Case) -> String {
    let open = match (case.stamps.lower(), case.stamps.upper()) {
        (None, None) => format!("When it was: {NO_TIME}"),
        (Some(_), Some(_)) => "When the exchange itself was: the timestamps date the commitment.".into(),
        (None, Some(_)) => "How long before that it was: no timestamp says after when.".into(),
        (Some(_), None) => "How long after that it was: no timestamp says before when.".into(),
    };
    format!("{open} The exchange's own times are the operator's clock{}.", expired(case).unwrap_or_default())
}

/// A key that is no longer valid may have leaked since; only a timestamp shows that the record is older.
fn expired(case: &Case) -> Option<String> {
    let key = &case.log.announced.first()?.payload;
    let upper = case.stamps.upper();
    let open = match upper {
        Some(_) => case.stamps.too_late(),
        None => case.at? > key.not_after,
    };
    open.then(|| {
        let earliest =
            if upper.is_some() { "the earliest timestamp does not show" } else { "no timestamp shows" };
        format!(
            ", and the key was valid only until {}: {earliest} that the record was made before",
            time(key.not_after)
        )
    })
}

/// What the opened fields say, each line marked as the operator's word.
pub(crate) fn record_says(case: &Case) -> Vec<String> {
    let Some(record) = &case.record else { return Vec::new() };
    let opened = &record.opened;
    let mut list: Vec<String> = Vec::new();
    let mut say = |what: &str, text: String| list.push(format!("the operator's record says: {what} {text}"));
    if let Some(line) = &opened.request_line {
        if let (Some(method), Some(path)) = (&line.method, &line.path) {
            say("request", format!("{} {}", quoted(method), quoted(path)));
        }
        line.authority.iter().for_each(|authority| say("host", quoted(authority)));
    }
    if let Some(status) = opened.response_head.as_ref().and_then(|head| head.status) {
        say("status", status.to_string());
    }
    if let Some(operation) = opened.operation.as_ref().and_then(|operation| operation.operation.as_ref()) {
        say("operation", quoted(&**operation));
    }
    if let Some(model) = &opened.model {
        model.requested.iter().for_each(|name| say("model requested", quoted(name)));
        model.reported.iter().for_each(|name| say("model named in the response", quoted(name)));
        model.certificate.iter().for_each(|digest| say("model certificate", hex::encode(digest)));
        model.known_by.iter().for_each(|how| {
            let source = model.source.as_deref().map(|source| format!(" ({})", quoted(source)));
            say("model known by", format!("{}{}", quoted(&**how), source.unwrap_or_default()));
        });
    }
    if let Some(total) = opened.usage.as_ref().and_then(|usage| usage.total) {
        say("tokens", total.to_string());
    }
    if let Some(answer) = &opened.answer {
        answer.id.iter().for_each(|id| say("response id", quoted(id)));
        answer.finish_reasons.iter().flatten().for_each(|reason| say("finished by", quoted(&**reason)));
        answer.error.iter().for_each(|error| say("error", quoted(error)));
    }
    if let Some(times) = &opened.times {
        times.received.iter().for_each(|at| say("received at", time(*at)));
    }
    say("completed at", time(record.leaf.completed_at));
    say("outcome", record.leaf.outcome.to_string());
    if let Some(failure) = &opened.failure {
        failure.fault.iter().for_each(|fault| say("fault of", quoted(&**fault)));
        failure.reason.iter().for_each(|reason| say("reason", quoted(&**reason)));
    }
    if let Some(caller) = &opened.caller {
        let how = if caller.authenticated == Some(true) { "authenticated" } else { "claimed" };
        let by = caller.by.as_deref().map(quoted).unwrap_or_default();
        caller.caller.iter().for_each(|name| say("caller", format!("{} ({how}, by {by})", quoted(name))));
        caller.tenant.iter().for_each(|tenant| say("tenant", quoted(tenant)));
    }
    for bypass in case.log.statement.iter().flat_map(|statement| &statement.bypasses) {
        let until = match bypass.ended {
            Some(at) => format!("until {}", time(at)),
            None => "still in force when the batch was signed".to_owned(),
        };
        let (who, why) = (quoted(&bypass.who), quoted(&bypass.why));
        say("bypass", format!("by {who}, because {why}, from {}, {until}", time(bypass.from)));
    }
    if let Some(rule) = opened.decision.as_ref().and_then(|decision| decision.rule.as_ref()) {
        say("policy rule", quoted(rule));
    }
    if let Some(decision) = &opened.decision {
        let level = |code: Option<u64>| code.and_then(|code| Level::from_code(code).ok());
        level(decision.asked).iter().for_each(|level| say("level asked", level.to_string()));
        level(decision.granted).iter().for_each(|level| say("level granted", level.to_string()));
        decision.why_lowered.iter().for_each(|why| say("level granted because", quoted(why.as_bytes())));
    }
    list
}
