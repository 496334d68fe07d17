//! What a reader asks of evidence: reference values, TCB floors, ages, and whether a GPU has to be there.
//!
//! ```yaml
//! apiVersion: colophon.dev/v1alpha1
//! kind: AttestationPolicy
//! metadata: {name: upstream-a}
//! spec:
//!   gpu: require                   # off, record (default) or require
//!   maxAge: 24h                    # of evidence that carries its own time
//!   maxCollateralAge: 30d
//!   platforms:                     # what is not listed is refused
//!     tdx:
//!       referenceValues: {mr_td: ["ab12…"], rt_mr1: ["…", "…"]}
//!       tcb: {statuses: [UpToDate, SWHardeningNeeded], minimum: {evaluation_data_number: 17}}
//! ```
//!
//! Debugging and migration are refused always; there is no key that allows them, and none that makes simulated evidence
//! pass as hardware. Unknown keys are errors.

use crate::intel::TcbRules;
use crate::{Platform, Refusal, Report, Speaks};
use dcap_qvl::TcbStatus;
use serde::{Deserialize, Serialize};
use serde_saphyr::DuplicateKeyPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod pin;

pub use pin::pin;

/// The only value of `apiVersion`.
pub const API_VERSION: &str = "colophon.dev/v1alpha1";
/// The only value of `kind`.
pub const KIND: &str = "AttestationPolicy";
/// A policy is never longer.
pub const MAX_BYTES: usize = 1 << 20;

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Whether GPUs have to be there.
    pub gpu: Gpu,
    max_age: Option<Duration>,
    max_collateral_age: Option<Duration>,
    speaks: Speaks,
    platforms: BTreeMap<Platform, Rules>,
}

/// What happens with evidence of GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gpu {
    /// It is passed over.
    Off,
    /// Where it is there, it is verified and has to be good.
    #[default]
    Record,
    /// At least one has to be there.
    Require,
}

/// Rules for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    reference_values: BTreeMap<String, BTreeSet<String>>,
    minimum: BTreeMap<String, u64>,
    intel: TcbRules,
    issuers: Vec<String>,
}

/// Why a file is no attestation policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_BYTES`].
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not YAML, or not of this shape. Names line and column.
    #[error("{0}")]
    Yaml(String),
    /// Another version or kind.
    #[error("not an attestation policy: apiVersion must be {API_VERSION} and kind {KIND}")]
    Kind,
    /// A value means nothing.
    #[error("{0}")]
    Value(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    gpu: Gpu,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_collateral_age: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    speaks: Speaks,
    platforms: BTreeMap<Platform, PlatformSpec>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PlatformSpec {
    #[serde(default, skip_serializing_if = "is_default")]
    reference_values: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "is_default")]
    tcb: TcbSpec,
    #[serde(default, skip_serializing_if = "is_default")]
    issuers: Vec<String>,
}

#[derive(Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TcbSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    statuses: Option<Vec<TcbStatus>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    rejected_advisories: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    minimum: BTreeMap<String, u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl File {
    fn read(text: &str) -> Result<File, PolicyError> {
        if text.len() > MAX_BYTES {
            return Err(PolicyError::TooLong);
        }
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        let file: File = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| PolicyError::Yaml(error.to_string()))?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(PolicyError::Kind);
        }
        Ok(file)
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] says what is wrong, and where.
    pub fn from_yaml(text: &str) -> Result<Policy, PolicyError> {
        let file = File::read(text)?;
        Policy::compile(file.metadata.name, file.spec)
    }

    /// The `spec` of a policy, as it stands in other files: [`Policy::from_spec`] reads it.
    ///
    /// # Errors
    /// As [`Policy::from_yaml`].
    pub fn spec_of(text: &str) -> Result<serde_json::Value, PolicyError> {
        let file = File::read(text)?;
        let spec = serde_json::to_value(&file.spec).map_err(|error| PolicyError::Value(error.to_string()))?;
        Policy::compile(file.metadata.name, file.spec)?;
        Ok(spec)
    }

    fn compile(name: String, spec: Spec) -> Result<Policy, PolicyError> {
        if spec.platforms.is_empty() {
            return Err(PolicyError::Value("spec.platforms names no platform, so nothing could pass".into()));
        }
        let mut platforms = BTreeMap::new();
        for (platform, listed) in spec.platforms {
            platforms.insert(platform, rules(platform, listed)?);
        }
        let age = |text: Option<String>| text.as_deref().map(duration).transpose();
        Ok(Policy {
            name,
            gpu: spec.gpu,
            max_age: age(spec.max_age)?,
            max_collateral_age: age(spec.max_collateral_age)?,
            speaks: spec.speaks,
            platforms,
        })
    }

    /// Compiles a policy's `spec`, as it stands in another file.
    ///
    /// # Errors
    /// As [`Policy::from_yaml`].
    pub fn from_spec(name: &str, spec: &serde_json::Value) -> Result<Policy, PolicyError> {
        let spec = Spec::deserialize(spec).map_err(|error| PolicyError::Yaml(error.to_string()))?;
        Policy::compile(name.to_owned(), spec)
    }

    /// In which form whoever is asked says it.
    pub fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// The same for a server that says it in another form.
    #[must_use]
    pub fn with_speaks(self, speaks: Speaks) -> Policy {
        Policy { speaks, ..self }
    }

    /// The rules for the TCB of one of Intel's platforms; of one that is not listed, the default's.
    pub(crate) fn intel_tcb(&self, platform: Platform) -> TcbRules {
        let rules = self.platforms.get(&platform);
        rules.map(|rules| rules.intel.clone()).unwrap_or_default()
    }

    /// Whose tokens count.
    pub fn issuers(&self) -> &[String] {
        self.platforms.get(&Platform::Token).map_or(&[], |rules| &rules.issuers)
    }

    /// Whether evidence of this platform is looked at: `gpu: off` passes over GPUs and NVSwitches.
    pub fn looks_at(&self, platform: Platform) -> bool {
        self.gpu != Gpu::Off || !matches!(platform, Platform::NvidiaGpu | Platform::NvidiaSwitch)
    }

    /// What is asked of all pieces of one machine together, each of them verified.
    ///
    /// # Errors
    /// When a GPU is required and none is there, or one of them answers another nonce than the rest.
    pub fn judge_together(&self, reports: &[&Report]) -> Result<(), Refusal> {
        let gpus: Vec<&&Report> =
            reports.iter().filter(|report| report.platform == Platform::NvidiaGpu).collect();
        if self.gpu == Gpu::Require && gpus.is_empty() {
            return Err(Refusal::Policy("it requires evidence of a GPU".into()));
        }
        match gpus.windows(2).find(|pair| pair[0].nonce != pair[1].nonce) {
            Some(pair) => Err(Refusal::Nonce(hex::encode(pair[1].nonce.as_deref().unwrap_or_default()))),
            None => Ok(()),
        }
    }

    /// Compares what verified evidence says with this policy, and marks the report.
    pub(crate) fn judge(&self, report: &mut Report) -> Result<(), Refusal> {
        let rules = self.platforms.get(&report.platform);
        let rules = rules.ok_or_else(|| Refusal::Policy(format!("it does not list {}", report.platform)))?;
        for (name, allowed) in &rules.reference_values {
            let got = report.measurements.get(name);
            let got = got.ok_or_else(|| Refusal::Policy(format!("the evidence has no {name}")))?;
            if !allowed.contains(got) {
                return Err(Refusal::Measurement { name: name.clone(), got: got.clone() });
            }
        }
        for (name, floor) in &rules.minimum {
            let got = report.tcb.get(name);
            let got = got.ok_or_else(|| Refusal::Policy(format!("the evidence has no TCB number {name}")))?;
            if got < floor {
                return Err(Refusal::Tcb(format!("{name} is {got}, the policy's floor is {floor}")));
            }
        }
        check_age("the evidence", report.age.made, self.max_age, report.at)?;
        check_age("its collateral", report.age.collateral_from, self.max_collateral_age, report.at)?;
        report.compared = true;
        Ok(())
    }
}

