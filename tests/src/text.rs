//! Comparing answers that differ in their ids and times whenever they are asked for.

use std::collections::BTreeSet;

/// What several answers to the same request have in common: the words that differ between them are masked, all else
/// has to be the same, byte for byte.
#[derive(Debug)]
pub struct Template {
    words: Vec<Vec<u8>>,
    masked: BTreeSet<usize>,
}

impl Template {
    /// Compares answers to one request.
    ///
    /// # Errors
    /// When they differ in more than single words.
    pub fn of(answers: &[Vec<u8>]) -> Result<Self, String> {
        let mut split = answers.iter().map(|answer| words(answer));
        let words = split.next().ok_or("no answer")?;
        let mut masked = BTreeSet::new();
        for other in split {
            if other.len() != words.len() {
                return Err(format!("{} words, and {} when asked again", words.len(), other.len()));
            }
            masked.extend((0..words.len()).filter(|at| words[*at] != other[*at]));
        }
        Ok(Self { words, masked })
    }

    /// Whether this answer is the same but for the masked words.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, answer: &[u8]) -> Result<(), String> {
        let other = words(answer);
        for (at, (mine, theirs)) in self.words.iter().zip(&other).enumerate() {
            if mine != theirs && !self.masked.contains(&at) {
                let show = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
                return Err(format!(
                    "{:?} instead of {:?} after {:?}",
                    show(theirs),
                    show(mine),
                    self.key(at)
                ));
            }
        }
        if other.len() != self.words.len() {
            return Err(format!("{} words instead of {}", other.len(), self.words.len()));
        }
        Ok(())
    }

    /// The JSON keys whose values are masked.
    pub fn keys(&self) -> BTreeSet<String> {
        self.masked.iter().map(|at| self.key(*at)).collect()
    }

    /// The JSON key that the word is the value of.
    fn key(&self, at: usize) -> String {
        let key = if at >= 2 { &self.words[at - 2][..] } else { &[] };
        String::from_utf8_lossy(key).into_owned()
    }
}

/// Runs of characters that ids, numbers and times are made of, and what is between them, alternating.
fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-+".contains(&byte);
    let mut found: Vec<Vec<u8>> = Vec::new();
    for byte in text {
        match found.last_mut() {
            Some(last) if last.last().is_some_and(|before| in_word(*before) == in_word(*byte)) => {
                last.push(*byte)
            }
            _ => found.push(vec![*byte]),
        }
    }
    found
}

#[cfg(test)]
mod tests;
