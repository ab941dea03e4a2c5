//! Where a policy's files are read from: the file system, or what was kept of an earlier reading.
//!
//! Whatever a policy is made of goes through [`Files`]: its text, its scripts, its modules. So the files of a
//! policy in force can be kept beside it (`history`), and the policy be read again from them alone,
//! without the places that they came from. What is kept is what was read, before any name in it is replaced
//! by a secret.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::{ReadError, read_bounded, read_regular};
use super::remote::{Fetch, Fetched, Hex, NoFetch, RemoteModule};

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// The path by which it was read.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Arc<[u8]>,
}

/// Reads files and remembers what it read.
#[derive(Debug)]
pub(super) struct Files {
    /// The only files there are. `None`: those of the file system.
    kept: Option<BTreeMap<PathBuf, Arc<[u8]>>>,
    /// Whether the policy itself may be a pipe.
    takes_pipe: bool,
    read: RefCell<BTreeMap<PathBuf, Arc<[u8]>>>,
    fetch: Arc<dyn Fetch>,
    /// What came of modules from elsewhere, by the digests that name them.
    fetched: RefCell<HashMap<[u8; 32], Fetched>>,
}

/// Which files are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pipes too: a policy may come from another program.
    Any,
    /// Regular files: a pipe would block, and a device never end.
    Regular,
}

impl Files {
    /// Those of the file system, and what `fetch` gets from elsewhere.
    pub(super) fn on_disk(fetch: Arc<dyn Fetch>) -> Self {
        let (read, fetched) = Default::default();
        Self { kept: None, takes_pipe: false, read, fetch, fetched }
    }

    /// Likewise; the policy itself may be a pipe. For a command line, that names it and reads it once: a second
    /// reading would wait for a writer for ever.
    pub(super) fn on_disk_or_piped(fetch: Arc<dyn Fetch>) -> Self {
        Self { takes_pipe: true, ..Self::on_disk(fetch) }
    }

    /// What the policy itself may be.
    pub(super) fn kind_of_policy(&self) -> Kind {
        if self.takes_pipe { Kind::Any } else { Kind::Regular }
    }

    /// Those that were kept, and no others.
    pub(super) fn kept(files: &[KeptFile]) -> Self {
        let kept = files.iter().map(|file| (file.path.clone(), Arc::clone(&file.bytes))).collect();
        Self { kept: Some(kept), ..Self::on_disk(NoFetch::shared()) }
    }

    /// Gets modules from elsewhere, all at once, for [`Files::fetched`].
    pub(super) fn fetch(&self, wanted: &[RemoteModule]) {
        let results = match &self.kept {
            Some(kept) => {
                let lost = || Err("it was not kept".to_owned());
                let found = wanted.iter().map(|module| kept.get(&kept_as(&module.digest)).cloned());
                found.map(|found| found.map_or_else(lost, Ok)).collect()
            }
            None => self.fetch.fetch(wanted),
        };
        for (module, result) in wanted.iter().zip(results) {
            if let Ok(bytes) = &result {
                self.read.borrow_mut().insert(kept_as(&module.digest), Arc::clone(bytes));
            }
            let mut fetched = self.fetched.borrow_mut();
            // Of two sources of the same one is enough.
            if !matches!(fetched.get(&module.digest), Some(Ok(_))) {
                fetched.insert(module.digest, result);
            }
        }
    }

    /// What came of fetching the module of this digest; `None` if that was not tried.
    pub(super) fn fetched(&self, digest: &[u8; 32]) -> Option<Fetched> {
        self.fetched.borrow().get(digest).cloned()
    }

    /// The whole file, if it has at most `max` bytes.
    pub(super) fn read(&self, path: &Path, kind: Kind, max: u64) -> Result<Arc<[u8]>, ReadError> {
        let bytes = match &self.kept {
            Some(kept) => {
                let bytes = kept.get(path).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound));
                Arc::clone(bytes?)
            }
            None if kind == Kind::Regular => read_regular(path, max)?.into(),
            None => read_bounded(path, max)?.into(),
        };
        if bytes.len() as u64 > max {
            return Err(ReadError::TooLarge { max });
        }
        self.read.borrow_mut().insert(path.to_owned(), Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Whether `path` is a folder.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        match &self.kept {
            Some(kept) => kept.keys().any(|file| file != path && file.starts_with(path)),
            None => fs::metadata(path).is_ok_and(|found| found.is_dir()),
        }
    }

    /// The names in a folder, in any order; of what was kept, those of files. The error for more than `max`
    /// is [`ReadError::TooLarge`].
    pub(super) fn list(&self, folder: &Path, max: usize) -> Result<Vec<OsString>, ReadError> {
        if let Some(kept) = &self.kept {
            let inside = kept.keys().filter(|file| file.parent() == Some(folder));
            return Ok(inside.filter_map(|file| file.file_name().map(OsString::from)).collect());
        }
        // The empty path is the current folder.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            if names.len() >= max {
                return Err(ReadError::TooLarge { max: max as u64 });
            }
            names.push(entry?.file_name());
        }
        Ok(names)
    }

    /// All that was read, by path.
    pub(super) fn into_read(self) -> Arc<[KeptFile]> {
        let read = self.read.into_inner().into_iter();
        read.map(|(path, bytes)| KeptFile { path, bytes }).collect()
    }
}

/// The name of a module from elsewhere among kept files: its address may hold a secret.
fn kept_as(digest: &[u8; 32]) -> PathBuf {
    format!("module@sha256:{}", Hex(digest)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_can_be_read_again_without_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        fs::write(&path, "text").unwrap();
        let disk = Files::on_disk(NoFetch::shared());
        assert!(matches!(disk.read(folder.path(), Kind::Regular, 9), Err(ReadError::NotAFile)));
        assert!(matches!(disk.read(&path, Kind::Any, 3), Err(ReadError::TooLarge { max: 3 })));
        assert_eq!(&*disk.read(&path, Kind::Regular, 4).unwrap(), b"text");
        let read = disk.into_read();
        assert_eq!(read.iter().map(|file| &file.path).collect::<Vec<_>>(), [&path]);
        drop(folder);
        let kept = Files::kept(&read);
        assert_eq!(&*kept.read(&path, Kind::Regular, 4).unwrap(), b"text");
        assert!(matches!(kept.read(&path, Kind::Any, 3), Err(ReadError::TooLarge { max: 3 })));
        assert!(matches!(kept.read(Path::new("other"), Kind::Any, 4), Err(ReadError::Io(_))));
        assert!(kept.is_folder(path.parent().unwrap()) && !kept.is_folder(&path));
        assert_eq!(kept.list(path.parent().unwrap(), 1).unwrap(), ["p.yaml"]);
    }
}
