//! The fields of an exchange that has ended (`docs/FORMATS.md`, section 3.3).

use super::{Ending, InFlight, is_event_stream};
use crate::facts::{MAX_VALUE, bytes, version};
use crate::head;
use crate::observe::ResponseSeen;
use crate::telemetry::Told;
use crate::upstream::signed::{Recorded, Signed};
use colophon_ledger::{Done, WalError};
use colophon_receipt::Outcome;
use colophon_receipt::fields::{
    self, Answer, BodyDigest, Context, Failure, Model, Operation, ResponseHead, Semantic, Times, Upstream,
    UpstreamSigned, Usage,
};
use colophon_receipt::record::{FieldSet, MAX_FIELDS, RecordLeaf, seal_sampled};
use std::borrow::Cow;
use std::sync::PoisonError;

impl InFlight {
    /// Gathers what is known now. Reading what the response said ends its reader.
    pub(super) fn fields(
        &mut self,
        ending: &Ending<'_>,
        completed: u64,
        body: &BodyDigest,
    ) -> (FieldSet, Told) {
        let facts = &self.facts;
        let mut set = FieldSet::new();
        let (mut asked, canonical, incomplete, received_body);
        {
            let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
            incomplete = !request.complete();
            // What was read of a body whose end never came is not that body.
            let number = if incomplete { fields::REQUEST_FORWARDED } else { fields::REQUEST_BODY };
            received_body = request.digest();
            received_body.write(number, &mut set);
            if let Some(decoded) = request.decoded().filter(|_| !incomplete) {
                decoded.write(fields::REQUEST_DECODED, &mut set);
            }
            asked = request.meaning();
            canonical = request.canonical();
        }
        set.copy(fields::REQUEST_LINE, &self.opened);
        body.write(fields::RESPONSE_BODY, &mut set);
        if let Some(decoded) = self.response.as_ref().and_then(ResponseSeen::decoded) {
            decoded.write(fields::RESPONSE_DECODED, &mut set);
        }
        if let Some(head) = &self.head {
            let trailers = match ending {
                Ending::Trailers(trailers) => Some(head::digest(trailers)),
                _ => None,
            };
            ResponseHead {
                status: Some(u64::from(head.status)),
                content_type: bytes(&head.content_type),
                content_encoding: bytes(&head.content_encoding),
                headers: head.headers,
                trailers,
            }
            .write(fields::RESPONSE_HEAD, &mut set);
            fields::write_list(fields::STRIPPED, &head.stripped, &mut set);
        }
        let streamed =
            self.head.as_ref().and_then(|head| head.content_type.as_ref()).is_some_and(is_event_stream);
        let mut said = self.response.as_mut().and_then(ResponseSeen::meaning).unwrap_or_default();
        if let Some(session) = self.upgraded.as_mut().and_then(|upgraded| upgraded.said.take()) {
            // Neither the request nor the answer had a body.
            (asked, said) = session;
        }
        Operation {
            stream_asked: asked.stream,
            streamed: streamed.then_some(true),
            events: (said.events > 0).then_some(said.events),
            request_unreadable: asked.unreadable.map(Cow::Borrowed),
            response_unreadable: said.unreadable.map(Cow::Borrowed),
            ..facts.operation()
        }
        .write(fields::OPERATION, &mut set);
        let requested = asked.model.map(Cow::Owned).or_else(|| facts.queried_model());
        let named = requested.is_some() || said.model.is_some();
        // Of what ran all the while that this answer was made.
        let certificate = self.certified.as_ref().filter(|bound| self.app.model.is(bound));
        let certificate =
            certificate.filter(|bound| bound.is_of(said.model.as_deref().or(requested.as_deref())));
        let known = certificate
            .map(|bound| bound.known_by(&facts.shard.public_key.0))
            .or(named.then_some(("observed", "operator_asserted")));
        Model {
            requested: requested.as_deref().map(Cow::Borrowed),
            reported: said.model.as_deref().map(Cow::Borrowed),
            certificate: certificate.map(|bound| bound.digest),
            known_by: known.map(|(known_by, _)| known_by.into()),
            source: known.map(|(_, source)| source.into()),
        }
        .write(fields::MODEL, &mut set);
        fields::write_sampling(&asked.sampling, &mut set);
        Usage {
            prompt: said.usage.prompt,
            completion: said.usage.completion,
            total: said.usage.total,
            cached: said.usage.cached,
            reasoning: said.usage.reasoning,
            cache_write: said.usage.cache_write,
        }
        .write(fields::USAGE, &mut set);
        // For a span; else nobody wants to know.
        let finish_reasons =
            self.app.traces.as_ref().map(|_| said.finish_reasons.clone()).unwrap_or_default();
        let (tools, arguments): (Vec<_>, Vec<_>) =
            said.tools.into_iter().map(|(name, arguments)| (name, arguments.to_vec())).unzip();
        let named = tools.iter().any(|name| !name.is_empty());
        Answer {
            id: said.id.as_deref().map(Cow::Borrowed),
            finish_reasons: (!said.finish_reasons.is_empty()).then_some(said.finish_reasons),
            system_fingerprint: said.system_fingerprint.map(Cow::Owned),
            error: said.error.map(Cow::Owned),
            tool_calls: (said.tool_calls > 0).then_some(said.tool_calls),
            terminated: said.terminated.then_some(true),
            tools: named.then_some(tools),
            arguments: named.then_some(arguments),
        }
        .write(fields::ANSWER, &mut set);
        if self.app.limits.message_digests {
            Semantic {
                request: canonical.and_then(Result::ok),
                message: said.message.and_then(Result::ok),
                no_request: canonical.and_then(Result::err).map(Cow::Borrowed),
                no_message: said.message.and_then(Result::err).map(Cow::Borrowed),
            }
            .write(fields::SEMANTIC, &mut set);
        }
        Times {
            received: Some(facts.received_at),
            first_byte: self.first_byte,
            completed: Some(completed),
            clock: Some("system".into()),
        }
        .write(fields::TIMES, &mut set);
        facts.decision(self.level, self.why_lowered, self.degraded).write(fields::DECISION, &mut set);
        facts.caller().write(fields::CALLER, &mut set);
        if let Some(url) = &self.forwarded {
            let session = self.proof.as_deref();
            Upstream {
                url: Some(url.as_bytes().into()),
                version: self.head.as_ref().and_then(|head| head.version).map(|v| version(v).into()),
                name: session.map(|session| session.name.as_bytes().into()),
                bound: session.map(|session| session.bound.into()),
                evidence: session.map(|session| session.evidence),
                verified: session.map(|session| session.verified_at),
                source: session.map(|session| session.source.as_str().into()),
            }
            .write(fields::UPSTREAM, &mut set);
        }
        Context {
            nonce: bytes(&facts.nonce),
            traceparent: bytes(&facts.traceparent),
            conversation: asked.conversation.map(Cow::Owned),
            parent: asked.parent.map(Cow::Owned),
            retries: facts.retries,
            request_id: bytes(&facts.request_id),
        }
        .write(fields::CONTEXT, &mut set);
        failure(ending, incomplete).write(fields::FAILURE, &mut set);
        if let Some(upgraded) = &self.upgraded {
            upgraded.upgrade.write(fields::UPGRADE, &mut set);
        }
        // Of an answer that was cut, or is our own, it would be a signature over something else.
        let whole = matches!(ending, Ending::Complete | Ending::Trailers(_)) && !incomplete;
        let signed = self.signed.as_ref().filter(|_| whole).and_then(|signing| {
            let (response, received) = (body.digest, facts.received_at);
            signing.found(&Recorded { request: received_body.digest, response, received, completed })
        });
        if let Some(Signed { base, signature }) = &signed {
            UpstreamSigned { base: Some(base.into()), signature: Some(signature.into()) }
                .write(fields::UPSTREAM_SIGNED, &mut set);
        }
        let told = Told {
            requested: requested.map(Cow::into_owned),
            reported: said.model,
            response_id: said.id,
            finish_reasons,
            input_tokens: said.usage.prompt,
            output_tokens: said.usage.completion,
            streamed,
        };
        (set, told)
    }
}