fn check_age(what: &str, made: Option<u64>, longest: Option<Duration>, at: u64) -> Result<(), Refusal> {
    match (made, longest) {
        (Some(made), Some(longest)) if at.saturating_sub(made) > longest.as_secs() => {
            let age = at.saturating_sub(made);
            Err(Refusal::Policy(format!(
                "{what} is {age} s old, at most {} s are allowed",
                longest.as_secs()
            )))
        }
        _ => Ok(()),
    }
}

fn rules(platform: Platform, spec: PlatformSpec) -> Result<Rules, PolicyError> {
    let wrong = |why: String| PolicyError::Value(format!("spec.platforms.{platform}: {why}"));
    let intel = matches!(platform, Platform::Tdx | Platform::Sgx);
    if !intel
        && (spec.tcb.statuses.is_some()
            || spec.tcb.grace.is_some()
            || !spec.tcb.rejected_advisories.is_empty())
    {
        return Err(wrong("tcb.statuses, grace and rejectedAdvisories are Intel's; give a minimum".into()));
    }
    if (platform == Platform::Token) == spec.issuers.is_empty() {
        return Err(wrong("issuers belong to tokens, and tokens need them".into()));
    }
    if spec.reference_values.is_empty() && platform != Platform::Token {
        return Err(wrong(
            "referenceValues is empty: any genuine machine would pass, the attacker's too".into(),
        ));
    }
    let launched = ["sev_snp_measurement", "tdx_mr_td"];
    if platform == Platform::AzureVtpm
        && !launched.iter().any(|name| spec.reference_values.contains_key(*name))
    {
        return Err(wrong(format!(
            "referenceValues has neither {}: whoever runs another guest on genuine hardware makes the vTPM, and the PCRs, himself",
            launched.join(" nor ")
        )));
    }
    let mut reference_values = BTreeMap::new();
    for (name, values) in spec.reference_values {
        if values.is_empty() {
            return Err(wrong(format!("referenceValues.{name} is empty, so nothing could pass")));
        }
        reference_values.insert(name, values.iter().map(|value| normal(value)).collect());
    }
    let intel = TcbRules {
        statuses: spec.tcb.statuses.unwrap_or_else(|| vec![TcbStatus::UpToDate]),
        grace: spec.tcb.grace.as_deref().map(duration).transpose()?.unwrap_or_default(),
        rejected_advisories: spec.tcb.rejected_advisories,
    };
    if intel.statuses.contains(&TcbStatus::Revoked) {
        return Err(wrong("a revoked TCB is never accepted".into()));
    }
    Ok(Rules { reference_values, minimum: spec.tcb.minimum, intel, issuers: spec.issuers })
}

/// Digests in lower case, whatever the tool that wrote them; anything else as it is.
fn normal(value: &str) -> String {
    let value = value.trim();
    match value.len() >= 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => value.to_ascii_lowercase(),
        false => value.to_owned(),
    }
}

/// `90s`, `30m`, `24h`, `30d`.
fn duration(text: &str) -> Result<Duration, PolicyError> {
    let parse = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
    };
    parse().ok_or_else(|| PolicyError::Value(format!("{text:?} is no time; write 90s, 30m, 24h or 30d")))
}

#[cfg(test)]
mod tests;
