//! Documents of an AWS Nitro enclave, by the NSM device: one request in CBOR, one answer.
//!
//! AWS's own library speaks to the device, since `ioctl` cannot be had without `unsafe`, which this crate has none of.

use super::{GenerateError, open_device};
use crate::Evidence;
use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use aws_nitro_enclaves_nsm_api::driver::nsm_process_request;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// The device of the Nitro Secure Module.
pub const DEVICE: &str = "/dev/nsm";
/// Longest user data, and longest nonce.
const MAX_DATA: usize = 512;
/// A document is never longer: the device's answers are not.
const MAX_DOCUMENT: usize = 0x3000;

/// A document about this user data and nonce, each of at most 512 bytes.
///
/// # Errors
/// [`GenerateError`]: no device, no permission, or it refused.
pub fn generate(user_data: &[u8], nonce: &[u8]) -> Result<Evidence, GenerateError> {
    document(&mut open(Path::new(DEVICE))?, user_data, nonce)
}

/// Whether there is a device that may be asked.
///
/// # Errors
/// Says why not.
pub fn look() -> Result<(), GenerateError> {
    open(Path::new(DEVICE)).map(drop)
}

fn open(device: &Path) -> Result<File, GenerateError> {
    open_device(device, "no Nitro enclave", None)
}

/// What answers requests of the NSM's protocol.
trait Module {
    fn ask(&mut self, request: Request) -> Response;
}

impl Module for File {
    fn ask(&mut self, request: Request) -> Response {
        nsm_process_request(self.as_raw_fd(), request)
    }
}

fn document(module: &mut impl Module, user_data: &[u8], nonce: &[u8]) -> Result<Evidence, GenerateError> {
    let refused = |error| Err(GenerateError::Refused { what: format!("{DEVICE}, a document"), error });
    if user_data.len() > MAX_DATA || nonce.len() > MAX_DATA {
        return refused(format!("user data or nonce of more than {MAX_DATA} bytes"));
    }
    let given = |bytes: &[u8]| (!bytes.is_empty()).then(|| bytes.to_vec().into());
    let request = Request::Attestation { user_data: given(user_data), nonce: given(nonce), public_key: None };
    match module.ask(request) {
        Response::Attestation { document } if document.len() <= MAX_DOCUMENT => {
            Ok(Evidence::Nitro { document })
        }
        Response::Error(code) => refused(format!("it refuses: {code:?}")),
        _ => refused("it answers something else".into()),
    }
}

#[cfg(test)]
mod tests;
