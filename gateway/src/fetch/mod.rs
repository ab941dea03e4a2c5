//! Modules from elsewhere: from a URL or an OCI registry, by the digest that the policy names.
//!
//! 1. [`ModuleFetcher`] looks into its cache (`cache`), whose entries are verified when they are read.
//! 2. What is not there is fetched (`http`; `registry` and `image`), four at once, verified and kept.
//!
//! As the digest is mandatory, what was fetched once is never asked for again: that a source is dead is
//! noticed only by a policy that wants something new. All of it blocks, and belongs where policies are read:
//! on control's blocking threads or a command line, never on a worker. Certificates are loaded, and a client
//! is there, only while something is fetched.
//!
//! Limits: 32 MiB of a module, 64 MiB of an archive that holds one; two minutes for all modules of a policy,
//! a minute, 5 s to connect and 5 redirects of a request; 512 MiB of cache, from which goes first what was
//! not used for longest, but nothing that the policy at hand names.

mod cache;
mod credentials;
mod http;
mod image;
mod registry;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use sha2::{Digest, Sha256};

use self::cache::Cache;
use self::http::{Http, HttpError};
use self::registry::{PullError, Registry};
use crate::policy::remote::{Credentials, Fetch, Fetched, Hex, RemoteModule, Source};

/// Bytes of a module.
const BYTES_MAX: u64 = 32 << 20;
/// Fetches at once.
const AT_ONCE: usize = 4;
/// Characters of a reason: parts of it are a server's.
const REASON_MAX: usize = 400;

/// Fetches modules and keeps them in a folder.
#[derive(Debug)]
pub struct ModuleFetcher {
    cache: Cache,
}

/// Why a module cannot be had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("what is there has another SHA-256, {0}")]
    Digest(String),
}

impl ModuleFetcher {
    /// Keeps what it fetches in `folder`, which is made with mode 0700 when it is needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { cache: Cache::new(folder) }
    }

    fn get(&self, wanted: &RemoteModule, http: &OnceLock<Http>) -> Result<Arc<[u8]>, FetchError> {
        if let Some(kept) = self.cache.get(wanted) {
            return Ok(kept);
        }
        tracing::info!(module = %wanted.name, "module is fetched");
        let begun = Instant::now();
        let bytes = fetch(wanted, http.get_or_init(Http::new))?;
        let took_ms = begun.elapsed().as_millis() as u64;
        tracing::info!(module = %wanted.name, bytes = bytes.len(), took_ms, "module fetched");
        if let Err(error) = self.cache.put(&wanted.digest, &bytes) {
            tracing::warn!(module = %wanted.name, %error, "module not kept, it will be fetched again");
        }
        Ok(bytes.into())
    }
}

/// The module, verified.
fn fetch(wanted: &RemoteModule, http: &Http) -> Result<Vec<u8>, FetchError> {
    match &wanted.source {
        Source::Url(url) => {
            let authorization = wanted.credentials.as_ref().map(basic);
            let response = http.get(url, "application/wasm, */*", authorization.as_deref())?;
            let bytes = http::body(response, BYTES_MAX)?;
            let found: [u8; 32] = Sha256::digest(&bytes).into();
            if found == wanted.digest { Ok(bytes) } else { Err(FetchError::Digest(Hex(&found).to_string())) }
        }
        Source::Image(image) => {
            Ok(Registry::new(http, image, wanted.credentials.as_ref()).pull(&wanted.digest)?)
        }
    }
}

impl Fetch for ModuleFetcher {
    fn fetch(&self, wanted: &[RemoteModule]) -> Vec<Fetched> {
        let (http, next) = (OnceLock::new(), AtomicUsize::new(0));
        let slots: Vec<OnceLock<_>> = wanted.iter().map(|_| OnceLock::new()).collect();
        let work = || {
            while let Some((wanted, slot)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                wanted.get(index).zip(slots.get(index))
            } {
                // Each index is taken once.
                let _ = slot.set(self.get(wanted, &http).map_err(|error| shown(&error)));
            }
        };
        std::thread::scope(|scope| {
            (1..AT_ONCE.min(wanted.len())).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        self.cache.trim(wanted);
        // A panic of a thread has ended this one, so that all slots are taken.
        let lost = || Err("it was not tried".to_owned());
        slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(lost)).collect()
    }

    fn kept(&self, wanted: &[RemoteModule]) -> Vec<Fetched> {
        let kept = |wanted| self.cache.get(wanted).ok_or_else(|| "it is not at hand".to_owned());
        wanted.iter().map(kept).collect()
    }
}

/// What HTTP calls a name and a password, as a field `Authorization` says it.
fn basic(Credentials { username, password }: &Credentials) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}")))
}

/// A reason in one line: a server may have put anything into it.
fn shown(error: &FetchError) -> String {
    let text = error.to_string();
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(REASON_MAX).collect()
}
