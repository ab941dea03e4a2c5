//! What is seen of filters from outside: metrics over the admin API, the access log, the log.
#![allow(clippy::unwrap_used)]

mod custom;
mod ended;
mod families;
mod guests;
mod host;
mod lines;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::{Gateway, Options, Origin, upstream};

/// A policy that forwards to `origin` past the filter `seen`; `more` are further keys of it, each with
/// a comma in front.
fn policy(module: &Path, origin: &Origin, more: &str) -> String {
    format!(
        "{}filters: {{ seen: {{ wasm: {{ module: '{}'{more} }} }} }}\n\
         routes: [{{ name: all, filters: [seen], forward: {{ upstream: u }} }}]\n",
        upstream(origin),
        module.display()
    )
}

/// One worker, so that there is one VM.
fn start(policy: &str) -> Gateway {
    Gateway::start_with(policy, &Options { workers: 1, ..Options::default() })
}
