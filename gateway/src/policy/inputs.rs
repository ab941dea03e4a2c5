//! What a policy was read from.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// All that a change of may mean another policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Files of the policy, modules and scripts, also those that are missing.
    pub files: BTreeSet<PathBuf>,
    /// Folders that were looked through for files of the policy.
    pub folders: BTreeSet<PathBuf>,
}

impl Inputs {
    /// Those of both.
    #[must_use]
    pub fn union(mut self, other: &Inputs) -> Self {
        self.files.extend(other.files.iter().cloned());
        self.folders.extend(other.folders.iter().cloned());
        self
    }
}
