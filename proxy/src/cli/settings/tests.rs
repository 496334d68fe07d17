use super::*;
use clap::CommandFactory as _;

fn parsed(settings: &str, typed: &[&str]) -> Result<clap::ArgMatches, String> {
    let command = defaults(super::super::Cli::command(), settings).map_err(|error| format!("{error:#}"))?;
    let all = ["colophon", "serve"].iter().chain(typed);
    let matches = command.try_get_matches_from(all).map_err(|error| error.to_string())?;
    matches.subcommand_matches("serve").cloned().ok_or_else(|| "no serve".into())
}

#[test]
fn the_file_is_below_the_flags() {
    let settings = "upstream: http://10.0.0.1:9\nbatch-every: 2s\nmax-backlog: 7\nadopt: true\n";
    let serve = parsed(settings, &["--batch-every", "3s"]).unwrap();
    assert_eq!(serve.get_one::<String>("url").unwrap(), "http://10.0.0.1:9");
    assert_eq!(serve.get_one::<std::time::Duration>("batch_every").unwrap().as_secs(), 3);
    assert_eq!(serve.get_one::<usize>("max_backlog"), Some(&7));
    assert!(serve.get_flag("adopt"));
}

#[test]
fn an_empty_file_changes_nothing() {
    for empty in ["", "# nothing\n", "{}\n"] {
        assert!(parsed(empty, &[]).is_ok(), "{empty:?}");
    }
}

#[test]
fn mistakes_are_named() {
    for (settings, said) in [
        ("upstreem: http://a", "unknown setting `upstreem`"),
        ("config: other.yaml", "unknown setting `config`"),
        ("adopt: 3", "wants true or false"),
        ("upstream: true", "wants a value"),
        ("batch-every: 3 parsecs", "parsecs"),
        ("upstream: [a]", "line 1"),
        ("upstream: a\nupstream: b", "upstream"),
        ("- a", "line 1"),
    ] {
        let error = parsed(settings, &[]).unwrap_err();
        assert!(error.contains(said), "{settings}: {error}");
    }
}

#[test]
fn the_file_is_found_before_parsing() {
    let args = |typed: &[&str]| typed.iter().map(OsString::from).collect::<Vec<_>>();
    assert_eq!(file(&args(&["colophon", "serve", "--config", "a.yaml"])), Some("a.yaml".into()));
    assert_eq!(file(&args(&["colophon", "serve", "--adopt", "--config=b.yaml"])), Some("b.yaml".into()));
    assert_eq!(file(&args(&["colophon", "verify", "--config", "a.yaml"])), None);
}
