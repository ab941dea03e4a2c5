//! Makes the O2 code of modules that serve at O0, behind what runs.
//!
//! One module after the other, in a child process of lower priority. When nothing is left to do, the
//! reloader is told once. A module that fails serves on at O0 and is not tried again as long as a
//! policy has it.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tollgate_wasmedge::OptLevel;

use crate::generation::blueprint::Modules;
use crate::generation::modules::{ModuleStore, distinct_modules};
use crate::policy::Policy;

/// A module that serves at O0.
#[derive(Debug, Clone)]
pub(super) struct SlowModule {
    digest: [u8; 32],
    /// A filter that has it, for the log.
    filter: Arc<str>,
    code: Arc<[u8]>,
}

/// Faster code is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recompiled;

/// The modules of a generation that serve at O0.
pub(super) fn slow_modules(policy: &Policy, modules: &Modules) -> Vec<SlowModule> {
    let is_slow =
        |digest: &[u8; 32]| modules.get(digest).is_some_and(|compiled| compiled.level == OptLevel::O0);
    let slow = distinct_modules(policy).into_iter().filter(|(_, wasm)| is_slow(&wasm.digest));
    slow.map(|(filter, wasm)| SlowModule {
        digest: wasm.digest,
        filter: Arc::clone(&filter.name),
        code: Arc::clone(&wasm.code),
    })
    .collect()
}

/// Works until the other end of either channel is gone.
pub(super) async fn optimise(
    store: Arc<ModuleStore>,
    mut slow: watch::Receiver<Vec<SlowModule>>,
    recompiled: mpsc::Sender<Recompiled>,
) {
    let mut tried = HashSet::new();
    let mut is_faster = false;
    loop {
        let next = next(&slow.borrow_and_update(), &mut tried);
        match next {
            Some(module) => {
                tried.insert(module.digest);
                is_faster |= compile(&store, module).await;
            }
            None => {
                if std::mem::take(&mut is_faster) && recompiled.send(Recompiled).await.is_err() {
                    return;
                }
                if slow.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next module to compile. Forgets those that no policy has any more.
fn next(slow: &[SlowModule], tried: &mut HashSet<[u8; 32]>) -> Option<SlowModule> {
    tried.retain(|digest| slow.iter().any(|module| module.digest == *digest));
    slow.iter().find(|module| !tried.contains(&module.digest)).cloned()
}

async fn compile(store: &Arc<ModuleStore>, module: SlowModule) -> bool {
    let store = Arc::clone(store);
    let filter = Arc::clone(&module.filter);
    match spawn_blocking(move || store.optimise(&module.code)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%filter, %error, "module not optimised, it serves on at O0");
            false
        }
        // The runtime is shutting down.
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(number: u8) -> SlowModule {
        SlowModule { digest: [number; 32], filter: "f".into(), code: [][..].into() }
    }

    #[test]
    fn each_module_is_tried_once_while_a_policy_has_it() {
        let mut tried = HashSet::new();
        let modules = [slow(1), slow(2)];
        assert_eq!(next(&modules, &mut tried).map(|module| module.digest), Some([1; 32]));
        tried.extend([[1; 32], [2; 32]]);
        assert!(next(&modules, &mut tried).is_none());
        assert!(next(&modules[1..], &mut tried).is_none());
        assert_eq!(next(&modules, &mut tried).map(|module| module.digest), Some([1; 32]), "it came back");
    }
}
