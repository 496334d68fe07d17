//! From policies as typed to one in force: files are merged, names looked up, expressions compiled.

mod matches;
mod rule;

use crate::actions::FailurePolicy;
use crate::ast::{Backend, Document, Placed};
use crate::error::{Fault, Place, PolicyError, Warning, shown, suggestion};
use crate::matching::body::Pointer;
use crate::policy::{Rule, Upstream};
use colophon_receipt::Level;
use std::collections::HashMap;

/// A policy may have this many rules, in all its files,
const MAX_RULES: usize = 1024;
/// this many compiled expressions and globs,
const MAX_PATTERNS: usize = 4096;
/// and ask for this many different values in bodies.
const MAX_POINTERS: usize = 64;

/// A file of a policy: its name, and what it says.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) document: Document,
}

/// What the files say together.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) name: String,
    pub(crate) default_level: Level,
    pub(crate) default_failure_policy: FailurePolicy,
    pub(crate) ceiling: Level,
    pub(crate) rules: Vec<Rule>,
    pub(crate) pointers: Vec<Pointer>,
    /// In the order of names.
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) provers: Vec<(String, Backend)>,
    /// Levels asked for, and where.
    pub(crate) asked: Vec<Asked>,
    pub(crate) warnings: Vec<Warning>,
}

/// A level that the policy asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) level: Level,
    pub(crate) place: Place,
    /// For what is drawn only.
    pub(crate) drawn: bool,
}

/// What is known while the rules of all files are compiled.
struct Compiler {
    compiled: Compiled,
    patterns_left: usize,
    /// Where each rule is.
    names: HashMap<String, Place>,
    used: Vec<String>,
}

/// Compiles the files in the order given.
pub(crate) fn compile(files: &[File]) -> Result<Compiled, PolicyError> {
    let mut compiler = Compiler {
        compiled: Compiled {
            name: String::new(),
            default_level: Level::Commit,
            default_failure_policy: FailurePolicy::Ignore,
            ceiling: Level::Pass,
            rules: Vec::new(),
            pointers: Vec::new(),
            upstreams: Vec::new(),
            provers: Vec::new(),
            asked: Vec::new(),
            warnings: Vec::new(),
        },
        patterns_left: MAX_PATTERNS,
        names: HashMap::new(),
        used: Vec::new(),
    };
    compiler.settings(files)?;
    for file in files {
        for rule in &file.document.spec.rules {
            compiler.rule(&file.name, rule).map_err(|fault| PolicyError::new(&file.name, fault))?;
        }
    }
    compiler.unused(files);
    Ok(compiler.compiled)
}

impl Compiler {
    /// Everything but the rules: what may stand in one file only, and definitions, which rules of any file may use.
    fn settings(&mut self, files: &[File]) -> Result<(), PolicyError> {
        let mut name: Option<(&str, Place)> = None;
        let (mut defaults, mut ceiling) = (None, None);
        let mut defined = HashMap::new();
        for file in files {
            let wrong = |fault| PolicyError::new(&file.name, fault);
            let Document { name: this, spec } = &file.document;
            match &name {
                Some((first, place)) if *first != this.value => {
                    return Err(wrong(Fault::new(
                        this.at,
                        format!("the files of one policy have one name, and it is `{first}` at {place}"),
                    )));
                }
                Some(_) => {}
                None => name = Some((&this.value, Place::new(&file.name, this.at))),
            }
            if let Some(given) = &spec.defaults {
                once(&mut defaults, "defaults", file, given).map_err(wrong)?;
                self.compiled.default_level = given.value.level.unwrap_or(Level::Commit);
                self.compiled.default_failure_policy =
                    given.value.failure_policy.unwrap_or(FailurePolicy::Ignore);
                let (level, place) = (self.compiled.default_level, Place::new(&file.name, given.at));
                self.compiled.asked.push(Asked { level, place, drawn: false });
            }
            if let Some(given) = &spec.ceiling {
                once(&mut ceiling, "clientMayRaiseTo", file, given).map_err(wrong)?;
                self.compiled.ceiling = given.value;
                let (level, place) = (given.value, Place::new(&file.name, given.at));
                self.compiled.asked.push(Asked { level, place, drawn: false });
            }
            for upstream in &spec.upstreams {
                define(&mut defined, "upstream", file, &upstream.name).map_err(wrong)?;
                self.compiled.upstreams.push(Upstream {
                    name: upstream.name.value.clone(),
                    url: upstream.url.clone(),
                    attestation: upstream.attestation.as_ref().map(|given| given.value.clone()),
                    place: Place::new(
                        &file.name,
                        upstream.attestation.as_ref().map_or(upstream.name.at, |given| given.at),
                    ),
                });
            }
            for prover in &spec.provers {
                define(&mut defined, "prover", file, &prover.name).map_err(wrong)?;
                self.compiled.provers.push((prover.name.value.clone(), prover.backend));
            }
        }
        self.compiled.name = name.map(|(name, _)| name.to_owned()).unwrap_or_default();
        self.compiled.upstreams.sort_by(|a, b| a.name.cmp(&b.name));
        self.compiled.provers.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(())
    }

    /// Warns of definitions that no rule uses.
    fn unused(&mut self, files: &[File]) {
        for file in files {
            let spec = &file.document.spec;
            let upstreams = spec.upstreams.iter().map(|upstream| ("upstream", &upstream.name));
            for (what, name) in upstreams.chain(spec.provers.iter().map(|prover| ("prover", &prover.name))) {
                if !self.used.contains(&format!("{what} {}", name.value)) {
                    let place = Place::new(&file.name, name.at);
                    let message = format!("no rule uses the {what} `{}`", name.value);
                    self.compiled.warnings.push(Warning { place, message });
                }
            }
        }
    }

    /// A name that a rule uses has to be defined.
    fn defined<'a>(
        &mut self,
        what: &str,
        name: &'a Placed<String>,
        known: impl Iterator<Item = String>,
    ) -> Result<&'a str, Fault> {
        let known: Vec<String> = known.collect();
        if known.contains(&name.value) {
            self.used.push(format!("{what} {}", name.value));
            return Ok(&name.value);
        }
        let mut hint = suggestion(&name.value, known.iter().map(String::as_str));
        if hint.is_empty() {
            hint = format!("; define it under `spec.{what}s`");
        }
        Err(Fault::new(name.at, format!("the {what} `{}` is not defined{hint}", shown(&name.value))))
    }

    /// Counts an expression or a glob against the policy's allowance.
    fn pattern<'a>(&mut self, pattern: &'a Placed<String>) -> Result<&'a str, Fault> {
        self.patterns_left = self.patterns_left.checked_sub(1).ok_or_else(|| {
            Fault::new(
                pattern.at,
                format!("more than {MAX_PATTERNS} paths, values, expressions and globs in one policy"),
            )
        })?;
        Ok(&pattern.value)
    }
}

fn once<T>(first: &mut Option<Place>, key: &str, file: &File, given: &Placed<T>) -> Result<(), Fault> {
    if let Some(place) = first {
        return Err(Fault::new(given.at, format!("`{key}` is given already at {place}")));
    }
    *first = Some(Place::new(&file.name, given.at));
    Ok(())
}

fn define(
    defined: &mut HashMap<String, Place>,
    what: &str,
    file: &File,
    name: &Placed<String>,
) -> Result<(), Fault> {
    let place = Place::new(&file.name, name.at);
    match defined.insert(format!("{what} {}", name.value), place) {
        None => Ok(()),
        Some(first) => Err(Fault::new(
            name.at,
            format!("a second {what} named `{}`; the first is at {first}", name.value),
        )),
    }
}
