//! `colophon receipt`.

mod export;
mod others;

use super::{get, term};
use anyhow::Context as _;
use clap::Subcommand;
use colophon_receipt::receipt::Receipt;
use http::StatusCode;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, Subcommand)]
pub(super) enum ReceiptCommand {
    /// Fetch the receipt that an answer's Colophon-Receipt header names, waiting until it is logged
    Get {
        /// The header's value, or a whole URL
        #[arg(value_name = "RECEIPT")]
        receipt: String,
        /// The proxy that gave the answer, for a header's value
        #[arg(long, env = "COLOPHON_SERVER", value_name = "URL", default_value = "http://127.0.0.1:4180")]
        server: String,
        /// File to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// PEM file of the CAs that may sign the proxy's certificate, instead of the system's
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Longest wait for the receipt
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::config::duration)]
        wait: Duration,
    },
    /// Write the receipts of an interval, the log's part and a README for an auditor into one folder or archive
    ///
    /// `colophon-verify` checks it as a whole. With --format cose or dsse: one receipt's file in the form of other tools,
    /// signed anew by --key. Exit codes: 0 written and whole, 1 written, but something is missing or
    /// wrong, 2 wrong usage or a folder that cannot be read.
    Export(Box<export::ExportArgs>),
}

pub(super) async fn run(command: ReceiptCommand) -> anyhow::Result<ExitCode> {
    let (receipt, server, output, ca, wait) = match command {
        ReceiptCommand::Get { receipt, server, output, ca, wait } => (receipt, server, output, ca, wait),
        ReceiptCommand::Export(args) => return export::run(*args).await,
    };
    let url = url(&receipt, &server)?;
    let json = fetch(&url, ca.as_deref(), wait).await?;
    match output {
        Some(path) => {
            std::fs::write(&path, &json).with_context(|| format!("cannot write {}", path.display()))?;
            if std::io::stderr().is_terminal() {
                errln!("{} {}", term::dim("wrote"), path.display());
            }
        }
        None => term::output::bytes(&json),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person is likely to paste: a URL, the header's value with its quotes, or the whole header line.
fn url(receipt: &str, server: &str) -> anyhow::Result<String> {
    let value = receipt.trim();
    let value = match value.get(..17) {
        Some(name) if name.eq_ignore_ascii_case("colophon-receipt:") => &value[17..],
        _ => value,
    };
    let value = value.trim().trim_matches('"');
    if value.starts_with("http://") || value.starts_with("https://") {
        return Ok(value.to_owned());
    }
    // A record's id alone is no permission to see it.
    anyhow::ensure!(
        value.trim_matches('/').contains('/'),
        "{value:?} is no place of a receipt: give the Colophon-Receipt header's value, or a whole URL"
    );
    Ok(format!("{}/{}", server.trim_end_matches('/'), value.trim_start_matches('/')))
}

/// Fetches a receipt, asking again while it is not logged yet.
pub(super) async fn fetch(
    url: &str,
    ca: Option<&std::path::Path>,
    wait: Duration,
) -> anyhow::Result<Vec<u8>> {
    let begun = Instant::now();
    let bar = (std::io::stderr().is_terminal())
        .then(|| indicatif::ProgressBar::new_spinner().with_message("waiting until the record is logged"));
    loop {
        let response = get::get(url, ca).await?;
        match response.status() {
            StatusCode::OK => {
                let json = response.into_body().to_vec();
                Receipt::from_json(&json)
                    .context("the proxy answered with something that is not a receipt")?;
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                return Ok(json);
            }
            StatusCode::ACCEPTED if begun.elapsed() < wait => {
                if let Some(bar) = &bar {
                    bar.tick();
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            StatusCode::ACCEPTED => {
                anyhow::bail!("the record is not logged after {wait:?}; try again with a longer --wait")
            }
            status => {
                let body = String::from_utf8_lossy(response.body()).into_owned();
                anyhow::bail!("the proxy answered {status}: {}", term::safe(body.trim()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
