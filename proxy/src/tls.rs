//! TLS on both sides: rustls with aws-lc-rs, certificates re-read without a restart.

use crate::config::UpstreamOptions;
use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The one provider of cryptography.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS towards the upstream. ALPN is left to the connector.
pub fn client_config(options: &UpstreamOptions) -> anyhow::Result<ClientConfig> {
    client_config_of(options, rustls::DEFAULT_VERSIONS)
}

fn client_config_of(
    options: &UpstreamOptions,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> anyhow::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_root_certificates(roots(options.ca.as_deref())?);
    match (&options.client_cert, &options.client_key) {
        (Some(chain), Some(key)) => builder
            .with_client_auth_cert(certificates(chain)?, private_key(key)?)
            .with_context(|| format!("{} and {} do not belong together", chain.display(), key.display())),
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => anyhow::bail!("--upstream-cert and --upstream-key go together"),
    }
}

/// TLS towards an upstream that has to prove itself: of version 1.3, and no session is taken up again, so that each
/// connection shows a certificate of its own.
pub fn attested_config(options: &UpstreamOptions) -> anyhow::Result<ClientConfig> {
    let mut config = client_config_of(options, &[&rustls::version::TLS13])?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// TLS towards any server, without a certificate of our own.
pub fn roots_config(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    identified_config(ca, None)
}

/// TLS towards any server, with a certificate chain and its key if they are given.
pub fn identified_config(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> anyhow::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca)?);
    match identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(certificates(chain)?, private_key(key)?)
            .with_context(|| format!("{} and {} do not belong together", chain.display(), key.display())),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The CAs of a file, or the system's.
fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
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
    pub fn load(chain: &Path, key: &Path) -> anyhow::Result<Arc<ServerCertificate>> {
        let current = ArcSwap::from_pointee(read_certified(chain, key)?);
        Ok(Arc::new(ServerCertificate { chain: chain.to_owned(), key: key.to_owned(), current }))
    }

    /// Reads the files again. On any error the old certificate stays in force. Returns whether it changed.
    pub fn reload(&self) -> anyhow::Result<bool> {
        let fresh = read_certified(&self.chain, &self.key)?;
        let changed = fresh.cert != self.current.load().cert;
        if changed {
            self.current.store(Arc::new(fresh));
        }
        Ok(changed)
    }

    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub fn spki_sha256(&self) -> Option<colophon_receipt::Hash> {
        crate::upstream::attested::spki_sha256(self.current.load().cert.first()?)
    }

    /// TLS towards clients, HTTP/2 preferred. With a CA they may show a certificate by it.
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
    /// TLS towards clients that show a certificate by one of the CAs in `ca`, or, if `optional`, none. HTTP/1.1 only.
    pub fn server_config_for(
        self: &Arc<Self>,
        ca: &Path,
        optional: bool,
    ) -> anyhow::Result<Arc<ServerConfig>> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(Some(ca))?), provider());
        let builder = if optional { builder.allow_unauthenticated() } else { builder };
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(builder.build()?)
            .with_cert_resolver(self.clone());
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

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().with_context(|| format!("cannot read certificates from {}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no PEM certificate", path.display());
    Ok(certificates)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("cannot read a private key from {}", path.display()))
}
