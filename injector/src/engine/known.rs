//! The engines that are known: how to tell them, and the options and variables that say where they listen.

use serde_json::{Value, json};

use super::line::{Started, started};
use crate::asked::MOST_RANKS;
use crate::inject::Refusal;
use crate::value::{array, items, name, text, words};

/// Where engines listen once Colophon is in front of them.
const LOOPBACK: &str = "127.0.0.1";

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Vllm,
    Tgi,
    LlamaCpp,
    Sglang,
}

/// How vLLM opens a port for each rank: `--port` and those after it, one server process for each, under a supervisor that says
/// how they all are. With `--data-parallel-size` alone there is one port, whatever the number of ranks.
const A_PORT_EACH: [&str; 2] = ["--data-parallel-multi-port-external-lb", "-dpm"];
const LOCAL_RANKS: [&str; 2] = ["--data-parallel-size-local", "-dpl"];
const SUPERVISOR: &str = "--data-parallel-supervisor-port";
const SUPERVISOR_PORT: u16 = 9256;

/// What its documentation says of it.
struct Facts {
    /// What a command starts where one is given: a program or Python module, and its first argument where it has other uses.
    programs: &'static [(&'static str, Option<&'static str>)],
    /// Last parts of image names.
    images: &'static [&'static str],
    /// Where it listens if nothing else is said.
    port: u16,
    port_options: &'static [&'static str],
    port_variable: Option<&'static str>,
    host_option: &'static str,
    /// The option that names a file with more options, which nobody can see from outside.
    config_option: Option<&'static str>,
    /// Options by which it serves TLS, or a Unix socket.
    others: &'static [&'static str],
    /// Variables that do the same. Variables of hosts are not needed: the option goes before them.
    other_variables: &'static [&'static str],
}

const VLLM: Facts = Facts {
    programs: &[
        ("vllm", Some("serve")),
        ("vllm.entrypoints.cli.main", Some("serve")),
        ("vllm.entrypoints.openai.api_server", None),
    ],
    images: &["vllm-openai", "vllm-openai-rocm", "vllm-cpu-release-repo", "vllm"],
    port: 8000,
    port_options: &["--port"],
    // VLLM_PORT and VLLM_HOST_IP are of its workers among themselves.
    port_variable: None,
    host_option: "--host",
    config_option: Some("--config"),
    others: &["--ssl-keyfile", "--ssl-certfile", "--uds"],
    other_variables: &[],
};

const TGI: Facts = Facts {
    programs: &[("text-generation-launcher", None), ("tgi-entrypoint.sh", None)],
    images: &["text-generation-inference"],
    // The image sets PORT=80; the program's own default is 3000.
    port: 80,
    port_options: &["--port", "-p"],
    port_variable: Some("PORT"),
    host_option: "--hostname",
    config_option: None,
    others: &[],
    other_variables: &[],
};

const LLAMA_CPP: Facts = Facts {
    programs: &[("llama-server", None)],
    images: &["llama.cpp"],
    port: 8080,
    port_options: &["--port"],
    port_variable: Some("LLAMA_ARG_PORT"),
    host_option: "--host",
    config_option: None,
    others: &["--ssl-key-file", "--ssl-cert-file"],
    other_variables: &["LLAMA_ARG_SSL_KEY_FILE", "LLAMA_ARG_SSL_CERT_FILE"],
};

const SGLANG: Facts = Facts {
    programs: &[("sglang.launch_server", None), ("sglang", Some("serve"))],
    // Its image starts nothing by itself: see `of`.
    images: &[],
    port: 30_000,
    port_options: &["--port"],
    port_variable: None,
    host_option: "--host",
    config_option: Some("--config"),
    others: &["--ssl-keyfile", "--ssl-certfile"],
    other_variables: &[],
};

const ALL: [Kind; 4] = [Kind::Vllm, Kind::Tgi, Kind::LlamaCpp, Kind::Sglang];

