//! One TSA: asks for a token, and believes it only when everything about it is right.

use std::sync::Arc;

use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_signer::rfc3161::{QUERY_TYPE, Request, Roots, Token, token_of};

use crate::post::Post;

/// Letters of a URL that stand in a file's name as they are, at most this many.
const SHOWN: usize = 64;

/// A TSA.
pub(super) struct Client {
    /// The name of its tokens' files, without the ending.
    pub(super) name: String,
    url: String,
    post: Arc<dyn Post>,
}

/// A token that was verified for the request that it answers.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) der: Vec<u8>,
    /// µs since the epoch, by the TSA's clock.
    pub(super) time: u64,
}

impl Client {
    pub(super) fn new(url: &str, post: Arc<dyn Post>) -> Client {
        Client { name: file_name(url), url: url.to_owned(), post }
    }

    /// Asks for a token over `imprint`, and verifies it against `roots`.
    ///
    /// # Errors
    /// What went wrong, in a sentence.
    pub(super) async fn ask(&self, imprint: Hash, roots: &Roots) -> Result<Verified, String> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| format!("no randomness: {error}"))?;
        let request = Request { imprint, nonce };
        let answer = self.post.post(self.url.clone(), QUERY_TYPE, request.to_der()).await?;
        if answer.status != 200 {
            return Err(format!("it answered {}", answer.status));
        }
        let der = token_of(&answer.body).map_err(|error| error.to_string())?;
        let token = Token::parse(der).map_err(|error| format!("a bad token: {error}"))?;
        token.check_request(&request).map_err(|error| format!("a bad token: {error}"))?;
        token.chain(roots).map_err(|error| format!("a token that does not count: {error} (--tsa-root)"))?;
        Ok(Verified { time: token.info().gen_time, der: der.to_vec() })
    }
}

/// A name that says which TSA it is to people, and is another one for each URL.
fn file_name(url: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let shown = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
    let shown: String = shown.chars().take(SHOWN).map(plain).collect();
    format!("{shown}-{}", hex::encode(&sha256(url.as_bytes())[..4]))
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_are_plain_and_differ() {
        assert_eq!(
            file_name("https://freetsa.org/tsr"),
            format!("freetsa.org-tsr-{}", hex::encode(&super::sha256(b"https://freetsa.org/tsr")[..4]))
        );
        let (a, b) = (file_name("http://a/../b?c"), file_name("http://a/../b&c"));
        assert!(a != b && !a.contains('/') && a.starts_with("a-..-b-c-"), "{a} {b}");
    }
}
