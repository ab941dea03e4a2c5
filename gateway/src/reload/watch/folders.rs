//! The folders that are watched, and what is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::snapshot::{FolderId, Snapshot};

/// Watched folders.
pub(super) struct Folders {
    /// `None` if the system has no watcher to give; then files are only polled.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, FolderId>,
    places: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Folders {
    /// None yet; `signal` is notified when something happens at a place that matters.
    pub(super) fn new(signal: Arc<Notify>) -> Self {
        let places = Arc::new(Mutex::new(BTreeSet::new()));
        let matters = Arc::clone(&places);
        let tell = move |event: notify::Result<Event>| {
            if is_relevant(&event, &matters) {
                signal.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell)
            .inspect_err(|error| tracing::warn!(%error, "no file events, files are polled"))
            .ok();
        Self { watcher, watched: BTreeMap::new(), places }
    }

    /// Watches the folders of `snapshot` and no others.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&snapshot.places);
        let Some(watcher) = &mut self.watcher else { return };
        self.watched.retain(|folder, id| {
            let stays = snapshot.folders.get(folder) == Some(id);
            if !stays {
                // It fails if the folder is gone, and the watch with it.
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        for (folder, id) in &snapshot.folders {
            if self.watched.contains_key(folder) {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder.clone(), *id);
                }
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "folder not watched"),
            }
        }
    }
}

/// Whether an event may mean another content. Reading is not one: it would tell of ourselves.
fn is_relevant(event: &notify::Result<Event>, places: &Mutex<BTreeSet<PathBuf>>) -> bool {
    let Ok(event) = event else { return true };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    let places = places.lock().unwrap_or_else(PoisonError::into_inner);
    // An event without a path says that some were lost.
    event.paths.is_empty() || event.need_rescan() || event.paths.iter().any(|path| places.contains(path))
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn writes_at_places_matter_and_reads_and_neighbours_do_not() {
        let places = Mutex::new(BTreeSet::from([PathBuf::from("/f/a")]));
        let event = |kind, path: &str| Ok(Event::new(kind).add_path(path.into()));
        let close = |mode| EventKind::Access(AccessKind::Close(mode));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let table = [
            (event(close(AccessMode::Write), "/f/a"), true),
            (event(EventKind::Create(CreateKind::File), "/f/a"), true),
            (event(renamed, "/f/a"), true),
            (event(renamed, "/f/b"), false),
            (event(close(AccessMode::Write), "/f/b"), false),
            (event(close(AccessMode::Read), "/f/a"), false),
            (event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/f/a"), false),
            (Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), true),
            (Err(notify::Error::generic("overflow")), true),
        ];
        for (event, expected) in table {
            assert_eq!(is_relevant(&event, &places), expected, "{event:?}");
        }
    }
}
