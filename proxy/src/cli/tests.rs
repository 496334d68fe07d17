use super::Cli;
use clap::{ArgAction, CommandFactory as _};
use std::collections::BTreeMap;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// The table of flags in docs/OPERATIONS.md: what is on its lines of `serve`'s settings, with the cell of the default.
fn documented() -> BTreeMap<String, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let settings = text.split("\n## ").find(|section| section.starts_with("Settings\n")).unwrap();
    let mut flags = BTreeMap::new();
    for line in settings.lines().filter(|line| line.starts_with("| `--")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        for flag in cells[0].split('`').filter_map(|code| code.strip_prefix("--")) {
            let name = flag.split(' ').next().unwrap().to_owned();
            assert_eq!(flags.insert(name, cells[1].to_owned()), None, "--{flag} stands there twice");
        }
    }
    flags
}

#[test]
fn the_documented_settings_are_those_of_serve() {
    let (mut documented, command) = (documented(), Cli::command());
    for arg in command.find_subcommand("serve").unwrap().get_arguments() {
        let Some(name) = arg.get_long().filter(|_| !arg.is_hide_set()) else { continue };
        let cell = documented.remove(name).unwrap_or_else(|| panic!("--{name} is not in docs/OPERATIONS.md"));
        let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
        match defaults.collect::<Vec<_>>().join(",") {
            // A flag's `false` goes without saying, and so does what is found at run time: in words, or another flag.
            default if default.is_empty() || matches!(arg.get_action(), ArgAction::SetTrue) => {
                let code = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
                let value = code.filter(|code| !code.contains('`') && !code.starts_with("--"));
                assert_eq!(value, None, "--{name} has no such default");
            }
            default => assert_eq!(cell, format!("`{default}`"), "--{name}"),
        }
    }
    assert!(documented.is_empty(), "`serve` has no {:?}", documented.keys());
}
