//! What is kept of a policy and of what happened, as it is written and shown.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy::KeptFile;
use crate::telemetry::Timestamp;

/// Bytes of a reason that are kept.
const REASON_MAX: usize = 1024;

/// A policy that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The generation that brought it.
    pub generation: u64,
    /// SHA-256 of all that makes it up, in hexadecimal.
    pub digest: String,
    /// The path that it was read from.
    pub source: PathBuf,
    /// Why it was read: a `Trigger` as `/status` names it.
    pub trigger: String,
    /// When it came into force, in RFC 3339.
    pub at: String,
    /// What it was read from.
    pub files: Vec<FileRef>,
}

/// A file of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// The path that it was read by.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// How many there are.
    pub bytes: u64,
}

/// A gateway that serves something else than its policy's files say, and stands by that until they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The generation that it stands by.
    pub to: u64,
    /// The digest of what the policy's files said then, in hexadecimal; `None` if they said nothing that could
    /// be understood.
    pub files: Option<String>,
    /// How it came to that.
    #[serde(default)]
    pub reason: PinReason,
}

/// How a gateway came to serve something else than its policy's files say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinReason {
    /// It was told to go back.
    #[default]
    Rollback,
    /// What they say is on trial. It holds if the gateway is started again meanwhile.
    Trial,
    /// What they say was on trial, and was taken back.
    TakenBack,
}

impl Pin {
    /// Whether the policy's files are not followed, rather than on their way.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.reason != PinReason::Trial
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in RFC 3339.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A policy came into force.
    Applied {
        /// Its number.
        generation: u64,
        /// SHA-256 of all that makes it up, in hexadecimal.
        digest: String,
        /// Why it was read.
        trigger: String,
    },
    /// A policy was refused.
    Refused {
        /// The generation that went on, if there was one.
        generation: Option<u64>,
        /// Why it was read.
        trigger: String,
        /// Why it was refused, in one line.
        reason: String,
    },
    /// The gateway went back to a policy, which is a generation of its own.
    RolledBack {
        /// Its number.
        generation: u64,
        /// Of the policy, in hexadecimal.
        digest: String,
        /// The generation that had this policy.
        to: u64,
    },
    /// The gateway started with a policy that it had kept, because of what is wrong with the policy's files.
    Fallback {
        /// Its number.
        generation: u64,
        /// Of the policy, in hexadecimal.
        digest: String,
        /// The generation that had this policy.
        to: u64,
        /// What is wrong, in one line.
        reason: String,
    },
    /// A step of a policy that is brought into force step by step.
    Rollout {
        /// The candidate's number.
        generation: u64,
        /// Of the candidate, in hexadecimal.
        digest: String,
        /// What was done, such as `started`, `advanced`, `taken_back`.
        step: String,
        /// More in one line.
        detail: String,
    },
}

impl Record {
    pub(super) fn new(
        generation: u64,
        digest: String,
        source: &Path,
        trigger: String,
        files: &[KeptFile],
    ) -> Self {
        let files = files.iter().map(|file| FileRef {
            path: file.path.clone(),
            sha256: hexadecimal(&Sha256::digest(&file.bytes)),
            bytes: file.bytes.len() as u64,
        });
        let (source, files) = (source.to_owned(), files.collect());
        Self { generation, digest, source, trigger, at: Timestamp::now().to_string(), files }
    }
}

impl EventKind {
    /// A refusal, its reason cut to a length that can be kept.
    pub fn refused(generation: Option<u64>, trigger: String, reason: &str) -> Self {
        Self::Refused { generation, trigger, reason: shortened(reason) }
    }

    /// A start with a kept policy, the reason cut to a length that can be kept.
    pub fn fallback(generation: u64, digest: String, to: u64, reason: &str) -> Self {
        Self::Fallback { generation, digest, to, reason: shortened(reason) }
    }

    /// The generation that it is about, or that went on.
    pub fn generation(&self) -> Option<u64> {
        match self {
            Self::Refused { generation, .. } => *generation,
            Self::Applied { generation, .. }
            | Self::RolledBack { generation, .. }
            | Self::Fallback { generation, .. }
            | Self::Rollout { generation, .. } => Some(*generation),
        }
    }

    /// The generation and the digest of a policy that this brought into force.
    pub(super) fn brought(&self) -> Option<(u64, &str)> {
        match self {
            Self::Applied { generation, digest, .. }
            | Self::RolledBack { generation, digest, .. }
            | Self::Fallback { generation, digest, .. } => Some((*generation, digest)),
            Self::Refused { .. } | Self::Rollout { .. } => None,
        }
    }

    /// The digest of generation `number`, if this brought it into force.
    pub(super) fn digest_of(&self, number: u64) -> Option<&str> {
        self.brought().filter(|(generation, _)| *generation == number).map(|(_, digest)| digest)
    }
}

fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

/// Lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
