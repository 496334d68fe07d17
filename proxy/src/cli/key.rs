//! `colophon key`.

mod log_key;
mod rewrap;

use super::term;
use clap::Subcommand;
use colophon_signer::note::{NoteAlgorithm, VerifierKey};
use colophon_signer::{KeySource, PublicKey};
use std::io::Read as _;
use std::process::ExitCode;

/// No API key is longer.
const MAX_API_KEY: u64 = 64 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make an Ed25519 key: a file (PKCS#8 PEM, mode 0600) or, with pkcs11:…, in a token. Nothing is overwritten
    Generate {
        /// Where to make it: a path, file:PATH or pkcs11:…
        #[arg(value_name = "KEY")]
        key: KeySource,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the public half of a key
    Show {
        /// Where it is: a PKCS#8 PEM file, env:NAME or pkcs11:…
        #[arg(value_name = "KEY")]
        key: KeySource,
        /// Also print it as a C2SP verifier key under this name (a log's origin)
        #[arg(long, value_name = "ORIGIN")]
        origin: Option<String>,
        /// Also print it as the verifier key of a witness of this name (c2sp.org/tlog-cosignature)
        #[arg(long, value_name = "NAME", conflicts_with = "origin")]
        witness: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the keyed hash by which a callers' file (`serve --callers`) knows an API key, read from standard input
    Hash {
        /// File with the key of the hash: 64 hexadecimal digits
        #[arg(long, value_name = "FILE")]
        hash_key: std::path::PathBuf,
    },
    /// Go on with a new log key: the log's next generation begins, linked to the end of the old one
    ///
    /// The proxy has to be stopped. Interrupted, the same command completes it. Old receipts stay valid and can still be
    /// fetched; readers need the new trust file (`/.well-known/colophon/keys` has all generations).
    Rotate(log_key::RotateArgs),
    /// Revoke the key of a shard, in the log
    ///
    /// A running log (`--role log`) is asked to, on the machine that has its data folder; a proxy that keeps its own log has
    /// to be stopped. Receipts made before do not show it: put the printed entry into readers' trust files.
    Revoke(log_key::RevokeArgs),
    /// Wrap the keys of the private openings by another key
    ///
    /// Every process that uses the private store has to be stopped. Openings stay as they are. Interrupted, the same command
    /// completes it. Start with --private-key NEW from then on.
    Rewrap(rewrap::RewrapArgs),
}

pub(super) fn run(command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Rotate(args) => super::runtime(log_key::rotate(args)),
        KeyCommand::Revoke(args) => super::runtime(log_key::revoke(args)),
        KeyCommand::Rewrap(args) => super::runtime(rewrap::run(args)),
        KeyCommand::Hash { hash_key } => {
            // Not an argument: those are for all on the machine to see.
            let mut api_key = String::new();
            std::io::stdin().take(MAX_API_KEY).read_to_string(&mut api_key)?;
            anyhow::ensure!(!api_key.trim().is_empty(), "no API key came from standard input");
            outln!("{}", crate::callers::key_hash(&hash_key, &api_key)?);
            Ok(ExitCode::SUCCESS)
        }
        KeyCommand::Generate { key, json } => {
            if let KeySource::File(path) = &key {
                anyhow::ensure!(
                    !path.exists(),
                    "{} is there already; nothing is overwritten",
                    path.display()
                );
            }
            let made = key.generate()?;
            if !json {
                outln!("{} {}", term::green("made"), term::safe_line(&key.to_string()));
            }
            show(made.public_key(), None, json)
        }
        KeyCommand::Show { key, origin, witness, json } => {
            let log = origin.map(|name| (name, NoteAlgorithm::Ed25519));
            let named = log.or(witness.map(|name| (name, NoteAlgorithm::CosignatureV1)));
            show(key.open()?.public_key(), named, json)
        }
    }
}

fn show(public: PublicKey, named: Option<(String, NoteAlgorithm)>, json: bool) -> anyhow::Result<ExitCode> {
    let vkey = named.map(|(name, algorithm)| VerifierKey::new(&name, algorithm, public)).transpose()?;
    if json {
        let mut object = serde_json::json!({
            "algorithm": "ed25519",
            "public_key": hex::encode(public.as_bytes()),
            "key_id": public.key_id_hex(),
        });
        if let Some(vkey) = &vkey {
            object["vkey"] = vkey.to_string().into();
        }
        outln!("{object}");
    } else {
        outln!("public key  {}", hex::encode(public.as_bytes()));
        outln!("key id      {}", public.key_id_hex());
        if let Some(vkey) = &vkey {
            outln!("vkey        {vkey}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
