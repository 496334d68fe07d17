//! Tokens of other verifiers (NVIDIA's NRAS, Microsoft Azure Attestation, Intel Trust Authority, Google's Confidential
//! Space): a JWT whose signer looked at evidence that is not here. `verifier_derived`, never `hardware_proven`.
//!
//! The keys are a JWK set that the reader chose; nothing is fetched, and keys that come with the evidence do not count.

use crate::bytes::shown;
use crate::report::{Root, Source};
use crate::verify::Question;
use crate::{Collateral, Platform, Refusal, Report};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use colophon_receipt::merkle::sha256;
use colophon_signer::x509::Certificate;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPublicKey};
use serde_json::Value;

const WHAT: &str = "token";
/// NRAS's longest have about 20 KB.
const MAX_BYTES: usize = 256 << 10;
/// Claims that are kept; a token has perhaps a hundred.
const MAX_CLAIMS: usize = 1000;
/// Objects in objects.
const MAX_DEPTH: usize = 8;
/// Signatures by public keys only.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
];
/// Claims that say that debugging is on, and the values that say so. `dbgstat` is RFC 9711's: anything but `disabled…` is.
const DEBUGGABLE: [&str; 4] =
    ["x-ms-sevsnpvm-is-debuggable", "x-ms-sgx-is-debuggable", "tdx_is_debuggable", "sgx_is_debuggable"];

/// Verifies a token.
pub(crate) fn verify(
    token: &str,
    collateral: &Collateral,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let malformed = |error: &dyn ToString| Refusal::malformed(WHAT, error.to_string());
    if token.len() > MAX_BYTES {
        return Err(malformed(&"longer than 256 KiB"));
    }
    let keys = collateral.jwks.as_ref();
    let keys = keys.ok_or_else(|| Refusal::Collateral("the verifier's keys (a JWK set)".into()))?;
    let header = decode_header(token).map_err(|error| malformed(&error))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(malformed(&"its algorithm is none of public keys"));
    }
    let key = key(keys, header.kid.as_deref())?;
    let mut validation = Validation::new(header.alg);
    // Times are judged at the question's, not at this machine's; issuers are the policy's.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let decoding =
        DecodingKey::from_jwk(&key).map_err(|error| Refusal::malformed("JWK", error.to_string()))?;
    let claims: Value = match decode(token, &decoding, &validation) {
        Ok(token) => token.claims,
        Err(error) => match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => return Err(Refusal::Signature("the token")),
            _ => return Err(malformed(&error)),
        },
    };
    report(&claims, &key, question)
}

