//! Which container is the engine, and where it listens: from its image and how it is started, never from a guess.

mod known;
mod line;

pub(crate) use known::Kind;

use serde_json::Value;

use crate::asked::Asked;
use crate::inject::Refusal;
use crate::ports;
use crate::value::{items, name, text, words};

/// The engine's container, by its place, and what is known of it.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Its place in `spec.containers`.
    pub(crate) index: usize,
    /// What it runs; `None` where only the annotations say.
    pub(crate) kind: Option<Kind>,
}

/// Finds it.
pub(crate) fn find(pod: &Value, asked: &Asked) -> Result<Option<Engine>, Refusal> {
    let containers = items(pod.get("spec").unwrap_or(&Value::Null), "containers");
    if let Some(wanted) = &asked.engine_container {
        let index = containers.iter().position(|container| text(container, "name") == Some(wanted));
        let index = index.ok_or_else(|| {
            Refusal(format!("there is no container `{wanted}`, which the annotation names"))
        })?;
        return Ok(Some(Engine { index, kind: Kind::of(&containers[index]) }));
    }
    let known: Vec<_> = containers
        .iter()
        .enumerate()
        .filter_map(|(at, container)| Some((at, Kind::of(container)?)))
        .collect();
    match (known.as_slice(), containers) {
        ([(index, kind)], _) => Ok(Some(Engine { index: *index, kind: Some(*kind) })),
        // Whoever names its port knows what it is.
        ([], [_]) if asked.engine_port.is_some() => Ok(Some(Engine { index: 0, kind: None })),
        ([], _) => Ok(None),
        (several, _) => {
            let names: Vec<_> =
                several.iter().map(|(at, _)| format!("`{}`", name(&containers[*at]))).collect();
            Err(Refusal(format!(
                "several containers are engines, {}: name one with colophon.dev/engine-container",
                names.join(" and ")
            )))
        }
    }
}

/// Where an engine listens and where its options are.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The first port that clients use.
    pub(crate) clients: u16,
    /// How many ports it has from there on: one, or one for each rank.
    pub(crate) ranks: u16,
    /// What happens to its options.
    pub(crate) options: Options,
}

/// What happens to the engine's options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// It listens elsewhere already, on this port.
    Left(u16),
    /// It is told to.
    Moved,
}

/// Reads where it listens.
pub(crate) fn listening(container: &Value, kind: Option<Kind>, asked: &Asked) -> Result<Listening, Refusal> {
    // The annotation goes first: options within a script cannot be seen.
    let ranks = match (asked.ranks, kind) {
        (Some(ranks), _) => ranks,
        (None, Some(kind)) => kind.ranks(container)?.unwrap_or(1),
        (None, None) => 1,
    };
    let named = match &asked.port {
        None => None,
        Some(port) => {
            Some(ports::resolve(container, &Value::from(port.as_str())).filter(|port| *port > 0).ok_or_else(
                || {
                    Refusal(format!(
                        "colophon.dev/port is \"{port}\": neither a number nor a port of `{}`",
                        name(container)
                    ))
                },
            )?)
        }
    };
    if let Some(engine_port) = asked.engine_port {
        let declared = ports::declared(container);
        let clients = named.or(match declared.as_slice() {
            [only] => Some(*only),
            _ => kind.map(|kind| kind.default_port()),
        });
        let clients = clients.ok_or_else(|| {
            Refusal("colophon.dev/engine-port needs colophon.dev/port: which port do clients use?".into())
        })?;
        let overlap = clients.abs_diff(engine_port) < ranks;
        return match overlap {
            true => Err(Refusal(format!(
                "colophon.dev/engine-port is {engine_port}, which clients use: the engine has to listen elsewhere"
            ))),
            false => Ok(Listening { clients, ranks, options: Options::Left(engine_port) }),
        };
    }
    let Some(kind) = kind else {
        return Err(Refusal(format!(
            "`{}` ({}) is not known to be vLLM, TGI, llama.cpp or SGLang: let it listen on another port of 127.0.0.1, and \
             say which with colophon.dev/engine-port",
            name(container),
            text(container, "image").unwrap_or("no image"),
        )));
    };
    refuse_shells(container)?;
    if let Some(option) = kind.serves_tls(container) {
        return Err(Refusal(format!(
            "`{}` serves TLS itself ({option}): let Colophon do that",
            name(container)
        )));
    }
    let said = kind.port(container)?;
    if let (None, None, Some(option)) = (said, named, kind.config_file(container)) {
        return Err(Refusal(format!(
            "`{}` reads options from a file ({option}), which may say its port: say which port clients use with \
             colophon.dev/port, or as an option beside {option}",
            name(container)
        )));
    }
    let declared = ports::declared(container);
    let clients = match (said, named) {
        (Some(said), Some(named)) if said != named => {
            return Err(Refusal(format!(
                "`{}` is told to listen on {said}, and colophon.dev/port says {named}: where it listens elsewhere \
                 already, say so with colophon.dev/engine-port",
                name(container)
            )));
        }
        (Some(port), _) | (None, Some(port)) => port,
        (None, None) if declared.is_empty() || declared.contains(&kind.default_port()) => kind.default_port(),
        (None, None) => {
            return Err(Refusal(format!(
                "`{}` is not told its port, would listen on {}, and declares {declared:?}: say which clients use with \
                 colophon.dev/port",
                name(container),
                kind.default_port()
            )));
        }
    };
    Ok(Listening { clients, ranks, options: Options::Moved })
}

/// Options within a script cannot be seen, and those after it would be the script's.
fn refuse_shells(container: &Value) -> Result<(), Refusal> {
    let all = [words(container, "command"), words(container, "args")].concat();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    match all.iter().position(|word| line::is_shell(word)) {
        Some(at) if line::script(&all[at + 1..]).is_some() => Err(Refusal(format!(
            "`{}` starts through a shell, so its options cannot be moved: let it listen on another port of 127.0.0.1, and \
             say which with colophon.dev/engine-port",
            name(container)
        ))),
        _ => Ok(()),
    }
}
