//! The folder on disk.
//!
//! ```text
//! ROOT/HEX/                 one a policy, by the SHA-256 of its path; mode 0700, files 0600
//!   lock                    held (flock) by the gateway that writes here
//!   generations/00000012.json   a Record
//!   blobs/HEX               a file of a policy by the SHA-256 of its bytes, shared by generations
//!   current.json            the generation in force, and whether it was gone back to
//!   events.jsonl            what happened, one JSON object a line
//!   gateway.json            where the admin API of the gateway that holds the lock is
//! ```
//! Files but `events.jsonl` are written whole under another name, synchronised, and renamed; blobs before the
//! record that names them. Of `events.jsonl` the last line may be torn by a crash, and is skipped then.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entry::{Event, FileRef, Pin, Record, hexadecimal};
use super::whole::{DRAFT, end_line, entries, failed, private, read_whole, synchronise, write_whole};
use super::{EVENTS_MAX, lock};
use crate::policy::KeptFile;

const GENERATIONS: &str = "generations";
const BLOBS: &str = "blobs";
const EVENTS: &str = "events.jsonl";
const CURRENT: &str = "current.json";
const NOTE: &str = "gateway.json";
const LOCK: &str = "lock";
/// No gateway comes so far: a higher number is damage, and must not stop the counting.
const NUMBER_MAX: u64 = 1 << 53;

/// Bytes of a JSON file.
const JSON_MAX: u64 = 16 << 20;
/// Bytes of a policy's file; a module has at most half of it.
const BLOB_MAX: u64 = 64 << 20;
/// The list of events is shortened beyond this.
const EVENTS_BYTES_MAX: u64 = 1 << 20;

/// Why the folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another gateway keeps its history there.
    #[error("{} is used by another gateway with the same policy file", .0.display())]
    Busy(PathBuf),
    /// Others can write there.
    #[error("{} is not this user's alone: it must be a folder of mode 0700", .0.display())]
    Foreign(PathBuf),
    /// A file is not what was written.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// It cannot be told in JSON.
    #[error("{} cannot be described: {source}", path.display())]
    Json {
        /// What.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It was never written, and is no more in memory.
    #[error("it is not kept any more")]
    Gone,
}

impl DiskError {
    /// Whether it is for want of room.
    pub(super) fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// The generation in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Current {
    pub(super) generation: u64,
    /// Of its policy, which may be kept under another number, and of which no event may be written yet.
    pub(super) digest: String,
    pub(super) pin: Option<Pin>,
}

/// Where a running gateway can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayNote {
    /// Its process.
    pub pid: u32,
    /// The policy's file.
    pub policy: PathBuf,
    /// The admin API's address.
    pub address: Option<SocketAddr>,
    /// The admin API's Unix socket.
    pub unix: Option<PathBuf>,
}

/// The folder.
pub(super) struct Disk {
    folder: PathBuf,
    /// Held while this process writes.
    lock: Mutex<Option<File>>,
}

/// What the folder has.
#[derive(Default)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    pub(super) events: Vec<Event>,
    pub(super) current: Option<Current>,
}

