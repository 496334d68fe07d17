//! What is wrong in a settings file is said at the start.

use super::*;

#[test]
fn wrong_settings_are_refused() {
    for (text, why) in [
        ("image: ''", "`image` is empty"),
        ("image: i\nimage_pull_policy: Always", "unknown field"),
        ("image: i\nimagePullPolicy: Often", "one of Always"),
        ("image: i\nbind: 10.0.0.1", "`bind` is"),
        ("image: i\nlog: {urls: []}", "no `urls`"),
        ("image: i\nstore: s3://a/b", "go together"),
        ("image: i\nstore: s3://a/b\nprivate: s3://c/d", "`keysSecret` is needed"),
        ("image: i\nresources: {limits: {cpu: much}}", "no quantity"),
        ("image: i\nresources: {limits: {nvidia.com/gpu: 1}}", "neither cpu nor memory"),
        ("image: i\ndata: {sizeLimit: 1Gi, claim: c}", "of an emptyDir"),
        ("image: i\nkubernetes: {server: new}", "no version"),
    ] {
        let error = format!("{:#}", Settings::parse(text).unwrap_err());
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn native_sidecars_need_both_versions() {
    let native =
        |cluster: &str| Settings::parse(&format!("image: i\nkubernetes: {cluster}")).unwrap().native();
    assert!(native("{server: '1.33', oldestKubelet: v1.33.2-eks-abc}"));
    assert!(native("{server: '1.34+', oldestKubelet: '2.0'}"));
    for not in
        ["{}", "{server: '1.34'}", "{oldestKubelet: '1.34'}", "{server: '1.34', oldestKubelet: '1.32'}"]
    {
        assert!(!native(not), "{not}");
    }
}

#[test]
fn a_longer_file_than_any_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.yaml");
    std::fs::write(&path, format!("image: i\n{}", "#".repeat(MAX_BYTES))).unwrap();
    assert!(format!("{:#}", Settings::load(&path).unwrap_err()).contains("longer than"));
}
