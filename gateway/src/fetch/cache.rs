//! Modules on disk, by the digest under which a policy names them.
//!
//! An entry is one file, `NAMED-CONTENT.wasm`: the digest that the policy names, and that of the content,
//! which differ for images. It is verified whenever it is read, and written beside its place and renamed, so
//! that a crash leaves nothing that counts. The folder must be this user's alone, else nothing in it is
//! believed. What cannot be kept is told and used all the same.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::BYTES_MAX;
use crate::policy::remote::{Hex, RemoteModule, Source, parse_digest};

/// Bytes of all entries.
const CACHE_MAX: u64 = 512 << 20;
/// Prefix of files that are still being written.
const DRAFT: &str = "draft-";
/// Drafts older than this were left by a process that died.
const DRAFT_AGE: Duration = Duration::from_secs(3600);

/// A folder of modules.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

struct Entry {
    path: PathBuf,
    named: [u8; 32],
    content: [u8; 32],
}

impl Cache {
    /// The folder is made when something is kept.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The module `wanted` as it was kept. It counts as used now.
    pub(super) fn get(&self, wanted: &RemoteModule) -> Option<Arc<[u8]>> {
        for entry in self.entries().into_iter().filter(|entry| entry.named == wanted.digest) {
            let is_named = match wanted.source {
                Source::Url(_) => entry.content == entry.named,
                Source::Image(_) => true,
            };
            match read(&entry.path) {
                Ok(bytes) if is_named && entry.content == <[u8; 32]>::from(Sha256::digest(&bytes)) => {
                    touch(&entry.path);
                    return Some(bytes.into());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It may be well, and read another time.
                Err(error) => {
                    tracing::warn!(path = %entry.path.display(), %error, "a kept module is not read");
                }
                // A torn or changed entry would be met again and again.
                Ok(_) => {
                    tracing::warn!(path = %entry.path.display(), "kept module removed: it is not what it was");
                    let _ = fs::remove_file(&entry.path);
                }
            }
        }
        None
    }

    /// Keeps `bytes` under `digest`.
    pub(super) fn put(&self, digest: &[u8; 32], bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if !self.is_ours() {
            let said = format!("others may write to {}", self.folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, said));
        }
        let name = format!("{}-{}.wasm", Hex(digest), Hex(&Sha256::digest(bytes).into()));
        let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.folder)?;
        draft.write_all(bytes)?;
        draft.as_file().sync_all()?;
        draft.persist(self.folder.join(&name)).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes what was not used for longest until the rest fits; what is `wanted` stays.
    pub(super) fn trim(&self, wanted: &[RemoteModule]) {
        self.trim_to(CACHE_MAX, &wanted.iter().map(|wanted| wanted.digest).collect::<Vec<_>>());
    }

    fn trim_to(&self, max: u64, wanted: &[[u8; 32]]) {
        let looked_at = self.entries().into_iter().filter_map(|entry| {
            let found = fs::metadata(&entry.path).ok()?;
            Some((found.modified().ok()?, found.len(), entry))
        });
        let mut entries: Vec<_> = looked_at.collect();
        entries.sort_by_key(|(used, ..)| *used);
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, entry) in entries {
            if bytes <= max {
                break;
            }
            if !wanted.contains(&entry.named) && fs::remove_file(&entry.path).is_ok() {
                bytes -= size;
            }
        }
        self.remove_old_drafts();
    }

    fn remove_old_drafts(&self) {
        for (path, _) in self.files().into_iter().filter(|(_, name)| name.starts_with(DRAFT)) {
            let modified = fs::metadata(&path).and_then(|found| found.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > DRAFT_AGE) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |(path, name): (PathBuf, String)| {
            let (named, content) = name.strip_suffix(".wasm")?.split_once('-')?;
            Some(Entry { path, named: parse_digest(named)?, content: parse_digest(content)? })
        };
        self.files().into_iter().filter_map(entry).collect()
    }

    /// Those of a folder that others may write to are not believed.
    fn files(&self) -> Vec<(PathBuf, String)> {
        if !self.is_ours() {
            return Vec::new();
        }
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?))).collect()
    }

    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.folder).is_ok_and(|found| {
            let is_users = found.uid() == rustix::process::geteuid().as_raw();
            found.is_dir() && is_users && found.mode() & 0o022 == 0
        })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Failing only makes it look older than it is.
fn touch(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::policy::remote::Image;

    fn image(digest: [u8; 32]) -> RemoteModule {
        let image = Image { registry: "r.example".into(), repository: "m".into() };
        RemoteModule { name: "m".into(), source: Source::Image(image), digest, credentials: None }
    }

    #[test]
    fn what_is_kept_is_verified() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("modules"));
        let module = image([7; 32]);
        assert_eq!(cache.get(&module), None);
        cache.put(&module.digest, b"module").unwrap();
        assert_eq!(cache.get(&module).as_deref(), Some(&b"module"[..]));
        assert_eq!(cache.get(&image([8; 32])), None);
        // By a URL the digest is that of the content.
        cache.put(&[9; 32], b"module").unwrap();
        let source = Source::Url("https://m.example".into());
        assert_eq!(cache.get(&RemoteModule { source, ..image([9; 32]) }), None);
        assert_eq!(cache.entries().len(), 1, "it goes");
        fs::write(&cache.entries()[0].path, "other").unwrap();
        assert_eq!(cache.get(&module), None);
        assert!(cache.entries().is_empty(), "a changed entry goes");
    }

    #[test]
    fn a_folder_of_others_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("modules"));
        let module = image([7; 32]);
        cache.put(&module.digest, b"module").unwrap();
        let mode = |mode| fs::set_permissions(&cache.folder, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&cache.folder).unwrap().mode() & 0o777, 0o700);
        mode(0o770);
        assert_eq!(cache.get(&module), None);
        assert_eq!(cache.put(&[8; 32], b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        mode(0o700);
        assert!(cache.get(&module).is_some());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("modules"));
        let old = SystemTime::now() - Duration::from_secs(1000);
        let digests = [[1; 32], [2; 32], [3; 32], [4; 32]];
        for (age, digest) in digests.iter().enumerate() {
            cache.put(digest, &[0; 100]).unwrap();
            let entry = cache.entries().into_iter().find(|entry| entry.named == *digest).unwrap();
            let at = old + Duration::from_secs(age as u64);
            File::open(entry.path).unwrap().set_modified(at).unwrap();
        }
        assert!(cache.get(&image([1; 32])).is_some(), "used now");
        cache.trim_to(250, &[[2; 32]]);
        let left = digests.map(|digest| cache.entries().iter().any(|entry| entry.named == digest));
        assert_eq!(left, [true, true, false, false]);
        cache.trim_to(0, &digests);
        assert_eq!(cache.entries().len(), 2, "what is wanted stays");
    }
}
