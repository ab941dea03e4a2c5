//! What commands have in common that compile modules.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{Exit, folders};
use crate::fetch::ModuleFetcher;
use crate::generation::modules::ModuleStore;
use crate::policy::remote::Fetch;
use crate::policy::{self, Diagnostics, Loaded};

/// Where modules that were fetched, and compiled ones, are kept.
#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// Folder for modules, fetched and compiled, as for `tollgate run`.
    #[arg(long, env = "TOLLGATE_CACHE_DIR", value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
}

impl CacheArgs {
    /// Reads a policy, and fetches the modules of it that are elsewhere.
    pub(super) fn load(&self, path: &Path) -> Result<Loaded, Diagnostics> {
        let fetch = fetcher(self.cache_dir.as_deref());
        told_after_a_second("reading the policy and its modules", || policy::load(path, &fetch))
    }

    /// The store of compiled modules; what is wrong is told.
    pub(super) fn open(&self) -> Result<ModuleStore, Exit> {
        let folder = folders::cache(self.cache_dir.as_deref());
        ModuleStore::open(&folder)
            .map_err(|error| cannot(&format_args!("the cache of compiled modules cannot be used: {error}")))
    }
}

/// Who fetches the modules that are elsewhere, into a folder in that for the cache.
pub(super) fn fetcher(cache_dir: Option<&Path>) -> Arc<dyn Fetch> {
    Arc::new(ModuleFetcher::new(folders::cache(cache_dir).join("modules")))
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
