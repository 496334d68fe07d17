//! The pages that people read: every link between them leads to a file that is there, and to a heading of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use colophon_tests::{PATIENCE, paths, process};

/// The Markdown files of the repository.
fn pages() -> Vec<PathBuf> {
    let mut command = Command::new("git");
    command
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
        .current_dir(paths::root());
    let out = process::run(&mut command, PATIENCE);
    let files = String::from_utf8(out.stdout).expect("UTF-8");
    files.lines().map(|file| paths::root().join(file)).filter(|file| file.exists()).collect()
}

/// The text without blocks and spans of code, where brackets mean something else.
fn prose(text: &str) -> String {
    let mut all = String::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            all.push_str(line);
            all.push('\n');
        }
    }
    all.split('`').step_by(2).collect::<Vec<_>>().join("code")
}

/// Where links lead to, images too.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let after = prose.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.trim().to_owned()).collect()
}

/// Names that the headings of a page have in its address, as GitHub makes them.
fn headings(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
        else {
            continue;
        };
        if in_block {
            continue;
        }
        let kept = title.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        names.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    names
}

/// Why a link leads nowhere.
fn broken(page: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let target = match file {
        "" => page.to_owned(),
        file => page.parent().expect("a folder").join(file),
    };
    if !target.exists() {
        return Some("there is no such file".to_owned());
    }
    let heading = heading.filter(|_| target.extension().is_some_and(|ext| ext == "md"))?;
    let names = headings(&fs::read_to_string(&target).expect("a page"));
    (!names.iter().any(|name| name == heading)).then(|| format!("no heading of {names:?}"))
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let pages = pages();
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in &pages {
        for link in links(&fs::read_to_string(page).expect("a page")) {
            seen += 1;
            wrong.extend(broken(page, &link).map(|why| format!("{}: {link}: {why}", page.display())));
        }
    }
    assert!(pages.len() > 15 && seen > 100, "{} pages, {seen} links", pages.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // That it would find something.
    let page = paths::root().join("docs/KUBERNETES.md");
    for link in ["OPERATING.md", "OPERATIONS.md#no-such-heading", "#no-such-heading"] {
        assert!(broken(&page, link).is_some(), "{link}");
    }
}
