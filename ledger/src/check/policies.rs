//! The texts of the policies that statements and changes name.

use std::collections::BTreeSet;

use colophon_receipt::Hash;
use colophon_receipt::policy_change::policy_file;

use super::{Finding, Report};
use crate::policy;
use crate::store::Store;

/// Policies remembered; a log that names more is not an operator's.
const MANY: usize = 1_000_000;

/// Every policy that was in force.
#[derive(Debug, Default)]
pub(super) struct Policies(BTreeSet<Hash>);

impl Policies {
    /// Takes in what a leaf names.
    pub(super) fn named(&mut self, digests: impl IntoIterator<Item = Hash>) {
        if self.0.len() < MANY {
            self.0.extend(digests);
        }
    }

    /// Compares each text with its digest.
    pub(super) async fn check(&self, store: &Store, report: &mut Report) {
        for digest in &self.0 {
            let what = match policy::read(store, digest).await {
                Ok(Some(_)) => {
                    report.policies += 1;
                    continue;
                }
                Ok(None) => "it is missing: what this policy said cannot be shown".to_owned(),
                Err(error) => error.to_string(),
            };
            report.find(Finding::Policy { file: policy_file(digest), what });
        }
    }
}
