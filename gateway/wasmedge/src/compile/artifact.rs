//! A compiled module on disk.

use super::error::CacheError;
use super::key::hex;
use super::options::OptLevel;
use crate::types::{Export, Import};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is known of a module without loading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// SHA-256 of the original module.
    pub digest: [u8; 32],
    /// Imports of the original module.
    pub imports: Vec<Import>,
    /// Exports of the original module.
    pub exports: Vec<Export>,
    /// Declared minimum of its memory, in pages of 64 KiB; 0 without a memory.
    pub memory_pages_min: u32,
    /// How many places the metering pass charges at: function entries, loop heads, bulk
    /// operations.
    pub charge_points: u32,
}

/// Native code of a module, in a cache folder, verified when it was handed out.
#[derive(Debug, Clone)]
pub struct Artifact {
    path: PathBuf,
    level: OptLevel,
    facts: Arc<Facts>,
    code: CodeFile,
    park: Option<Arc<Artifact>>,
}

/// The file's digest, and by what to see that it is still the file that was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CodeFile {
    sha256: [u8; 32],
    stamp: Stamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Artifact {
    /// Checks the file at `path` against `sha256`.
    pub(super) fn open(
        path: PathBuf,
        level: OptLevel,
        facts: Arc<Facts>,
        sha256: [u8; 32],
    ) -> Result<Self, CacheError> {
        let stamp = check_digest(&path, &sha256)?;
        Ok(Self { path, level, facts, code: CodeFile { sha256, stamp }, park: None })
    }

    /// The file with the native code.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the original module.
    pub fn digest(&self) -> [u8; 32] {
        self.facts.digest
    }

    /// How it was compiled.
    pub fn level(&self) -> OptLevel {
        self.level
    }

    /// Size of the native code's file in bytes.
    pub fn code_bytes(&self) -> u64 {
        self.code.stamp.len
    }

    /// What is known of the module.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts)
    }

    /// Checks owner and mode again, and the digest too if the file was touched since.
    pub(crate) fn verify(&self) -> Result<(), CacheError> {
        let (_, metadata) = open_checked(&self.path)?;
        if Stamp::of(&metadata) != self.code.stamp {
            check_digest(&self.path, &self.code.sha256)?;
        }
        Ok(())
    }

    /// The artifact of the parking module; itself, if it is that.
    pub(crate) fn park(&self) -> Artifact {
        self.park.as_deref().unwrap_or(self).clone()
    }

    pub(super) fn with_park(mut self, park: &Artifact) -> Self {
        self.park = Some(Arc::new(park.clone()));
        self
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn check_digest(path: &Path, expected: &[u8; 32]) -> Result<Stamp, CacheError> {
    let (mut file, metadata) = open_checked(path)?;
    let found = sha256_of(&mut file).map_err(CacheError::io("cannot read", path))?;
    if found != *expected {
        tracing::warn!(path = %path.display(), found = hex(&found), "compiled module does not match its digest");
        return Err(CacheError::Digest { path: path.to_owned() });
    }
    Ok(Stamp::of(&metadata))
}

pub(super) fn sha256_of(file: &mut File) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    std::io::copy(file, &mut hash)?;
    Ok(hash.finalize().into())
}

/// Opens a plain file that is this user's and nobody else's to touch; follows no link.
pub(super) fn open_checked(path: &Path) -> Result<(File, Metadata), CacheError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|errno| CacheError::io("cannot open", path)(errno.into()))?;
    let metadata = file.metadata().map_err(CacheError::io("cannot examine", path))?;
    if !metadata.is_file() {
        return Err(CacheError::Kind { path: path.to_owned(), expected: "plain file" });
    }
    check_access(path, &metadata)?;
    Ok((file, metadata))
}

/// Owner and mode, of a file or a folder.
pub(super) fn check_access(path: &Path, metadata: &Metadata) -> Result<(), CacheError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(CacheError::Owner { path: path.to_owned(), owner: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CacheError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}
