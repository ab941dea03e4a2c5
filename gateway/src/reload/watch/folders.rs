//! The folders that are watched, and what is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::snapshot::{FolderId, Snapshot};

/// Watched folders.
pub(super) struct Folders {
    /// `None` if the system has no watcher to give; then files are only polled.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, FolderId>,
    matters: Arc<Mutex<Matters>>,
}

/// What of the events in the watched folders matters.
#[derive(Debug, Default)]
struct Matters {
    /// Whatever happens there.
    places: BTreeSet<PathBuf>,
    /// Folders in which names come, go and change.
    listed: BTreeSet<PathBuf>,
}

impl Folders {
    /// None yet; `signal` is notified when something happens at a place that matters.
    pub(super) fn new(signal: Arc<Notify>) -> Self {
        let matters = Arc::<Mutex<Matters>>::default();
        let told = Arc::clone(&matters);
        let tell = move |event: notify::Result<Event>| {
            if is_relevant(&event, &told) {
                signal.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell)
            .inspect_err(|error| tracing::warn!(%error, "no file events, files are polled"))
            .ok();
        Self { watcher, watched: BTreeMap::new(), matters }
    }

    /// Watches the folders of `snapshot` and no others.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        let matters = Matters { places: snapshot.places.clone(), listed: snapshot.listed.clone() };
        *self.matters.lock().unwrap_or_else(PoisonError::into_inner) = matters;
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
fn is_relevant(event: &notify::Result<Event>, matters: &Mutex<Matters>) -> bool {
    let Ok(event) = event else { return true };
    let renames = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => return false,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
        _ => false,
    };
    let matters = matters.lock().unwrap_or_else(PoisonError::into_inner);
    let is_meant = |path: &PathBuf| {
        matters.places.contains(path)
            || renames && path.parent().is_some_and(|folder| matters.listed.contains(folder))
    };
    // An event without a path says that some were lost.
    event.paths.is_empty() || event.need_rescan() || event.paths.iter().any(is_meant)
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, RenameMode};

    use super::*;

    #[test]
    fn writes_at_places_matter_and_reads_and_neighbours_do_not() {
        let matters = Mutex::new(Matters {
            places: BTreeSet::from(["/f/a".into()]),
            listed: BTreeSet::from(["/g".into()]),
        });
        let event = |kind, path: &str| Ok(Event::new(kind).add_path(path.into()));
        let close = |mode| EventKind::Access(AccessKind::Close(mode));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let table = [
            (event(close(AccessMode::Write), "/f/a"), true),
            (event(EventKind::Create(CreateKind::File), "/f/a"), true),
            (event(renamed, "/f/a"), true),
            (event(renamed, "/f/b"), false),
            (event(close(AccessMode::Write), "/f/b"), false),
            (event(EventKind::Create(CreateKind::File), "/g/x"), true),
            (event(renamed, "/g/x"), true),
            (event(close(AccessMode::Write), "/g/x"), false),
            (event(close(AccessMode::Read), "/f/a"), false),
            (event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/f/a"), false),
            (Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), true),
            (Err(notify::Error::generic("overflow")), true),
        ];
        for (event, expected) in table {
            assert_eq!(is_relevant(&event, &matters), expected, "{event:?}");
        }
    }
}
