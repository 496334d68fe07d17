use super::*;

fn asked(words: &[&str]) -> Option<(u16, String)> {
    by(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
}

#[test]
fn plain_commands_are_understood() {
    let health = Some((8000, "/health".to_owned()));
    for words in [
        &["curl", "-f", "http://localhost:8000/health"][..],
        &["curl", "-sf", "-o", "/dev/null", "-m", "5", "http://127.0.0.1:8000/health"],
        &["/usr/bin/curl", "--fail", "--silent", "localhost:8000/health"],
        &["wget", "-q", "--spider", "http://localhost:8000/health"],
        &["wget", "-qO-", "http://localhost:8000/health"],
        &["sh", "-c", "curl -fsS http://localhost:8000/health || exit 1"],
        &["/bin/bash", "-c", "wget  -q -O /dev/null  http://127.0.0.1:8000/health"],
    ] {
        assert_eq!(asked(words), health, "{words:?}");
    }
    assert_eq!(asked(&["curl", "-f", "http://localhost"]), Some((80, "/".to_owned())));
    assert_eq!(asked(&["curl", "-f", "localhost:1/a?b=c"]), Some((1, "/a?b=c".to_owned())));
}

#[test]
fn anything_more_is_not() {
    for words in [
        &["curl", "http://localhost:8000/health"][..], // content with any answer
        &["curl", "-f", "-H", "Authorization: Bearer x", "http://localhost:8000/health"],
        &["curl", "-f", "-X", "POST", "http://localhost:8000/health"],
        &["curl", "-fd", "x", "http://localhost:8000/health"],
        &["curl", "-f", "https://localhost:8000/health"],
        &["curl", "-f", "http://example.com:8000/health"],
        &["curl", "-f", "http://user@localhost:8000/health"],
        &["curl", "-f", "http://localhost:8000/a", "http://localhost:8000/b"],
        &["curl", "-f", "-o", "/tmp/x", "http://localhost:8000/health"],
        &["curl", "-f", "http://localhost:port/health"],
        &["curl", "-f"],
        &["wget", "--header=a: b", "http://localhost:8000/health"],
        &["sh", "-c", "curl -f http://localhost:8000/health && test -f /ready"],
        &["sh", "-c", "curl -f http://localhost:8000/health | grep ok"],
        &["sh", "-c", "curl -f http://localhost:$PORT/health"],
        &["sh", "-c", "curl -f http://localhost:8000/a?b"],
        &["sh", "/probe.sh"],
        &["cat", "/tmp/healthy"],
        &[],
    ] {
        assert_eq!(asked(words), None, "{words:?}");
    }
}
