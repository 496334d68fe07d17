//! `colophon-injector`: `--file` prints a manifest with Colophon in it.
//!
//! Exit codes: 0 done, 1 a Pod asks for Colophon and cannot have it, 2 wrong usage or a file that cannot be read.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use colophon_injector::{Settings, manifest};

/// Put Colophon beside model servers in Kubernetes.
#[derive(Parser)]
#[command(name = "colophon-injector", version)]
struct Cli {
    /// Print this manifest (YAML or JSON, `-` is standard input) with Colophon in its Pods and templates, and end
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// YAML file that says which image, log, stores and policy sidecars have
    #[arg(long, env = "COLOPHON_INJECTOR_SETTINGS", value_name = "FILE")]
    settings: PathBuf,
    /// How the manifest is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "yaml")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// One document for each object.
    Yaml,
    /// One object, or a List of them.
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match filter(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("colophon-injector: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn filter(cli: &Cli) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&cli.settings)?;
    let text = manifest::read(&cli.file)?;
    let mut objects = manifest::parse(&text).with_context(|| cli.file.display().to_string())?;
    let all = match manifest::transform(&mut objects, &settings) {
        Ok(all) => all,
        Err(error) => {
            eprintln!("colophon-injector: {error:#}");
            return Ok(ExitCode::from(1));
        }
    };
    for done in &all {
        match &done.unchanged {
            None => eprintln!("{}: Colophon is in it", done.object),
            Some(why) => eprintln!("{}: unchanged, {why}", done.object),
        }
        for warning in &done.warnings {
            eprintln!("{}: warning: {warning}", done.object);
        }
    }
    match cli.output {
        Output::Yaml => print!("{}", manifest::print(&objects)?),
        Output::Json => println!("{}", json(objects)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn json(mut objects: Vec<serde_json::Value>) -> anyhow::Result<String> {
    let all = match objects.len() {
        1 => objects.remove(0),
        _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}),
    };
    Ok(serde_json::to_string_pretty(&all)?)
}
