//! The language as an editor sees it. `policy.schema.json` is made from the types below, and has to agree with the parser.

mod validate;

use crate::{Policy, SCHEMA, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use validate::valid;

/// Which exchanges ask for which level. The files of one folder are one policy, in the order of their names.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts, here and below")]
struct ProvenancePolicy {
    api_version: ApiVersion,
    kind: Kind,
    metadata: Metadata,
    spec: Spec,
}

#[derive(JsonSchema)]
#[expect(dead_code)]
enum ApiVersion {
    #[schemars(rename = "colophon.dev/v1alpha1")]
    V1Alpha1,
}

#[derive(JsonSchema)]
#[expect(dead_code)]
enum Kind {
    ProvenancePolicy,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code)]
struct Metadata {
    /// The same in all files of one policy.
    #[schemars(length(min = 1, max = 128))]
    name: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code)]
struct Spec {
    /// What holds where no rule matches.
    defaults: Option<Defaults>,
    /// Clients may ask for a level up to this one by `Colophon-Level`. Absent: they cannot raise it.
    client_may_raise_to: Option<Level>,
    /// Attested servers that rules may name.
    #[schemars(length(min = 1))]
    upstreams: Option<Vec<Upstream>>,
    /// Provers that rules may name.
    #[schemars(length(min = 1))]
    provers: Option<Vec<Prover>>,
    /// The first that matches decides.
    #[schemars(length(min = 1))]
    rules: Option<Vec<Rule>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code)]
struct Defaults {
    /// Absent: commit.
    level: Option<Level>,
    /// Absent: Ignore.
    failure_policy: Option<FailurePolicy>,
}

/// pass: forwarded and counted. commit: recorded and logged. sign: the answer is signed too. tee, zk: evidence is asked for;
/// where it cannot be given, failurePolicy decides, and the record says so.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code)]
enum Level {
    Pass,
    Commit,
    Sign,
    Tee,
    Zk,
}

/// What happens if the level cannot be reached. Fail: 503, recorded. Ignore: it goes on at the level that can be reached.
#[derive(JsonSchema)]
#[expect(dead_code)]
enum FailurePolicy {
    Fail,
    Ignore,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code)]
struct Upstream {
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// https://host:port
    #[schemars(regex(pattern = "^[hH][tT][tT][pP][sS]://"))]
    url: String,
    /// What its evidence has to say: the spec of an attestation policy, as `colophon attest pin` writes it. Without, `tee`
    /// cannot be given there.
    #[schemars(extend("minProperties" = 1))]
    attestation: Option<BTreeMap<String, Value>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code)]
struct Prover {
    #[schemars(length(min = 1, max = 128))]
    name: String,
    backend: Backend,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code)]
enum Backend {
    Exec,
    Http,
    Native,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("anyOf" = [{"required": ["level"]}, {"required": ["deny"]}]))]
#[expect(dead_code)]
struct Rule {
    /// Stands in records; no two rules have one.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// Any of these. Absent: everything.
    #[schemars(length(min = 1))]
    matches: Option<Vec<Match>>,
    level: Option<Level>,
    failure_policy: Option<FailurePolicy>,
    sample: Option<Sample>,
    /// How long after its record evidence may come: 30s, 10m, 24h, 7d.
    #[schemars(regex(pattern = "^[0-9]+[smhd]$"))]
    deadline: Option<String>,
    on_miss: Option<OnMiss>,
    /// The prover to use, by name.
    #[schemars(length(min = 1, max = 128))]
    prover: Option<String>,
    /// The attested server that answers, by name; of several the first that proves itself.
    upstream: Option<OneOrMore>,
    deny: Option<Deny>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code)]
