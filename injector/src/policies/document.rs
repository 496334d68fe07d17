//! An object's spec as the file that sidecars read, and what is wrong with it.

use std::fmt;

use colophon_policies::{MAX_POLICY_BYTES, Policy};
use serde_json::{Value, json};

/// The file's name in the ConfigMap.
pub(crate) const FILE: &str = "policy.yaml";

/// A path or a message is never longer, in characters: it goes into logs, answers and an object's status.
const MAX_SHOWN: usize = 300;

/// A policy that is right.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The file.
    pub(crate) text: String,
    /// Digest of the effective policy, as records name it, in hexadecimal.
    pub(crate) digest: String,
}

/// What is wrong with a policy, first of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Which member of the object, as `spec.rules[0].level`.
    pub(crate) path: String,
    /// What `colophon policy check` says of it.
    pub(crate) message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Judges an object of kind `ProvenancePolicy`.
pub(crate) fn judge(object: &Value) -> Result<Accepted, Wrong> {
    let member = |path: &str| object.pointer(path).unwrap_or(&Value::Null);
    // Of the metadata a policy's file has the name only.
    let metadata = json!({"name": member("/metadata/name")});
    let mut file = File::default();
    file.document([
        ("apiVersion", member("/apiVersion")),
        ("kind", member("/kind")),
        ("metadata", &metadata),
        ("spec", member("/spec")),
    ]);
    match Policy::parse(&file.text, FILE) {
        Ok(policy) => Ok(Accepted { digest: hex::encode(policy.digest()), text: file.text }),
        Err(error) => {
            let line = usize::try_from(error.line()).unwrap_or(usize::MAX);
            let path = shown(file.path(line.saturating_sub(1)));
            Err(Wrong { path, message: shown(error.message().to_owned()) })
        }
    }
}

/// The digest of a file that was written before.
pub(crate) fn digest(text: &str) -> Option<String> {
    Policy::parse(text, FILE).ok().map(|policy| hex::encode(policy.digest()))
}

/// Text from outside, not too long.
fn shown(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// JSON, which is YAML, with each member and each element on a line of its own: the line that an error names says which
/// one it is about.
///
/// Nothing is written once the text is longer than a policy may be, which [`Policy::parse`] then says.
#[derive(Default)]
struct File<'a> {
    text: String,
    /// What stands in a line, from the second on: the first has the document's brace.
    lines: Vec<Step<'a>>,
}

/// One step of a path. Whole paths would be as long as all keys above, once for each line.
#[derive(Clone, Copy)]
struct Step<'a> {
    /// Where in [`File::lines`] the step before this one is.
    parent: Option<usize>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Key(&'a str),
    Element(usize),
    /// The closing bracket of what `parent` leads to.
    End,
}

impl<'a> File<'a> {
    fn document(&mut self, members: [(&'a str, &'a Value); 4]) {
        self.block(('{', '}'), members.map(|(key, member)| (Part::Key(key), member)), None, 0);
        self.text.push('\n');
    }

    /// Writes a value, which the line numbered `at` begins.
    fn value(&mut self, value: &'a Value, at: usize, indent: usize) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                let members = members.iter().map(|(key, member)| (Part::Key(key.as_str()), member));
                self.block(('{', '}'), members, Some(at), indent);
            }
            Value::Array(items) if !items.is_empty() => {
                let items = items.iter().enumerate().map(|(number, item)| (Part::Element(number), item));
                self.block(('[', ']'), items, Some(at), indent);
            }
            scalar => self.text.push_str(&scalar.to_string()),
        }
    }

    /// Writes the members or elements of what the line numbered `parent` begins.
    fn block(
        &mut self,
        (open, close): (char, char),
        parts: impl IntoIterator<Item = (Part<'a>, &'a Value)>,
        parent: Option<usize>,
        indent: usize,
    ) {
        self.text.push(open);
        for (number, (part, value)) in parts.into_iter().enumerate() {
            if self.text.len() > MAX_POLICY_BYTES {
                return;
            }
            if number > 0 {
                self.text.push(',');
            }
            let at = self.line(Step { parent, part }, indent + 1);
            if let Part::Key(key) = part {
                self.text.push_str(&Value::from(key).to_string());
                self.text.push_str(": ");
            }
            self.value(value, at, indent + 1);
        }
        self.line(Step { parent, part: Part::End }, indent);
        self.text.push(close);
    }

    /// Begins a line: its number.
    fn line(&mut self, step: Step<'a>, indent: usize) -> usize {
        self.text.push('\n');
        self.text.push_str(&"  ".repeat(indent));
        self.lines.push(step);
        self.lines.len() - 1
    }

    /// The path of what stands in a line, of which the first is 0; empty for the document.
    fn path(&self, line: usize) -> String {
        let mut steps = Vec::new();
        let mut next = line.checked_sub(1);
        while let Some(step) = next.and_then(|at| self.lines.get(at)) {
            steps.push(step.part);
            next = step.parent;
        }
        let mut path = String::new();
        for part in steps.iter().rev() {
            match part {
                Part::Key(key) if path.is_empty() => path.push_str(key),
                Part::Key(key) => path.extend([".", *key]),
                Part::Element(number) => path.push_str(&format!("[{number}]")),
                Part::End => {}
            }
        }
        path
    }
}

#[cfg(test)]
mod tests;
