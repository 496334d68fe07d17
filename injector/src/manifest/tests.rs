//! Manifests in, manifests out: against files, and as kubectl would read them.

use super::*;
use serde_json::json;
use std::path::PathBuf;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What `tests/golden/NAME.in.yaml` becomes is in `NAME.out.yaml`: warnings as comments, then the manifest. To write them
/// anew after a change that was meant, run with `COLOPHON_GOLDEN=write` and read the difference.
#[test]
fn manifests_become_what_the_files_say() {
    let mut seen = 0;
    let mut names: Vec<_> = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".in.yaml") else {
            continue;
        };
        seen += 1;
        let own = golden().join(format!("{name}.settings.yaml"));
        let settings = if own.exists() { own } else { golden().join("settings.yaml") };
        let settings = Settings::load(&settings).unwrap();
        let mut objects = parse(&read(&path).unwrap()).unwrap();
        let mut text = String::new();
        match transform(&mut objects, &settings) {
            Ok(all) => {
                for done in all {
                    text += &format!("# {}: {}\n", done.object, done.unchanged.as_deref().unwrap_or("done"));
                    text.extend(done.warnings.iter().map(|warning| format!("#   warning: {warning}\n")));
                }
                text += &print(&objects).unwrap();
                let again = parse(&text).unwrap();
                assert_eq!(again, objects, "{name}: printed and read again");
                let mut twice = again.clone();
                transform(&mut twice, &settings).unwrap();
                assert_eq!(twice, objects, "{name}: a second time");
            }
            Err(error) => text += &format!("# refused: {error:#}\n"),
        }
        let out = golden().join(format!("{name}.out.yaml"));
        if std::env::var_os("COLOPHON_GOLDEN").is_some_and(|what| what == "write") {
            std::fs::write(&out, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&out).unwrap_or_default();
        assert!(text == expected, "{name} became:\n{text}\nand not:\n{expected}");
    }
    assert!(seen >= 8, "{seen} manifests in {}", golden().display());
}

#[test]
fn yaml_is_read_and_written_as_kubectl_does() {
    let objects =
        parse("a: yes\nb: \"yes\"\nc: 0644\nd: \"0644\"\ne: 1.5\nf: \"1e3\"\ng: ~\nh: \"null\"\n").unwrap();
    let meant =
        json!({"a": true, "b": "yes", "c": 420, "d": "0644", "e": 1.5, "f": "1e3", "g": null, "h": "null"});
    assert_eq!(objects, [meant]);
    let text = print(&objects).unwrap();
    assert_eq!(parse(&text).unwrap(), objects, "{text}");
    for word in ["yes", "0644", "1e3", "null"] {
        assert!(
            text.contains(&format!("\"{word}\"")) || text.contains(&format!("'{word}'")),
            "{word} in {text}"
        );
    }
    assert_eq!(parse("---\n---\na: 1\n---\n").unwrap(), [json!({"a": 1})]);
    assert!(parse("a: [").is_err());
}

#[test]
fn a_longer_input_than_any_is_refused() {
    let error = bounded(std::io::repeat(b' '), 10).unwrap_err().to_string();
    assert_eq!(error, "longer than 10 bytes");
}