impl InFlight {
    /// The record of a stream whose end is not released because `whole` cannot be kept safely: what that says, but for how it ended.
    /// A signature over the end covers `whole`, and nobody gets it.
    pub(super) fn cut(&self, whole: Done, error: &WalError) -> Done {
        let Ok(leaf) = RecordLeaf::decode(&whole.record.leaf) else { return whole };
        let RecordLeaf { id, completed_at, level, draw, outcome, .. } = leaf;
        if !matches!(outcome, Outcome::Complete | Outcome::UpstreamError) {
            // It ended early in any case.
            return whole;
        }
        let reason =
            format!("the record could not be kept, and the rule forbids an answer without one: {error}");
        let ending = Ending::Refused("proxy", reason);
        let mut set = FieldSet::new();
        for number in 0..MAX_FIELDS as u8 {
            match number {
                fields::DECISION => {
                    self.facts.decision(level, self.why_lowered, true).write(number, &mut set)
                }
                fields::FAILURE => failure(&ending, false).write(number, &mut set),
                fields::UPSTREAM_SIGNED => {}
                _ if whole.record.fields.get(number).is_some() => set.copy(number, &whole.record.fields),
                _ => {}
            }
        }
        let outcome = Outcome::UpstreamFailed;
        let record = seal_sampled(id, completed_at, level, outcome, whole.record.seed, set, draw);
        let mut signatures = whole.signatures;
        signatures.truncate(1);
        Done { record, signatures, refused: false }
    }
}

/// The digest of nothing.
pub(super) const EMPTY_BODY: BodyDigest = BodyDigest {
    // SHA-256 of nothing.
    digest: [
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ],
    size: 0,
};

fn failure<'a>(ending: &'a Ending<'_>, incomplete: bool) -> Failure<'a> {
    let (fault, reason) = match ending {
        Ending::UpstreamFailed(reason) => ("upstream", reason.as_str()),
        Ending::Refused(fault, reason) => (*fault, reason.as_str()),
        Ending::Cancelled => ("client", "left before the end of the answer"),
        Ending::Stopped => ("proxy", "stopped before the end of the answer"),
        _ if incomplete => ("client", "the request body was not complete when the answer ended"),
        _ => return Failure::default(),
    };
    let (reason, _) = reason.split_at(reason.floor_char_boundary(MAX_VALUE));
    Failure { fault: Some(fault.into()), reason: Some(reason.into()) }
}