impl Kind {
    /// What a container runs: by its command where it has one, else by its image.
    pub(crate) fn of(container: &Value) -> Option<Kind> {
        let command = words(container, "command");
        let line = [command.clone(), words(container, "args")].concat();
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        // Engines in scripts are found too, so that it can be said why they are not moved.
        let programs = started(&words);
        let by_line = ALL.into_iter().find(|kind| programs.iter().any(|program| kind.is_started_by(program)));
        match by_line {
            None if command.is_empty() => {
                let image = text(container, "image")?;
                ALL.into_iter().find(|kind| kind.is_image(image.into()))
            }
            found => found,
        }
    }

    fn is_started_by(self, started: &Started<'_>) -> bool {
        let known = |(program, then): &(&str, Option<&str>)| {
            *program == started.program && (then.is_none() || *then == started.then)
        };
        self.facts().programs.iter().any(known)
    }

    fn is_image(self, image: Image<'_>) -> bool {
        let known = self.facts().images.contains(&image.last);
        // llama.cpp has one image of many programs, told apart by tags.
        known && (self != Kind::LlamaCpp || image.tag.is_some_and(|tag| tag.starts_with("server")))
    }

    fn facts(self) -> &'static Facts {
        match self {
            Kind::Vllm => &VLLM,
            Kind::Tgi => &TGI,
            Kind::LlamaCpp => &LLAMA_CPP,
            Kind::Sglang => &SGLANG,
        }
    }

    pub(crate) fn default_port(self) -> u16 {
        self.facts().port
    }

    /// The option or variable by which it serves something that a proxy in front cannot speak, if there is one.
    pub(crate) fn serves_tls(self, container: &Value) -> Option<&'static str> {
        let facts = self.facts();
        let by_option = facts.others.iter().find(|option| is_given(container, option));
        let set = |variable: &&&str| {
            let mut named =
                items(container, "env").iter().filter(|entry| text(entry, "name") == Some(**variable));
            named.any(|entry| text(entry, "value") != Some(""))
        };
        by_option.or_else(|| facts.other_variables.iter().find(set)).copied()
    }

    /// The option by which it takes options from a file, if it is given.
    pub(crate) fn config_file(self, container: &Value) -> Option<&'static str> {
        self.facts().config_option.filter(|option| is_given(container, option))
    }

    /// The port that options or variables name, the last one said.
    pub(crate) fn port(self, container: &Value) -> Result<Option<u16>, Refusal> {
        let mut said: Option<String> = None;
        for list in ["command", "args"] {
            let line = words(container, list);
            for option in self.facts().port_options {
                said = values(&line, option).last().map(|(_, value)| (*value).to_owned()).or(said);
            }
        }
        if said.is_none()
            && let Some(variable) = self.facts().port_variable
        {
            said = self.variable(container, variable)?;
        }
        let Some(said) = said else { return Ok(None) };
        let port = self.number(container, &said)?;
        port.map(Some).ok_or_else(|| {
            Refusal(format!("the port of `{}` is \"{said}\", which is no number", name(container)))
        })
    }

    /// How many ports it opens in a row, where its options have it open one for each rank.
    pub(crate) fn ranks(self, container: &Value) -> Result<Option<u16>, Refusal> {
        if !self.opens_a_port_each(container) {
            return Ok(None);
        }
        let all = [words(container, "command"), words(container, "args")].concat();
        let said = LOCAL_RANKS.iter().filter_map(|option| values(&all, option).pop()).max();
        let ranks = match said {
            Some((_, said)) => self.number(container, said)?,
            None => None,
        };
        match ranks {
            Some(ranks) if ranks <= MOST_RANKS => Ok(Some(ranks)),
            _ => Err(Refusal(format!(
                "`{}` opens a port for each rank, and {} does not say how many: say it with colophon.dev/ranks",
                name(container),
                LOCAL_RANKS[0]
            ))),
        }
    }

    /// Where the supervisor of such ranks listens.
    pub(crate) fn supervisor_port(self, container: &Value) -> Option<u16> {
        if !self.opens_a_port_each(container) {
            return None;
        }
        let all = [words(container, "command"), words(container, "args")].concat();
        match values(&all, SUPERVISOR).pop() {
            Some((_, said)) => self.number(container, said).ok().flatten(),
            None => Some(SUPERVISOR_PORT),
        }
    }

    fn opens_a_port_each(self, container: &Value) -> bool {
        self == Kind::Vllm && A_PORT_EACH.iter().any(|option| is_given(container, option))
    }

    /// A number from 1 on, written out or as `$(VARIABLE)`.
    fn number(self, container: &Value, said: &str) -> Result<Option<u16>, Refusal> {
        let resolved = match said.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')')) {
            Some(variable) => self.variable(container, variable)?.unwrap_or_default(),
            None => said.to_owned(),
        };
        Ok(resolved.parse::<u16>().ok().filter(|number| *number > 0))
    }

    /// A variable's value, where it is plain text.
    fn variable(self, container: &Value, variable: &str) -> Result<Option<String>, Refusal> {
        let found = items(container, "env").iter().rfind(|entry| text(entry, "name") == Some(variable));
        match found {
            None => Ok(None),
            Some(entry) if entry.get("value").is_some() => Ok(text(entry, "value").map(str::to_owned)),
            Some(_) => Err(Refusal(format!(
                "the variable {variable} of `{}` comes from elsewhere: write its port as an option",
                name(container)
            ))),
        }
    }

    /// Tells it to listen on that port of loopback.
    pub(crate) fn move_to(self, container: &mut Value, port: u16) {
        let facts = self.facts();
        let mut told = false;
        for option in facts.port_options {
            told |= set(container, option, &port.to_string());
        }
        if !told {
            append(container, facts.port_options.first().unwrap_or(&"--port"), &port.to_string());
        }
        if !set(container, facts.host_option, LOOPBACK) {
            append(container, facts.host_option, LOOPBACK);
        }
    }
}

