//! Real files, real events.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// A folder with files that are watched.
struct Watched {
    folder: TempDir,
    set: watch::Sender<WatchSet>,
    changes: mpsc::Receiver<FilesChanged>,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    /// Lets `prepare` fill a folder, then watches `file` in it; the first notice is taken.
    async fn start(file: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let (set, files) = watch::channel(WatchSet::from_iter([folder.path().join(file)]));
        let (sender, changes) = mpsc::channel(1);
        let task = tokio::spawn(super::watch(files, sender));
        let mut watched = Self { folder, set, changes, task };
        watched.told().await;
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits for a notice.
    async fn told(&mut self) {
        tokio::time::timeout(DEADLINE, self.changes.recv()).await.unwrap().unwrap();
    }

    /// Waits for a notice after which `is_there` holds: a change may be told more than once.
    async fn told_until(&mut self, is_there: impl Fn() -> bool) {
        loop {
            self.told().await;
            if is_there() {
                return;
            }
        }
    }
}

fn reads(path: &Path, content: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|found| found == content)
}

#[tokio::test]
async fn writing_in_place_is_told() {
    let mut watched = Watched::start("a", |folder| fs::write(folder.join("a"), "1").unwrap()).await;
    let path = watched.path("a");
    for content in ["2", "3", "3 and more", ""] {
        fs::write(&path, content).unwrap();
        watched.told_until(|| reads(&path, content)).await;
    }
}

#[tokio::test]
async fn renaming_over_the_file_is_told_again_and_again() {
    let mut watched = Watched::start("a", |folder| fs::write(folder.join("a"), "1").unwrap()).await;
    let path = watched.path("a");
    for content in ["2", "3", "4"] {
        fs::write(watched.path("a.tmp"), content).unwrap();
        fs::rename(watched.path("a.tmp"), &path).unwrap();
        watched.told_until(|| reads(&path, content)).await;
    }
}

#[tokio::test]
async fn removing_and_creating_is_told() {
    let mut watched = Watched::start("a", |folder| fs::write(folder.join("a"), "1").unwrap()).await;
    let path = watched.path("a");
    fs::remove_file(&path).unwrap();
    watched.told_until(|| !path.exists()).await;
    fs::write(&path, "2").unwrap();
    watched.told_until(|| reads(&path, "2")).await;
}

/// A mounted ConfigMap: `policy.yaml` → `..data/policy.yaml`, `..data` → a folder with a date.
#[tokio::test]
async fn a_kubernetes_swap_is_told_again_and_again() {
    let version = |folder: &Path, version: &str| {
        let data = folder.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("policy.yaml"), version).unwrap();
        symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let mut watched = Watched::start("policy.yaml", |folder| {
        version(folder, "1");
        symlink("..data/policy.yaml", folder.join("policy.yaml")).unwrap();
    })
    .await;
    let path = watched.path("policy.yaml");
    for next in ["2", "3", "4"] {
        version(watched.folder.path(), next);
        watched.told_until(|| reads(&path, next)).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_again() {
    let fill = |folder: &Path, content: &str| {
        fs::create_dir(folder.join("new")).unwrap();
        fs::write(folder.join("new/a"), content).unwrap();
        fs::rename(folder.join("new"), folder.join("sub")).unwrap();
    };
    let mut watched = Watched::start("sub/a", |folder| fill(folder, "1")).await;
    let path = watched.path("sub/a");
    for content in ["2", "3"] {
        fs::rename(watched.path("sub"), watched.path(&format!("old{content}"))).unwrap();
        fill(watched.folder.path(), content);
        // This one is found by polling, as nobody watches the folder above.
        watched.told_until(|| reads(&path, content)).await;
        let changed = format!("{content}+");
        fs::write(&path, &changed).unwrap();
        watched.told_until(|| reads(&path, &changed)).await;
    }
}

#[tokio::test]
async fn a_new_set_replaces_the_old_one() {
    let mut watched = Watched::start("a", |folder| {
        fs::write(folder.join("a"), "1").unwrap();
        fs::write(folder.join("b"), "1").unwrap();
    })
    .await;
    let path = watched.path("b");
    watched.set.send(WatchSet::from_iter([path.clone()])).unwrap();
    watched.told().await;
    fs::write(&path, "2").unwrap();
    watched.told_until(|| reads(&path, "2")).await;
}

#[tokio::test]
async fn a_closed_channel_ends_it() {
    let Watched { folder: _folder, set, changes, task } = Watched::start("a", |_| ()).await;
    drop(changes);
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
    drop(set);

    let Watched { folder: _folder, set, changes: _changes, task } = Watched::start("a", |_| ()).await;
    drop(set);
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
}
