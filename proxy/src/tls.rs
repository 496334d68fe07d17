//! TLS towards others; towards clients it is `colophon_listen`'s.

use crate::config::UpstreamOptions;
use anyhow::Context as _;
pub use colophon_listen::ask::{identified_config, roots_config};
use colophon_listen::{certificates, private_key, provider, roots};
use rustls::ClientConfig;

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
