//! Where objects lie, by URL: `file://`, `s3://`, `gs://` or `az://`.
//!
//! Credentials come from the environment that each provider's own tools use (`AWS_…`, `GOOGLE_…`, `AZURE_…`, or the
//! machine's identity); they never stand in the URL, which is shown in errors and process lists.

use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::{StoreError, local};

/// One request, its body included, takes no longer: a full batch of openings is about 130 MB.
const REQUEST: Duration = Duration::from_secs(60);
/// A connection stands within this time, or the store is away.
const CONNECT: Duration = Duration::from_secs(5);
/// What failed is tried again up to this many times, and for at most [`RETRY_FOR`]: callers have longer patience.
const RETRIES: usize = 5;
const RETRY_FOR: Duration = Duration::from_secs(30);
/// A file of CA certificates is never longer.
const MAX_CA: u64 = 1 << 20;

/// A folder, or a prefix of a bucket.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// `s3://bucket/prefix` and the like.
    Bucket(Url),
}

/// How buckets are reached. Providers' own variables say the same, where this says nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The service's URL, for S3-compatible servers and emulators.
    pub endpoint: Option<String>,
    /// PEM file of the CAs that may sign the service's certificate, instead of the system's.
    pub ca: Option<PathBuf>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Folder(folder) => write!(f, "file://{}", folder.display()),
            Location::Bucket(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Location, String> {
        let usage = || {
            format!(
                "`{text}` is no store: file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
            )
        };
        let url = Url::parse(text).map_err(|e| format!("{}: {e}", usage()))?;
        // The text would stand in logs.
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a store's URL holds no credentials: they come from the environment".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{}, without `?` and `#`", usage()));
        }
        match url.scheme() {
            "file" => url.to_file_path().map(Location::Folder).map_err(|()| usage()),
            "s3" | "gs" | "az" if url.host_str().is_some_and(|host| !host.is_empty()) => {
                if url.port().is_some() {
                    return Err(format!("{}; a port belongs to the endpoint", usage()));
                }
                Path::from_url_path(url.path()).map_err(|e| format!("{}: {e}", usage()))?;
                Ok(Location::Bucket(url))
            }
            _ => Err(usage()),
        }
    }
}

impl Location {
    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&FsPath> {
        match self {
            Location::Folder(folder) => Some(folder),
            Location::Bucket(_) => None,
        }
    }

    /// Opens the place; a folder is created if missing, a bucket has to exist. Sends no request.
    ///
    /// # Errors
    /// When the folder, the settings in the environment or the file of CAs cannot be used.
    pub fn open(&self, access: &Access) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let url = match self {
            Location::Folder(folder) => return local(folder),
            Location::Bucket(url) => url,
        };
        let failed =
            |e: object_store::Error| StoreError::Settings { location: self.to_string(), why: e.to_string() };
        let prefix = Path::from_url_path(url.path())
            .map_err(|e| StoreError::Settings { location: self.to_string(), why: e.to_string() })?;
        let root = match url.scheme() {
            "s3" => s3(url, access)?.build().map(within(prefix)),
            "gs" => gs(url, access)?.build().map(within(prefix)),
            _ => az(url, access)?.build().map(within(prefix)),
        };
        root.map_err(failed)
    }
}

/// The part of a store below `prefix`.
fn within<S: ObjectStore>(prefix: Path) -> impl FnOnce(S) -> Arc<dyn ObjectStore> {
    move |store| match prefix.as_ref().is_empty() {
        true => Arc::new(store),
        false => Arc::new(PrefixStore::new(store, prefix)),
    }
}

fn s3(url: &Url, access: &Access) -> Result<AmazonS3Builder, StoreError> {
    let mut builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retries());
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    Ok(builder.with_client_options(client(url, endpoint, access)?))
}

fn gs(url: &Url, access: &Access) -> Result<GoogleCloudStorageBuilder, StoreError> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(retries());
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
    }
    let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    Ok(builder.with_client_options(client(url, endpoint, access)?))
}

fn az(url: &Url, access: &Access) -> Result<MicrosoftAzureBuilder, StoreError> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(retries());
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    Ok(builder.with_client_options(client(url, endpoint, access)?))
}

/// After a lost answer a request is sent again: creates are told apart by what they wrote, never by the answer alone.
pub(super) fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_FOR }
}

pub(super) fn client(
    url: &Url,
    endpoint: Option<String>,
    access: &Access,
) -> Result<ClientOptions, StoreError> {
    let mut options = ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT);
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        // Asked for by the endpoint itself.
        options = options.with_allow_http(true);
    }
    let Some(file) = &access.ca else { return Ok(options) };
    let failed = |why: String| StoreError::Settings {
        location: url.to_string(),
        why: format!("the CA certificates in {}: {why}", file.display()),
    };
    let size = std::fs::metadata(file).map_err(|e| failed(e.to_string()))?.len();
    if size > MAX_CA {
        return Err(failed(format!("more than {MAX_CA} bytes")));
    }
    let pem = std::fs::read(file).map_err(|e| failed(e.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| failed(e.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("it holds none".into()));
    }
    options = options.with_no_system_certificates(true);
    Ok(certificates.into_iter().fold(options, ClientOptions::with_root_certificate))
}

#[cfg(test)]
mod tests;
