use super::*;

fn sidecar(pod: &str) -> Sidecar {
    Sidecar { pod: pod.into(), container: "colophon".into(), health: None }
}

fn said(digest: &str, version: &str) -> Said {
    Said { digest: Some(digest.into()), version: Some(version.into()), why: None }
}

#[test]
fn sidecars_are_counted_and_those_that_lag_are_named_first() {
    let mut sidecars: Vec<_> = (0..150).map(|number| sidecar(&format!("a-{number:03}"))).collect();
    let mut answers = vec![said("new", VERSION); 150];
    sidecars.extend([sidecar("z-old"), sidecar("z-other"), sidecar("z-gone")]);
    answers.extend([
        said("before", VERSION),
        said("before", "0.0.9"),
        Said { why: Some("away".into()), ..Said::default() },
    ]);
    let object = json!({"metadata": {"generation": 4}});
    let status = of(&object, None, &Written::Done, Some("new"), &sidecars, &answers, Timestamp::UNIX_EPOCH);
    assert_eq!(status["sidecars"], json!({"current": 150, "old": 1, "unknown": 2}));
    assert_eq!(status["pods"].as_array().map(Vec::len), Some(LISTED));
    assert_eq!(
        status["pods"][0],
        json!({"pod": "z-gone", "container": "colophon", "state": "unknown", "why": "away"})
    );
    assert!(status["pods"][1]["why"].as_str().is_some_and(|why| why.contains("0.0.9")), "{status}");
    assert_eq!(status["pods"][2]["state"], "old");
    assert_eq!(status["pods"][3]["pod"], "a-000");
    assert_eq!((&status["digest"], &status["observedGeneration"]), (&json!("new"), &json!(4)));
}

#[test]
fn conditions_keep_the_time_of_their_last_change() {
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let wrong = Wrong { path: "spec.rules".into(), message: "it is empty".into() };
    let mut object = json!({"metadata": {"generation": 1}});
    let time =
        |object: &Value, number: usize| object["status"]["conditions"][number]["lastTransitionTime"].clone();
    object["status"] = of(&object, None, &Written::Done, Some("a"), &[], &[], at(0));
    // The same again is the same, whenever.
    assert_eq!(of(&object, None, &Written::Done, Some("a"), &[], &[], at(60)), object["status"]);
    object["metadata"]["generation"] = json!(2);
    object["status"] = of(&object, Some(&wrong), &Written::Kept, Some("a"), &[], &[], at(120));
    assert_eq!(object["status"]["conditions"][0]["message"], "spec.rules: it is empty");
    assert_eq!(
        (time(&object, 0), time(&object, 1)),
        (json!("1970-01-01T00:02:00Z"), json!("1970-01-01T00:02:00Z"))
    );
    // Another reason, but no other status.
    object["status"] =
        of(&object, None, &Written::Refused("413: too large".into()), Some("a"), &[], &[], at(180));
    assert_eq!(
        (time(&object, 0), time(&object, 1)),
        (json!("1970-01-01T00:03:00Z"), json!("1970-01-01T00:02:00Z"))
    );
}

#[test]
fn whys_are_joined_and_without_a_policy_nobody_is_old() {
    let refusing = Said { why: Some("it refuses the file".into()), ..said("before", "0.0.9") };
    let object = json!({"metadata": {"generation": 4}});
    let of = |digest| {
        of(
            &object,
            None,
            &Written::Foreign,
            digest,
            &[sidecar("a")],
            std::slice::from_ref(&refusing),
            Timestamp::UNIX_EPOCH,
        )
    };
    let why = of(Some("new"))["pods"][0]["why"].to_string();
    assert!(why.contains("it refuses the file; it is Colophon 0.0.9"), "{why}");
    let status = of(None);
    assert_eq!(status["sidecars"], json!({"current": 0, "old": 0, "unknown": 1}));
    let why = status["pods"][0]["why"].to_string();
    assert!(why.contains("it refuses the file; there is no accepted policy"), "{why}");
    let same = Said { why: None, ..said("before", VERSION) };
    assert_eq!(state(&same, None).0, State::Unknown);
    assert_eq!(state(&same, Some("new")).0, State::Old);
}
