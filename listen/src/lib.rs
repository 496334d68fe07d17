//! Connections of our programs: TLS of rustls with aws-lc-rs, whose certificate is re-read without a restart, the next
//! connection until a stop, and, in [`ask`], requests to others.

pub mod ask;
pub mod small;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How often a certificate's files are looked at.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(10);
/// After a failed accept (most often: no file descriptors) the listener rests for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A peer that has vanished without a word is asked after this time in which nothing came, and also whatever is between here and there
/// is shown that the connection is in use: a tunnel, or a long generation, may be silent for as long as it likes.
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Then it is asked this often.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// So many times without an answer, and the connection is broken.
pub const KEEPALIVE_TIMES: u32 = 4;

/// The one provider of cryptography.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The next connection, or none once `stop` is cancelled. `what` names it where it cannot be accepted.
pub async fn next_connection(
    listener: &TcpListener,
    what: &str,
    stop: &CancellationToken,
) -> Option<TcpStream> {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    keep_alive(&stream);
                    return Some(stream);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept {what}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = stop.cancelled() => return None,
        }
    }
}

/// Ends after `time`, unless something was `asked` by then: of such a connection its own protocol is told that it is over.
pub async fn never_asked(asked: &AtomicBool, time: Duration) {
    tokio::time::sleep(time).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// TCP keepalive. Where the system does not have it, the connection does without.
fn keep_alive(stream: &TcpStream) {
    let every = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let _ = SockRef::from(stream).set_tcp_keepalive(&every.with_retries(KEEPALIVE_TIMES));
}

/// The CAs of a file, or the system's.
///
/// # Errors
/// The file cannot be read, or holds what is no CA's certificate.
pub fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .with_context(|| format!("{}: not a CA certificate", path.display()))?;
            }
        }
        None => {
            // Some roots on a machine are often unreadable or odd; the rest still serve.
            for certificate in rustls_native_certs::load_native_certs().certs {
                let _ = roots.add(certificate);
            }
        }
    }
    Ok(roots)
}

/// The listener's certificate, replaced as a whole when its files change.
#[derive(Debug)]
pub struct ServerCertificate {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl ServerCertificate {
    /// Reads chain and key.
    ///
    /// # Errors
    /// A file cannot be read, or chain and key do not belong together.
    pub fn load(chain: &Path, key: &Path) -> anyhow::Result<Arc<ServerCertificate>> {
        let current = ArcSwap::from_pointee(read_certified(chain, key)?);
        Ok(Arc::new(ServerCertificate { chain: chain.to_owned(), key: key.to_owned(), current }))
    }

    /// Reads the files again. On any error the old certificate stays in force. Returns whether it changed.
    ///
    /// # Errors
    /// A file cannot be read, or chain and key do not belong together.
    pub fn reload(&self) -> anyhow::Result<bool> {
        let fresh = read_certified(&self.chain, &self.key)?;
        let changed = fresh.cert != self.current.load().cert;
        if changed {
            self.current.store(Arc::new(fresh));
        }
        Ok(changed)
    }

    /// The certificate itself, in DER, without the rest of its chain.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.current.load().cert.first().cloned()
    }

    /// Looks at the files every 10 s until `stop`, and says in the program's log what it found.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(CERTIFICATE_EVERY) => self.reload_and_say(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// As [`reload`](ServerCertificate::reload), said in the program's log.
    pub fn reload_and_say(&self) {
        match self.reload() {
            Ok(true) => tracing::info!("the listener has a new certificate"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the old certificate stays in force");
            }
        }
    }

    /// TLS towards clients, HTTP/2 preferred. With a CA they may show a certificate by it.
    ///
    /// # Errors
    /// The CA's file cannot be read.
    pub fn server_config(self: &Arc<Self>, client_ca: Option<&Path>) -> anyhow::Result<Arc<ServerConfig>> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = match client_ca {
            None => builder.with_no_client_auth().with_cert_resolver(self.clone()),
            Some(ca) => {
                let roots = Arc::new(roots(Some(ca))?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.allow_unauthenticated().build()?;
                builder.with_client_cert_verifier(verifier).with_cert_resolver(self.clone())
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ServerCertificate {
    /// TLS for what speaks HTTP/1.1 only: clients show a certificate by one of the CAs in `client_ca`, or, if `optional`, none.
    ///
    /// # Errors
    /// The CA's file cannot be read.
    pub fn server_config_for(
        self: &Arc<Self>,
        client_ca: Option<&Path>,
        optional: bool,
    ) -> anyhow::Result<Arc<ServerConfig>> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(Some(ca))?), provider());
                let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_cert_resolver(self.clone());
        // Clients that offer HTTP/2 would be taken at their word.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read_certified(chain: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    CertifiedKey::from_der(certificates(chain)?, private_key(key)?, &provider())
        .with_context(|| format!("{} and {} do not belong together", chain.display(), key.display()))
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().with_context(|| format!("cannot read certificates from {}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no PEM certificate", path.display());
    Ok(certificates)
}

/// The private key of a PEM file.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("cannot read a private key from {}", path.display()))
}