/// An image's name, taken apart.
struct Image<'a> {
    /// The last part of the repository's path.
    last: &'a str,
    tag: Option<&'a str>,
}

impl<'a> From<&'a str> for Image<'a> {
    fn from(image: &'a str) -> Image<'a> {
        let name = image.split('@').next().unwrap_or(image);
        let last = name.rsplit('/').next().unwrap_or(name);
        match last.split_once(':') {
            Some((last, tag)) => Image { last, tag: Some(tag) },
            None => Image { last, tag: None },
        }
    }
}

/// Whether a word is that option, alone or with its value. vLLM and llama.cpp take `_` for `-` in long ones.
fn is_option(word: &str, option: &str) -> bool {
    let given = word.split_once('=').map_or(word, |(given, _)| given);
    given == option || (given.starts_with("--") && given.replace('_', "-") == option)
}

fn is_given(container: &Value, option: &str) -> bool {
    let mut line = [words(container, "command"), words(container, "args")].into_iter().flatten();
    line.any(|word| is_option(&word, option))
}

/// The values of an option, `--a b` or `--a=b`, and the places of the words that hold them.
fn values<'a>(line: &'a [String], option: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (at, word) in line.iter().enumerate().filter(|(_, word)| is_option(word, option)) {
        match word.split_once('=') {
            Some((_, value)) => found.push((at, value)),
            None => found.extend(line.get(at + 1).map(|value| (at + 1, value.as_str()))),
        }
    }
    found
}

/// Gives an option another value wherever it is given. Returns whether it was.
fn set(container: &mut Value, option: &str, value: &str) -> bool {
    let mut done = false;
    for list in ["command", "args"] {
        let line = words(container, list);
        for (at, _) in values(&line, option) {
            let joined = is_option(&line[at], option);
            if let Some(word) = container.get_mut(list).and_then(|list| list.get_mut(at)) {
                *word = if joined { json!(format!("{option}={value}")) } else { json!(value) };
                done = true;
            }
        }
    }
    done
}

/// Adds an option to the end of what is given.
fn append(container: &mut Value, option: &str, value: &str) {
    let command_only = !words(container, "command").is_empty() && words(container, "args").is_empty();
    let list = if command_only { "command" } else { "args" };
    if let Some(line) = array(container, list) {
        line.extend([json!(option), json!(value)]);
    }
}

#[cfg(test)]
mod tests;