enum OneOrMore {
    One(#[schemars(length(min = 1, max = 128))] String),
    More(#[schemars(length(min = 1, max = 8))] Vec<String>),
}

/// The share of exchanges that is drawn for a higher level.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code)]
struct Sample {
    /// Above 0, at most 100, with 6 decimals at most.
    #[schemars(range(min = 0.000001, max = 100.0))]
    percent: f64,
    to: Drawn,
    draw: Draw,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code)]
enum Drawn {
    Sign,
    Tee,
    Zk,
}

/// Local: by the proxy. PostCommit: by public randomness that comes after the record.
#[derive(JsonSchema)]
#[expect(dead_code)]
enum Draw {
    Local,
    PostCommit,
}

/// What else happens if evidence misses its deadline. Alert: an error in the proxy's log, and a counter. Fail: also, what the rule
/// matches is refused until evidence is made again.
#[derive(JsonSchema)]
#[expect(dead_code)]
enum OnMiss {
    Downgrade,
    Alert,
    Fail,
}

/// The request is refused with 403, and the refusal is recorded.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code)]
struct Deny {
    /// Goes into the answer and the record.
    #[schemars(length(min = 1, max = 256))]
    reason: String,
}

/// Everything that is named has to hold together.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
#[expect(dead_code)]
struct Match {
    /// In capitals.
    #[schemars(length(min = 1))]
    method: Option<String>,
    path: Option<PathMatch>,
    #[schemars(length(min = 1))]
    headers: Option<Vec<Named>>,
    /// Parameters of the query.
    #[schemars(length(min = 1))]
    query: Option<Vec<Named>>,
    /// What the request is, whatever its spelling.
    #[schemars(length(min = 1))]
    apis: Option<Vec<Api>>,
    #[schemars(length(min = 1))]
    models: Option<Vec<Glob>>,
    #[schemars(length(min = 1))]
    tenants: Option<Vec<Glob>>,
    #[schemars(length(min = 1))]
    callers: Option<Vec<Glob>>,
    /// Whether the request asks for a stream.
    stream: Option<bool>,
    #[schemars(length(min = 1))]
    body: Option<Vec<BodyMatch>>,
}

/// `*` any run of characters, `?` one, `[a-z]` a class, `{a,b}` a choice; over the whole name.
struct Glob;

impl JsonSchema for Glob {
    fn schema_name() -> Cow<'static, str> {
        "Glob".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "`*` any run of characters, `?` one, `[a-z]` a class, `{a,b}` a choice; over the whole name.",
            "type": "string", "minLength": 1, "maxLength": 4096
        })
    }
}

/// The APIs, as the parser knows them.
struct Api;

impl JsonSchema for Api {
    fn schema_name() -> Cow<'static, str> {
        "Api".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = crate::Api::ALL.map(crate::Api::as_str);
        schemars::json_schema!({"description": "What a request is.", "type": "string", "enum": names})
    }
}

/// Compared with the path after normalisation.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code)]
struct PathMatch {
    r#type: PathType,
    #[schemars(length(min = 1, max = 4096))]
    value: String,
}

#[derive(JsonSchema)]
#[expect(dead_code)]
enum PathType {
    Exact,
    PathPrefix,
    RegularExpression,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code)]
struct Named {
    #[schemars(length(min = 1, max = 4096))]
    name: String,
    /// Absent: Exact.
    r#type: Option<NamedType>,
    #[schemars(length(min = 1, max = 4096))]
    value: String,
}

#[derive(JsonSchema)]
#[expect(dead_code)]
enum NamedType {
    Exact,
    RegularExpression,
}

/// What is asked of the value at a JSON Pointer (RFC 6901) into the body.
#[derive(JsonSchema)]
#[schemars(tag = "op", deny_unknown_fields)]
#[expect(dead_code)]
enum BodyMatch {
    /// Anything is there, null included.
    Exists {
        #[schemars(regex(pattern = "^/"))]
        pointer: String,
    },
    Equals {
        #[schemars(regex(pattern = "^/"))]
        pointer: String,
        value: Scalar,
    },
    In {
        #[schemars(regex(pattern = "^/"))]
        pointer: String,
        #[schemars(length(min = 1))]
        values: Vec<Scalar>,
    },
    /// A regular expression over the whole text.
    Matches {
        #[schemars(regex(pattern = "^/"))]
        pointer: String,
        #[schemars(length(min = 1, max = 4096))]
        value: String,
    },
}

struct Scalar;

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": ["string", "number", "boolean", "null"]})
    }
}

fn generated() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ProvenancePolicy>();
    let mut schema = schema.to_value();
    without_null(&mut schema);
    schema["$id"] = json!("https://colophon.dev/schemas/policy-v1alpha1.json");
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

/// A key is absent or has a value: `null` is an error.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some([kind, null]) = members.get("type").and_then(Value::as_array).map(Vec::as_slice)
                && null == "null"
            {
                let kind = kind.clone();
                members.insert("type".into(), kind);
            }
            if let Some([one, null]) = members.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
                && *null == json!({"type": "null"})
            {
                let one = one.as_object().unwrap().clone();
                members.remove("anyOf");
                members.extend(one);
            }
            members.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

#[test]
fn the_published_schema_is_the_one_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policy.schema.json");
    if std::env::var_os("COLOPHON_WRITE_SCHEMA").is_some() {
        std::fs::write(path, generated()).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    // As values: the order of keys is a feature of serde_json that any crate of the build may turn on.
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    assert!(
        value(&published).is_some() && value(&published) == value(&generated()),
        "run this test with COLOPHON_WRITE_SCHEMA=1, and look at the difference"
    );
}