impl Disk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, lock: Mutex::default() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder if need be, and takes it for this process. True if it was not taken yet.
    pub(super) fn take(&self) -> Result<bool, DiskError> {
        let mut held = lock(&self.lock);
        if held.is_some() {
            return Ok(false);
        }
        for folder in [self.folder.clone(), self.at(GENERATIONS), self.at(BLOBS)] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(failed("make", &folder))?;
        }
        self.check_owner()?;
        let path = self.at(LOCK);
        let file = private().create(true).truncate(false).open(&path).map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => *held = Some(file),
            Err(TryLockError::WouldBlock) => return Err(DiskError::Busy(self.folder.clone())),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
        }
        drop(held);
        self.remove_drafts();
        Ok(true)
    }

    /// Lets another process have it.
    pub(super) fn release(&self) {
        drop(lock(&self.lock).take());
    }

    /// All that can be understood; the rest is logged. Needs no lock, and no right to write.
    pub(super) fn read(&self) -> Found {
        if !self.folder.exists() {
            return Found::default();
        }
        if let Err(error) = self.check_owner() {
            tracing::warn!(%error, "the history of the policy is not read");
            return Found::default();
        }
        Found {
            records: self.read_records(),
            events: self.read_events(),
            current: self.understood::<Current>(&self.at(CURRENT)).filter(|it| it.generation <= NUMBER_MAX),
        }
    }

    /// The files of a policy, each compared with its digest.
    pub(super) fn read_files(&self, record: &Record) -> Result<Arc<[KeptFile]>, DiskError> {
        record.files.iter().map(|file| self.read_file(file)).collect()
    }

    /// Writes a policy's files, then its record.
    pub(super) fn write_policy(&self, record: &Record, files: &[KeptFile]) -> Result<(), DiskError> {
        let blobs = self.at(BLOBS);
        for (reference, file) in record.files.iter().zip(files) {
            let path = blobs.join(&reference.sha256);
            let is_there = fs::metadata(&path).is_ok_and(|found| found.len() == reference.bytes);
            if !is_there {
                write_whole(&path, &file.bytes)?;
            }
        }
        synchronise(&blobs)?;
        let path = self.record_path(record.generation);
        write_whole(&path, &json(&path, record)?)?;
        synchronise(&self.at(GENERATIONS))
    }

    pub(super) fn write_current(&self, current: &Current) -> Result<(), DiskError> {
        let path = self.at(CURRENT);
        if self.understood::<Current>(&path).as_ref() == Some(current) {
            return Ok(());
        }
        write_whole(&path, &json(&path, current)?)?;
        synchronise(&self.folder)
    }

    pub(super) fn write_note(&self, note: &GatewayNote) -> Result<(), DiskError> {
        let path = self.at(NOTE);
        write_whole(&path, &json(&path, note)?)
    }

    /// Adds to the list of events, which is shortened when it has become long.
    pub(super) fn append_events(&self, events: &[Event]) -> Result<(), DiskError> {
        let path = self.at(EVENTS);
        if fs::metadata(&path).is_ok_and(|found| found.len() > EVENTS_BYTES_MAX) {
            let all = self.read_events();
            let last = &all[all.len().saturating_sub(EVENTS_MAX)..];
            write_whole(&path, &lines(&path, last)?)?;
        }
        let text = lines(&path, events)?;
        let mut file = private().create(true).read(true).open(&path).map_err(failed("open", &path))?;
        let end = file.seek(SeekFrom::End(0)).map_err(failed("read", &path))?;
        let written = end_line(&mut file, end).and_then(|()| file.write_all(&text));
        written.and_then(|()| file.sync_data()).map_err(|source| {
            // A torn line would be skipped, and its event be there twice after the next attempt.
            let _ = file.set_len(end);
            failed("write", &path)(source)
        })
    }

    /// Removes what is kept no more: records that are not among `kept`, and blobs that none of those names.
    pub(super) fn prune(&self, kept: &[Arc<Record>]) -> Result<(), DiskError> {
        self.remove_records(kept, |number, _| kept.iter().all(|kept| kept.generation != number))
    }

    /// The same before what is kept is written, for room on a full disk: leaves the policies that are to be
    /// written under another number, and the one that would be served after a crash.
    pub(super) fn make_room(&self, kept: &[Arc<Record>]) -> Result<(), DiskError> {
        let current: Option<Current> = self.understood(&self.at(CURRENT));
        let is_current = |digest: &str| current.as_ref().is_some_and(|current| current.digest == digest);
        self.remove_records(kept, |number, path| {
            kept.iter().all(|kept| kept.generation != number)
                && self.understood::<Record>(path).is_some_and(|record| {
                    !is_current(&record.digest) && kept.iter().all(|kept| kept.digest != record.digest)
                })
        })
    }

    /// Removes records, and the blobs that are named neither by `kept` nor by a record that stays.
    fn remove_records(
        &self,
        kept: &[Arc<Record>],
        is_over: impl Fn(u64, &Path) -> bool,
    ) -> Result<(), DiskError> {
        let files = kept.iter().flat_map(|record| &record.files);
        let mut named: HashSet<String> = files.map(|file| file.sha256.clone()).collect();
        for (path, number) in self.record_paths() {
            if is_over(number, &path) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            } else if kept.iter().all(|record| record.generation != number) {
                // What it names is not known if it cannot be read now: nothing is removed then.
                let Some(record) = self.understood::<Record>(&path) else { return Ok(()) };
                named.extend(record.files.into_iter().map(|file| file.sha256));
            }
        }
        for path in entries(&self.at(BLOBS)) {
            if !path.file_name().and_then(OsStr::to_str).is_some_and(|name| named.contains(name)) {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn record_path(&self, number: u64) -> PathBuf {
        self.folder.join(GENERATIONS).join(format!("{number:08}.json"))
    }

    /// Records by the numbers in their names.
    fn record_paths(&self) -> Vec<(PathBuf, u64)> {
        let number = |path: &Path| path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok();
        let paths = entries(&self.at(GENERATIONS)).into_iter();
        paths.filter_map(|path| number(&path).map(|number| (path, number))).collect()
    }

    fn read_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (path, number) in self.record_paths() {
            match self.understood::<Record>(&path) {
                Some(record) if record.generation == number && number <= NUMBER_MAX => records.push(record),
                Some(_) => tracing::warn!(path = %path.display(), "a kept policy has the name of another"),
                None => {}
            }
        }
        records
    }

    fn read_events(&self) -> Vec<Event> {
        let path = self.at(EVENTS);
        let bytes = match read_whole(&path, JSON_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "past events are not read");
                return Vec::new();
            }
        };
        let mut skipped = 0_usize;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.filter_map(|line| serde_json::from_slice(line).inspect_err(|_| skipped += 1).ok());
        let events =
            events.filter(|event: &Event| event.kind.generation().unwrap_or(0) <= NUMBER_MAX).collect();
        if skipped > 0 {
            tracing::warn!(path = %path.display(), skipped, "past events are damaged");
        }
        events
    }

    /// A JSON file, if it is there and can be understood.
    fn understood<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let read = read_whole(path, JSON_MAX);
        let understood = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        match understood {
            Ok(value) => Some(value),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a file of the policy's history is skipped");
                None
            }
        }
    }

    fn read_file(&self, file: &FileRef) -> Result<KeptFile, DiskError> {
        // A name that is no digest could lead out of the folder.
        if file.sha256.len() != 64 || !file.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(DiskError::Damaged(self.at(GENERATIONS)));
        }
        let path = self.folder.join(BLOBS).join(&file.sha256);
        let bytes = read_whole(&path, BLOB_MAX).map_err(failed("read", &path))?;
        if hexadecimal(&Sha256::digest(&bytes)) != file.sha256 {
            return Err(DiskError::Damaged(path));
        }
        Ok(KeptFile { path: file.path.clone(), bytes: bytes.into() })
    }

    /// What others could have put there must not be put in force.
    fn check_owner(&self) -> Result<(), DiskError> {
        let found = fs::symlink_metadata(&self.folder).map_err(failed("look at", &self.folder))?;
        let is_own =
            found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
        if is_own { Ok(()) } else { Err(DiskError::Foreign(self.folder.clone())) }
    }

    /// What a crash left half written.
    fn remove_drafts(&self) {
        let folders = [self.folder.clone(), self.at(GENERATIONS), self.at(BLOBS)];
        for path in folders.iter().flat_map(|folder| entries(folder)) {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(DRAFT.as_bytes()) {
                // It is in nobody's way, and is tried again.
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The gateways of this user that keep their history under `root` and run now, each with where it can be
/// asked.
pub fn running(root: &Path) -> Vec<GatewayNote> {
    let notes = entries(root).into_iter().filter_map(|folder| {
        let disk = Disk::new(folder);
        disk.check_owner().ok()?;
        // Its holder is alive.
        let lock = File::open(disk.at(LOCK)).ok()?;
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)).then_some(())?;
        disk.understood(&disk.at(NOTE))
    });
    notes.collect()
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, DiskError> {
    serde_json::to_vec(value).map_err(|source| DiskError::Json { path: path.to_owned(), source })
}

fn lines(path: &Path, events: &[Event]) -> Result<Vec<u8>, DiskError> {
    let mut text = Vec::new();
    for event in events {
        text.extend(json(path, event)?);
        text.push(b'\n');
    }
    Ok(text)
}
