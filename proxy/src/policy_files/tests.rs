use super::PolicyFiles;

fn policy(rule: &str) -> String {
    format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: a}}\nspec: {{rules: [{{name: {rule}, level: sign}}]}}\n"
    )
}

#[test]
fn a_folder_is_read_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("20-b.yaml", &policy("b"));
    write("10-a.yml", &policy("a"));
    write("a.test.yaml", "not a policy");
    write(".hidden.yaml", "not a policy");
    write("notes.txt", "not a policy");
    std::fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path(), folder.path().join("self.yaml")).unwrap();
        std::os::unix::fs::symlink("20-b.yaml", folder.path().join("30-c.yaml")).unwrap();
    }
    let files = PolicyFiles::read(folder.path()).unwrap();
    let error = files.parse().unwrap_err().to_string();
    assert!(error.contains("30-c.yaml:4:23: a second rule named `b`"), "{error}");
    assert!(error.contains("20-b.yaml:4:23"), "{error}");
    std::fs::remove_file(folder.path().join("30-c.yaml")).unwrap();
    let canonical = PolicyFiles::read(folder.path()).unwrap().parse().unwrap().canonical();
    let places =
        ["\"name\":\"a\",\"level\"", "\"name\":\"b\",\"level\""].map(|name| canonical.find(name).unwrap());
    assert!(places[0] < places[1], "{canonical}");
}

/// Rules that cannot be read may be those that deny: going on without them is no choice.
#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_or_in_a_circle_is_an_error() {
    for (link, to) in [("b.yaml", "gone.yaml"), ("b.yaml", "b.yaml"), ("b.yml", "c.yml")] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), policy("a")).unwrap();
        std::os::unix::fs::symlink(to, folder.path().join(link)).unwrap();
        if to == "c.yml" {
            std::os::unix::fs::symlink(link, folder.path().join(to)).unwrap();
        }
        let error = format!("{:#}", PolicyFiles::read(folder.path()).map(|_| ()).unwrap_err());
        assert!(error.contains("cannot read the policy") && error.contains(link), "{error}");
        // What is hidden is no policy: editors leave such links.
        std::fs::rename(folder.path().join(link), folder.path().join(".#b.yaml")).unwrap();
        std::fs::remove_file(folder.path().join(to)).ok();
        assert!(PolicyFiles::read(folder.path()).is_ok());
    }
}

#[test]
fn what_cannot_be_read_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| PolicyFiles::read(&folder.path().join(name)).map(|_| ()).unwrap_err();
    assert!(format!("{:#}", read("none.yaml")).contains("cannot read the policy"));
    assert!(format!("{:#}", read("")).contains("no policy file"));
    std::fs::write(folder.path().join("a.yaml"), [0xff, 0xfe]).unwrap();
    assert!(format!("{:#}", read("a.yaml")).contains("cannot read the policy"));
    std::fs::write(folder.path().join("a.yaml"), "#".repeat(10 << 20)).unwrap();
    let error = PolicyFiles::read(folder.path()).unwrap().parse().unwrap_err();
    assert!(error.message().contains("larger than 1024 KiB"), "{error}");
    // A device, as the tools may be given one: no further than a policy may be long.
    let error = PolicyFiles::read(std::path::Path::new("/dev/zero")).unwrap().parse().unwrap_err();
    assert!(error.message().contains("larger than 1024 KiB"), "{error}");
    for n in 0..65 {
        std::fs::write(folder.path().join(format!("{n}.yaml")), "").unwrap();
    }
    assert!(format!("{:#}", read("")).contains("more than 64"));
}

/// A pipe that nobody writes into must not keep whoever reads the policy waiting: neither at the start nor at a reload.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_policy_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("b.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::write(folder.path().join("a.yaml"), policy("a")).unwrap();
    let path = folder.path().to_owned();
    let (told, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for path in [&path, &path.join("b.yaml")] {
            _ = told.send(format!("{:#}", PolicyFiles::read_lasting(path).map(|_| ()).unwrap_err()));
        }
    });
    for words in ["b.yaml: not a file", "b.yaml: neither a file nor a folder"] {
        let error = said.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for the pipe");
        assert!(error.contains(words), "{error}");
    }
}

/// What editors on other systems make of the same policy: the same policy.
#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let canonical = |text: &str| {
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        PolicyFiles::read(folder.path()).unwrap().parse().map(|policy| policy.canonical())
    };
    let plain = canonical(&policy("a")).unwrap();
    assert_eq!(canonical(&policy("a").replace('\n', "\r\n")).unwrap(), plain);
    assert_eq!(canonical(&format!("\u{feff}{}", policy("a"))).unwrap(), plain);
    assert!(canonical(&policy("a").replace("rules", "ru\u{0}les")).is_err());
}
