//! What commands have in common that compile modules.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use super::{Exit, folders};
use crate::generation::modules::ModuleStore;

/// Where compiled modules are kept.
#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// Folder for compiled modules, as for `tollgate run`.
    #[arg(long, env = "TOLLGATE_CACHE_DIR", value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
}

impl CacheArgs {
    /// The store of compiled modules; what is wrong is told.
    pub(super) fn open(&self) -> Result<ModuleStore, Exit> {
        let folder = folders::cache(self.cache_dir.as_deref());
        ModuleStore::open(&folder)
            .map_err(|error| cannot(&format_args!("the cache of compiled modules cannot be used: {error}")))
    }
}

/// Tells why it cannot be done.
pub(super) fn cannot(why: &dyn std::fmt::Display) -> Exit {
    eprintln!("tollgate: {why}");
    Exit::CannotRun
}

/// Does the work, and says on standard error what takes so long if it takes more than a second.
pub(super) fn told_after_a_second<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (done, ends) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if ends.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what} …");
            }
        });
        let result = work();
        drop(done);
        result
    })
}
