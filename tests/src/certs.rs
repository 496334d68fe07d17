//! A certificate authority of a test's own, what it issues, and both sides' TLS settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData as _,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A private CA.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The same as PEM.
    pub pem: String,
    /// Its key, as PEM.
    pub key_pem: String,
    key: Vec<u8>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one, with a key nobody else has.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "A test's CA");
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a CA certificate") }
    }

    /// A certificate for `name`, `localhost` and 127.0.0.1, good for servers and clients.
    pub fn issue(&self, name: &str) -> Issued {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "enclave.test".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        self.signed(params)
    }

    /// As [`issue`](Authority::issue), of which nobody should take any more: it ended in 2001.
    pub fn issue_expired(&self, name: &str) -> Issued {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        self.signed(params)
    }

    /// The CA's certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A client's certificate whose only name is this URI, such as a SPIFFE id.
    pub fn issue_uri(&self, uri: &str) -> Issued {
        let mut params = CertificateParams::default();
        let uri = uri.try_into().expect("a URI of ASCII characters");
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        self.signed(params)
    }

    /// A server's certificate with this extension, whose contents follow from its own SubjectPublicKeyInfo.
    pub fn issue_about(&self, oid: &[u64], contents: impl FnOnce(&[u8]) -> Vec<u8>) -> Issued {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let contents = contents(&key.subject_public_key_info());
        params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(oid, contents));
        self.signed_for(params, key)
    }

    fn signed(&self, params: CertificateParams) -> Issued {
        self.signed_for(params, KeyPair::generate().expect("a key"))
    }

    fn signed_for(&self, params: CertificateParams, key: KeyPair) -> Issued {
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: key.serialize_der(),
        }
    }

    /// As [`client`](Authority::client), with a certificate of its own.
    pub fn client_as(&self, issued: &Issued, protocols: &[&str]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(self.roots());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key.clone()));
        let config = builder.with_client_auth_cert(vec![issued.certificate.clone()], key);
        let mut config = config.expect("certificate and key");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    /// Writes the CA's certificate to a file.
    pub fn write(&self, path: &Path) -> PathBuf {
        fs::write(path, self.issuer.pem()).expect("the CA's file");
        path.to_owned()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        Arc::new(roots)
    }

    /// A client that trusts this CA alone and offers these protocols.
    pub fn client(&self, protocols: &[&str]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(self.roots());
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

impl Issued {
    /// Writes certificate and key, each at once: never half of it is there to read.
    pub fn write(&self, certificate: &Path, key: &Path) {
        for (path, text) in [(certificate, &self.pem), (key, &self.key_pem)] {
            let part = path.with_extension("part");
            fs::write(&part, text).expect("a PEM file");
            fs::rename(&part, path).expect("a PEM file in its place");
        }
    }

    /// A server with this certificate that speaks these protocols, and asks clients for a certificate of `clients`
    /// where that is given.
    pub fn server(&self, protocols: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider());
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = builder.with_single_cert(vec![self.certificate.clone()], key);
        let mut config = config.expect("certificate and key");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
