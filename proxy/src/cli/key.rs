//! `colophon key`.

use super::term;
use clap::Subcommand;
use colophon_signer::note::{NoteAlgorithm, VerifierKey};
use colophon_signer::{Ed25519Key, Signer};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make an Ed25519 key (PKCS#8 PEM, mode 0600); an existing file is never overwritten
    Generate {
        /// Where to write it
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the public half of a key
    Show {
        /// A PKCS#8 PEM file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Also print it as a C2SP verifier key under this name (a log's origin)
        #[arg(long, value_name = "ORIGIN")]
        origin: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Generate { file, json } => {
            let key = Ed25519Key::generate()?;
            key.save(&file)?;
            if !json {
                println!("{} {}", term::green("wrote"), file.display());
            }
            show(&key, None, json)
        }
        KeyCommand::Show { file, origin, json } => show(&Ed25519Key::load(&file)?, origin.as_deref(), json),
    }
}

fn show(key: &Ed25519Key, origin: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let public = key.public_key();
    let vkey = origin.map(|origin| VerifierKey::new(origin, NoteAlgorithm::Ed25519, public)).transpose()?;
    if json {
        let mut object = serde_json::json!({
            "algorithm": "ed25519",
            "public_key": hex::encode(public.as_bytes()),
            "key_id": public.key_id_hex(),
        });
        if let Some(vkey) = &vkey {
            object["vkey"] = vkey.to_string().into();
        }
        println!("{object}");
    } else {
        println!("public key  {}", hex::encode(public.as_bytes()));
        println!("key id      {}", public.key_id_hex());
        if let Some(vkey) = &vkey {
            println!("vkey        {vkey}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
