//! Calls of filters to other servers, over real sockets.
#![allow(clippy::unwrap_used)]

mod answers;
mod failures;
mod guests;
mod lives;
mod metrics;
mod permission;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::{Gateway, Options, Origin};

/// A policy that forwards to `origin` past the filter `ask`, which may call `auth` at `server`. `more`
/// are further keys of the filter, each with a comma in front.
fn policy(module: &Path, origin: &Origin, server: &str, more: &str) -> String {
    format!(
        "upstreams: {{ u: {{ endpoints: ['{}'] }}, auth: {{ endpoints: ['{server}'] }} }}\n\
         filters: {{ ask: {{ wasm: {{ module: '{}', allow: {{ upstreams: [auth] }}{more} }} }} }}\n\
         routes:\n\
         - {{ name: plain, match: {{ path: {{ exact: /plain }} }}, forward: {{ upstream: u }} }}\n\
         - {{ name: all, filters: [ask], forward: {{ upstream: u }} }}\n",
        origin.address(),
        module.display()
    )
}

/// One worker, so that there is one VM.
fn start(policy: &str) -> Gateway {
    Gateway::start_with(policy, &Options { workers: 1, ..Options::default() })
}

fn begin(module: &Path, origin: &Origin, auth: &Origin) -> Gateway {
    start(&policy(module, origin, &auth.address().to_string(), ""))
}
