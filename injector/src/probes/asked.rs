//! What a probe's program asks for, where that is plain: curl or wget for one URL of this Pod, failing where the answer is an
//! error.

/// Port and path that the command asks for and nothing else; `None` where it does anything more.
pub(super) fn by(command: &[String]) -> Option<(u16, String)> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        [shell, flag, script] if is_shell(shell) && *flag == "-c" => {
            let script = script.trim();
            let script = script.strip_suffix("|| exit 1").unwrap_or(script).trim();
            // Nothing that a shell would make something else of; `?` and `*` are names of files there.
            let plain = |c: char| c.is_ascii_alphanumeric() || " -_./:=+,%".contains(c);
            if !script.chars().all(plain) {
                return None;
            }
            direct(&script.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())
        }
        words => direct(words),
    }
}

fn is_shell(word: &str) -> bool {
    matches!(word, "sh" | "/bin/sh" | "bash" | "/bin/bash")
}

fn direct(words: &[&str]) -> Option<(u16, String)> {
    let (program, rest) = words.split_first()?;
    match *program {
        "curl" | "/usr/bin/curl" => curl(rest),
        "wget" | "/usr/bin/wget" => wget(rest),
        _ => None,
    }
}

/// Without `-f` curl is content with any answer, so a probe by it asks something else.
fn curl(words: &[&str]) -> Option<(u16, String)> {
    let (mut fails, mut url) = (false, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--fail" => fails = true,
            "--silent" | "--show-error" => {}
            "-o" | "--output" => {
                words.next().filter(|to| **to == "/dev/null")?;
            }
            "-m" | "--max-time" | "--connect-timeout" => {
                words.next()?.parse::<u32>().ok()?;
            }
            flags if flags.starts_with('-') && flags.len() > 1 => {
                flags[1..].chars().all(|flag| "fsS".contains(flag)).then_some(())?;
                fails |= flags.contains('f');
            }
            other => {
                if url.replace(other).is_some() {
                    return None;
                }
            }
        }
    }
    here(url?).filter(|_| fails)
}

fn wget(words: &[&str]) -> Option<(u16, String)> {
    let mut url = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-q" | "--quiet" | "--spider" | "-qO-" | "-O-" | "-nv" | "--no-verbose" => {}
            "-O" | "-qO" => {
                words.next().filter(|to| ["-", "/dev/null"].contains(to))?;
            }
            "-T" | "-t" => {
                words.next()?.parse::<u32>().ok()?;
            }
            flag if flag.starts_with('-') => return None,
            other => {
                if url.replace(other).is_some() {
                    return None;
                }
            }
        }
    }
    here(url?)
}

/// Port and path of a URL of this Pod.
fn here(url: &str) -> Option<(u16, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, 80),
    };
    // A fragment is not sent; a comma would end the value of --probe-path.
    let plain = !path.contains(['#', ',']) && path.chars().all(|c| c.is_ascii_graphic());
    (["localhost", "127.0.0.1"].contains(&host) && plain).then(|| (port, path.to_owned()))
}

#[cfg(test)]
mod tests;
