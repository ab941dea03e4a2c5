//! Where the way to a file leads at the moment, and what lies at its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Links followed on the way to one file; Linux gives up at the same number.
const LINKS_MAX: usize = 40;
/// Names in a folder that are looked at.
const NAMES_MAX: usize = 10_000;

/// What a look at some files found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// What each file looks like; `None` if it is not there.
    files: BTreeMap<PathBuf, Option<Look>>,
    /// The names in each folder that is watched for them; `None` if it is not there.
    listings: BTreeMap<PathBuf, Option<BTreeSet<OsString>>>,
    /// Links on the way, and the ends: whatever happens to one of these may change a file.
    pub(super) places: BTreeSet<PathBuf>,
    /// Folders in which a new name matters.
    pub(super) listed: BTreeSet<PathBuf>,
    /// The folders that the places lie in, as far as they exist.
    pub(super) folders: BTreeMap<PathBuf, FolderId>,
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Which folder is at a path: a watch stays with the folder when another takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FolderId {
    device: u64,
    inode: u64,
}

impl Snapshot {
    /// Looks at `files`, and at the names in `listed` folders; absolute paths.
    pub(super) fn take(files: &BTreeSet<PathBuf>, listed: &BTreeSet<PathBuf>) -> Self {
        let mut snapshot = Self::default();
        for file in files {
            follow(file, &mut snapshot.places);
            snapshot.files.insert(file.clone(), fs::metadata(file).ok().map(|found| Look::of(&found)));
        }
        for folder in listed {
            let real = follow(folder, &mut snapshot.places);
            let names = names(folder);
            if let Ok(found) = fs::metadata(folder) {
                snapshot.folders.insert(real.clone(), FolderId { device: found.dev(), inode: found.ino() });
                snapshot.listed.insert(real);
            }
            snapshot.listings.insert(folder.clone(), names);
        }
        for folder in snapshot.places.iter().filter_map(|place| place.parent()) {
            if let Ok(found) = fs::metadata(folder) {
                let id = FolderId { device: found.dev(), inode: found.ino() };
                snapshot.folders.insert(folder.to_owned(), id);
            }
        }
        snapshot
    }
}

impl Look {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The names in a folder, at most [`NAMES_MAX`].
fn names(folder: &Path) -> Option<BTreeSet<OsString>> {
    let entries = fs::read_dir(folder).ok()?;
    Some(entries.flatten().take(NAMES_MAX).map(|entry| entry.file_name()).collect())
}

/// Adds each link on the way to `path`, and its end, to `places`; all without links before them,
/// so that the folder of a place is the real one. Gives the end.
fn follow(path: &Path, places: &mut BTreeSet<PathBuf>) -> PathBuf {
    let mut resolved = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path).collect();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let place = resolved.join(&part);
        match fs::read_link(&place) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(part);
                }
                places.insert(place);
            }
            // Not a link, not there, or too many of them.
            _ => resolved = place,
        }
    }
    places.insert(resolved.clone());
    resolved
}

/// The names of a path, and `..`.
fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn places(path: &Path, root: &Path) -> Vec<String> {
        let mut places = BTreeSet::new();
        follow(path, &mut places);
        places.iter().map(|place| place.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn every_link_on_the_way_is_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/policy.yaml"), "a").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/policy.yaml", root.join("policy.yaml")).unwrap();
        symlink(root.join("policy.yaml"), root.join("absolute")).unwrap();
        symlink("..2026/../absolute", root.join("up")).unwrap();

        let kubernetes = ["..2026/policy.yaml", "..data", "policy.yaml"];
        assert_eq!(places(&root.join("policy.yaml"), &root), kubernetes);
        let all = ["..2026/policy.yaml", "..data", "absolute", "policy.yaml", "up"];
        assert_eq!(places(&root.join("up"), &root), all);
        assert_eq!(places(&root.join("none/such"), &root), ["none/such"]);
        symlink("ring", root.join("ring")).unwrap();
        assert_eq!(places(&root.join("ring"), &root), ["ring"]);
    }

    #[test]
    fn names_in_a_listed_folder_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(folder.path()).unwrap();
        let listed = BTreeSet::from([folder.path().to_owned(), folder.path().join("none")]);
        let before = Snapshot::take(&BTreeSet::new(), &listed);
        assert!(before.listed.contains(&real) && before.folders.contains_key(&real));
        assert_eq!(before, Snapshot::take(&BTreeSet::new(), &listed));
        fs::write(folder.path().join("a"), "").unwrap();
        let after = Snapshot::take(&BTreeSet::new(), &listed);
        assert_ne!(before, after);
        fs::write(folder.path().join("a"), "another content").unwrap();
        assert_eq!(after, Snapshot::take(&BTreeSet::new(), &listed), "contents are for `files`");
        fs::create_dir(folder.path().join("none")).unwrap();
        assert_ne!(after, Snapshot::take(&BTreeSet::new(), &listed));
    }

    #[test]
    fn a_look_tells_contents_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let files = BTreeSet::from([file.clone()]);
        let mut before = Snapshot::take(&files, &BTreeSet::new());
        for content in ["one", "three"] {
            fs::write(&file, content).unwrap();
            let after = Snapshot::take(&files, &BTreeSet::new());
            assert_ne!(before, after);
            assert_eq!(after, Snapshot::take(&files, &BTreeSet::new()));
            before = after;
        }
        fs::write(folder.path().join("b"), "three").unwrap();
        fs::rename(folder.path().join("b"), &file).unwrap();
        assert_ne!(before, Snapshot::take(&files, &BTreeSet::new()));
    }
}
