//! Which programs a command line starts. Only a program's own place counts: a path that ends in `vllm` may be anything.

/// Shells: what they start is within a script.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish"];

/// Programs and words of a script that only start what comes after their options. Python is one too: that is the module of
/// `-m`, or a file.
const WRAPPERS: [&str; 11] = [
    "env",
    "exec",
    "tini",
    "dumb-init",
    "catatonit",
    "nohup",
    "nvidia_entrypoint.sh",
    "then",
    "do",
    "else",
    "!",
];

/// A program that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Started<'a> {
    /// The last part of its path, or the whole name of a Python module.
    pub(crate) program: &'a str,
    /// The word after it.
    pub(crate) then: Option<&'a str>,
}

fn last_part(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

pub(crate) fn is_shell(word: &str) -> bool {
    SHELLS.contains(&last_part(word))
}

/// The script among what follows a shell's name, if there is one.
pub(crate) fn script<'a>(after_shell: &[&'a str]) -> Option<&'a str> {
    let flag = after_shell.iter().position(|word| word.starts_with('-') && word.ends_with('c'))?;
    after_shell.get(flag + 1).copied()
}

/// The programs that a line starts: one, or those of a shell's script.
pub(crate) fn started<'a>(line: &[&'a str]) -> Vec<Started<'a>> {
    let mut line = line;
    while let Some((first, rest)) = line.split_first() {
        let program = last_part(first);
        if is_shell(first) {
            return script(rest).map(of_script).unwrap_or_default();
        }
        let is_python = program.strip_prefix("python").is_some_and(|version| {
            version.chars().all(|character| character.is_ascii_digit() || character == '.')
        });
        let assigns = first.contains('=') && !first.starts_with('-');
        if !(is_python || assigns || WRAPPERS.contains(&program)) {
            return vec![Started { program, then: rest.first().copied() }];
        }
        let options = rest.iter().take_while(|word| word.starts_with('-')).count();
        line = &rest[options..];
    }
    Vec::new()
}

/// Not a shell's grammar: what is found in a script is refused anyway, so this only decides which refusal it is.
fn of_script(script: &str) -> Vec<Started<'_>> {
    let commands = script.split(['\n', ';', '&', '|', '(', '{']);
    commands
        .flat_map(|command| {
            let words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
            started(&words.filter(|word| *word != "\\").collect::<Vec<_>>())
        })
        .collect()
}
