//! The folder of compiled modules.
//!
//! An entry is a manifest, `<key>.json`, and the native code it names, `<key>-<digest>.so`. Both
//! are written under another name, synced and renamed; the manifest last, so that its rename is
//! the moment the entry exists, and two processes that compile the same module never mix.
//! Whatever does not verify is removed. Over the size limit, the entries used longest ago go.

use super::artifact::{Artifact, Facts, check_access, open_checked, sha256_of};
use super::error::CacheError;
use super::key::{Key, hex};
use super::options::OptLevel;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    limit_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    level: OptLevel,
    facts: Facts,
    /// File name of the code, in the same folder.
    code: String,
    sha256: [u8; 32],
}

/// Manifests hold imports and exports; this is far above any real one.
const MANIFEST_BYTES: u64 = 8 << 20;

/// Prefix of files that are still being written.
const DRAFT: &str = "draft-";

/// Drafts older than this were left by a process that died.
const DRAFT_AGE: Duration = Duration::from_secs(24 * 3600);

impl Cache {
    pub(super) fn open(dir: &Path, limit_bytes: u64) -> Result<Self, CacheError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(CacheError::io("cannot make", dir))?;
        // The path that is shown and checked is the one that the native loader will be given.
        let dir = dir.canonicalize().map_err(CacheError::io("cannot resolve", dir))?;
        let metadata = fs::symlink_metadata(&dir).map_err(CacheError::io("cannot examine", &dir))?;
        if !metadata.is_dir() {
            return Err(CacheError::Kind { path: dir, expected: "folder" });
        }
        check_access(&dir, &metadata)?;
        let cache = Self { dir, limit_bytes };
        cache.remove_old_drafts();
        Ok(cache)
    }

    /// The entry of `key`, verified. One that cannot be trusted is removed.
    pub(super) fn find(&self, key: &Key) -> Option<Artifact> {
        let path = self.manifest(key);
        if !path.exists() {
            return None;
        }
        match self.read(&path, key) {
            Ok(artifact) => {
                touch(&path);
                Some(artifact)
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cache entry removed");
                self.remove(&key.stem());
                None
            }
        }
    }

    /// A file name for code that is being made.
    pub(super) fn draft(&self, key: &Key) -> Result<Draft, CacheError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The folder may have been opened to others since the start.
        let metadata =
            fs::symlink_metadata(&self.dir).map_err(CacheError::io("cannot examine", &self.dir))?;
        check_access(&self.dir, &metadata)?;
        let name = format!("{DRAFT}{}-{count}-{}.so", std::process::id(), &key.stem()[..16]);
        Ok(Draft { path: self.dir.join(name) })
    }

    /// Makes `draft`, a finished file, the entry of `key`.
    pub(super) fn commit(&self, key: &Key, draft: Draft, facts: Facts) -> Result<Artifact, CacheError> {
        let (mut file, _) = open_checked(draft.path())?;
        let sha256 = sha256_of(&mut file).map_err(CacheError::io("cannot read", draft.path()))?;
        file.sync_all().map_err(CacheError::io("cannot sync", draft.path()))?;
        let code = format!("{}-{}.so", key.stem(), &hex(&sha256)[..16]);
        let path = self.dir.join(&code);
        fs::rename(draft.path(), &path).map_err(CacheError::io("cannot rename", draft.path()))?;
        let manifest = Manifest { level: key.level, facts, code, sha256 };
        self.write_manifest(key, &manifest)?;
        self.evict(&key.stem());
        Artifact::open(path, key.level, Arc::new(manifest.facts), sha256)
    }

    fn manifest(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}.json", key.stem()))
    }

    fn read(&self, path: &Path, key: &Key) -> Result<Artifact, CacheError> {
        let (file, _) = open_checked(path)?;
        let mut text = Vec::new();
        file.take(MANIFEST_BYTES).read_to_end(&mut text).map_err(CacheError::io("cannot read", path))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| CacheError::io("cannot parse", path)(error.into()))?;
        let ours = manifest.facts.digest == key.digest && manifest.level == key.level;
        // The name is checked so that a manifest cannot point outside the folder.
        if !ours || manifest.code.contains('/') || !manifest.code.starts_with(&key.stem()) {
            return Err(CacheError::Digest { path: path.to_owned() });
        }
        let code = self.dir.join(&manifest.code);
        Artifact::open(code, manifest.level, Arc::new(manifest.facts), manifest.sha256)
    }

    fn write_manifest(&self, key: &Key, manifest: &Manifest) -> Result<(), CacheError> {
        let draft = Draft { path: self.draft(key)?.path.with_extension("json") };
        let path = draft.path();
        let text = serde_json::to_vec(manifest)
            .map_err(|error| CacheError::io("cannot serialise", path)(error.into()))?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(CacheError::io("cannot make", path))?;
        file.write_all(&text).map_err(CacheError::io("cannot write", path))?;
        file.sync_all().map_err(CacheError::io("cannot sync", path))?;
        fs::rename(path, self.manifest(key)).map_err(CacheError::io("cannot rename", path))?;
        let dir = File::open(&self.dir).map_err(CacheError::io("cannot open", &self.dir))?;
        dir.sync_all().map_err(CacheError::io("cannot sync", &self.dir))
    }

    /// Removes the files of an entry; a module that is loaded from them stays loaded.
    fn remove(&self, stem: &str) {
        // The manifest first: without it the rest is not an entry.
        let _ = fs::remove_file(self.dir.join(format!("{stem}.json")));
        for (name, path) in self.files() {
            if name.starts_with(stem) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes entries, the longest unused first, until the code fits the limit. Keeps `newest`.
    fn evict(&self, newest: &str) {
        let mut entries: Vec<(SystemTime, String, u64)> = self
            .files()
            .filter_map(|(name, path)| {
                let (stem, _) =
                    name.strip_suffix(".so")?.split_once('-').filter(|_| !name.starts_with(DRAFT))?;
                let used =
                    fs::metadata(self.dir.join(format!("{stem}.json"))).and_then(|file| file.modified());
                // Code without a manifest is what a newer compilation replaced: it goes first.
                let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
                Some((used, stem.to_owned(), path.metadata().ok()?.len()))
            })
            .collect();
        let mut total: u64 = entries.iter().map(|(_, _, len)| len).sum();
        entries.sort();
        for (_, stem, len) in entries {
            if total <= self.limit_bytes {
                break;
            }
            if stem != newest {
                self.remove(&stem);
                total -= len;
                tracing::info!(entry = stem, "cache entry evicted");
            }
        }
    }

    fn remove_old_drafts(&self) {
        for (name, path) in self.files().filter(|(name, _)| name.starts_with(DRAFT)) {
            let age =
                path.metadata().and_then(|file| file.modified()).ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > DRAFT_AGE) && fs::remove_file(&path).is_ok() {
                tracing::info!(draft = name, "left-over draft removed");
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
    }
}

/// A file under a passing name; removed if it is not renamed.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
}

impl Draft {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already if it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Marks an entry as used now. Failing only makes it look older than it is.
fn touch(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}