/// The key that the token names; without a name there has to be one alone. What else is in the set may be of any kind.
fn key(keys: &Value, kid: Option<&str>) -> Result<Jwk, Refusal> {
    let all = keys.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let found = match (kid, all) {
        (Some(kid), _) => all.iter().find(|key| key.get("kid").and_then(Value::as_str) == Some(kid)),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let found = found
        .ok_or_else(|| Refusal::Chain(format!("the JWK set has no key {:?}", kid.unwrap_or_default())))?;
    let mut key = found.clone();
    if key.get("n").is_none() && key.get("kty").and_then(Value::as_str) == Some("RSA") {
        complete(&mut key)?;
    }
    serde_json::from_value(key).map_err(|error| Refusal::malformed("JWK", error.to_string()))
}

/// Microsoft's sets give RSA keys as certificates alone. The set is the reader's choice, so nothing of these counts but the key.
fn complete(key: &mut Value) -> Result<(), Refusal> {
    let wrong = || Refusal::malformed("JWK", "neither a modulus nor a certificate with an RSA key");
    let first = key.pointer("/x5c/0").and_then(Value::as_str).ok_or_else(wrong)?;
    let der = BASE64_STANDARD.decode(first).map_err(|_| wrong())?;
    let certificate = Certificate::parse(&der).map_err(|_| wrong())?;
    let rsa = RsaPublicKey::from_public_key_der(certificate.spki()).map_err(|_| wrong())?;
    let number = |number: &BoxedUint| BASE64_URL_SAFE_NO_PAD.encode(number.to_be_bytes_trimmed_vartime());
    key["n"] = number(rsa.n().as_ref()).into();
    key["e"] = number(rsa.e()).into();
    Ok(())
}

fn report(claims: &Value, key: &Jwk, question: &Question<'_>) -> Result<Report, Refusal> {
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let expires = time("exp").ok_or_else(|| Refusal::malformed(WHAT, "it does not say when it expires"))?;
    if question.at > expires {
        return Err(Refusal::Time("the token had expired".into()));
    }
    let made = time("iat");
    if question.at < time("nbf").or(made).unwrap_or_default() {
        return Err(Refusal::Time("the token was not yet valid".into()));
    }
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if let Some(policy) = question.policy
        && !policy.issuers().iter().any(|allowed| allowed == issuer)
    {
        return Err(Refusal::Policy(format!("its issuer is {:?}", shown(issuer.as_bytes()))));
    }
    let on = |value: &Value| value.as_bool() == Some(true) || value.as_str() == Some("true");
    let dbgstat = |value: &Value| !value.as_str().is_some_and(|text| text.starts_with("disabled"));
    if DEBUGGABLE.iter().any(|name| anywhere(claims, name, &on)) || anywhere(claims, "dbgstat", &dbgstat) {
        return Err(Refusal::Debug("debugging"));
    }
    let jwk = serde_json::to_vec(key).unwrap_or_default();
    let root = Root { name: shown(issuer.as_bytes()), sha256: sha256(&jwk) };
    let mut report = Report::new(Platform::Token, root, false, question.at);
    report.source = Source::VerifierDerived;
    report.about = format!("what {} looked at", shown(issuer.as_bytes()));
    report.age.made = made;
    report.age.good_until = Some(expires);
    report.claim("iss", shown(issuer.as_bytes()));
    let nonce = ["eat_nonce", "nonce", "verifier_nonce"].iter().find_map(|name| find(claims, name, 0));
    report.nonce = Some(nonce.map(bytes_of).unwrap_or_default());
    flatten("", claims, 0, &mut report);
    Ok(report)
}

/// Whether any claim of this name says so, in whatever part of the token. (Its reader bounds the depth.)
fn anywhere(claims: &Value, name: &str, says: &impl Fn(&Value) -> bool) -> bool {
    match claims {
        Value::Object(claims) => {
            claims.iter().any(|(key, value)| (key == name && says(value)) || anywhere(value, name, says))
        }
        Value::Array(claims) => claims.iter().any(|value| anywhere(value, name, says)),
        _ => false,
    }
}

/// A claim of this name, at any depth.
fn find<'a>(claims: &'a Value, name: &str, depth: usize) -> Option<&'a Value> {
    let object = claims.as_object().filter(|_| depth < MAX_DEPTH)?;
    object.get(name).or_else(|| object.values().find_map(|value| find(value, name, depth + 1)))
}

/// A nonce: hexadecimal where it is that, otherwise its characters. Of a list (EAT allows one) the first.
fn bytes_of(nonce: &Value) -> Vec<u8> {
    let text = nonce.as_str().or_else(|| nonce.get(0)?.as_str()).unwrap_or_default();
    hex::decode(text).unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// Claims under dotted names, for reference values.
fn flatten(prefix: &str, claims: &Value, depth: usize, report: &mut Report) {
    let Some(object) = claims.as_object().filter(|_| depth < MAX_DEPTH) else { return };
    for (name, value) in object {
        if report.measurements.len() == MAX_CLAIMS {
            return;
        }
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let word = match value {
            Value::Object(_) => {
                flatten(&name, value, depth + 1, report);
                continue;
            }
            Value::String(text) => shown(text.as_bytes()),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) => continue,
        };
        report.measurements.insert(shown(name.as_bytes()), word);
    }
}

#[cfg(test)]
mod tests;