/// Every key of the language.
const EVERYTHING: &str = r#"{
  "apiVersion": "colophon.dev/v1alpha1", "kind": "ProvenancePolicy", "metadata": {"name": "all"},
  "spec": {
    "defaults": {"level": "commit", "failurePolicy": "Ignore"}, "clientMayRaiseTo": "zk",
    "upstreams": [{"name": "enclave", "url": "https://10.0.0.7:8443", "attestation": {"gpu": "off", "platforms": {}}},
                  {"name": "spare", "url": "https://10.0.0.8:8443"}],
    "provers": [{"name": "ezkl", "backend": "exec"}],
    "rules": [
      {"name": "a", "level": "tee", "failurePolicy": "Fail", "upstream": ["enclave", "spare"], "deadline": "10m", "onMiss": "Alert",
       "matches": [
         {"method": "POST", "path": {"type": "Exact", "value": "/a"}, "headers": [{"name": "x", "type": "Exact", "value": "y"}],
          "query": [{"name": "q", "type": "RegularExpression", "value": "y+"}], "apis": ["chat", "classify"], "models": ["m*"],
          "tenants": ["t"], "callers": ["c"], "stream": true,
          "body": [{"pointer": "/a", "op": "Exists"}, {"pointer": "/b", "op": "Equals", "value": null},
                   {"pointer": "/c", "op": "In", "values": [1, true, "x"]}, {"pointer": "/d", "op": "Matches", "value": "x.*"}]}]},
      {"name": "b", "level": "sign", "sample": {"percent": 0.5, "to": "zk", "draw": "PostCommit"}, "prover": "ezkl"},
      {"name": "c", "deny": {"reason": "no"}}]}}"#;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn parses(policy: &Value) -> bool {
    // JSON is YAML.
    Policy::parse(&policy.to_string(), "p.json").is_ok()
}

#[test]
fn the_shipped_policies_are_valid() {
    let everything: Value = serde_json::from_str(EVERYTHING).unwrap();
    assert_eq!(valid(&schema(), &everything), Ok(()));
    assert!(parses(&everything), "{:?}", Policy::parse(EVERYTHING, "p.json").err());
    for text in [
        include_str!("../../profiles/default.yaml"),
        include_str!("../../../examples/policies/by-model.yaml"),
        include_str!("../../../examples/policies/sign-answers.yaml"),
    ] {
        let policy: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(valid(&schema(), &policy), Ok(()));
        assert!(parses(&policy));
    }
}

/// All policies that differ from `value` in one place: a key renamed, a value of another type, a list emptied.
fn damaged(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let mut renamed = members.clone();
                renamed.remove(key);
                renamed.insert(format!("{key}X"), member.clone());
                all.push(Value::Object(renamed));
                for inner in damaged(member) {
                    let mut changed = members.clone();
                    changed.insert(key.clone(), inner);
                    all.push(Value::Object(changed));
                }
            }
            let mut more = members.clone();
            more.insert("extra".into(), json!(1));
            all.push(Value::Object(more));
        }
        Value::Array(items) => {
            all.push(json!([]));
            for (at, item) in items.iter().enumerate() {
                for inner in damaged(item) {
                    let mut changed = items.clone();
                    changed[at] = inner;
                    all.push(Value::Array(changed));
                }
            }
        }
        _ => {}
    }
    all.extend([
        json!(7),
        json!(""),
        json!("nonsense word?"),
        json!(true),
        json!(null),
        json!({}),
        json!([1]),
    ]);
    all
}

#[test]
fn parser_and_schema_refuse_the_same() {
    let everything: Value = serde_json::from_str(EVERYTHING).unwrap();
    let schema = schema();
    let all = damaged(&everything);
    let (mut refused, mut stricter) = (0, BTreeSet::new());
    for policy in &all {
        let valid = valid(&schema, policy);
        match (parses(policy), valid) {
            (true, Err(why)) => panic!("the schema refuses what the parser takes: {why}\n{policy}"),
            (false, Ok(())) => {
                // What a schema cannot say: names that are not defined, methods in small letters and the like.
                let error = Policy::parse(&policy.to_string(), "p.json").unwrap_err();
                stricter.insert(error.message().to_owned());
            }
            (false, Err(_)) => refused += 1,
            (true, Ok(())) => {}
        }
    }
    assert!(refused > 300 && refused * 10 > all.len() * 7, "only {refused} of {}", all.len());
    let structural = ["unknown key ", "", "duplicate key "];
    assert!(structural.iter().all(|word| !stricter.contains(*word)), "{stricter:?}");
}

#[test]
fn parser_and_schema_know_the_same_keys() {
    let schema = schema();
    let keys = |pointer: &str| -> BTreeSet<String> {
        schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let known = |keys: &[&str]| -> BTreeSet<String> { keys.iter().map(ToString::to_string).collect() };
    assert_eq!(keys("/$defs/Rule/properties"), known(&read::rule::KEYS));
    assert_eq!(keys("/$defs/Match/properties"), known(&read::matches::KEYS));
    assert_eq!(keys("/$defs/Spec/properties"), known(&read::SPEC_KEYS));
}
