//! gRPC calls and streams of filters, over real HTTP/2 to a server of the `h2` crate.
#![allow(clippy::unwrap_used)]

mod guests;
mod server;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod unary;

use std::net::SocketAddr;
use std::path::Path;

use support::{Gateway, Options, Origin};

/// A policy that forwards to `origin` past the filter `ask`, which may call `auth` at `server`. `more`
/// are further keys of the filter, each with a comma in front.
fn policy(module: &Path, origin: &Origin, server: SocketAddr, more: &str) -> String {
    format!(
        "upstreams: {{ u: {{ endpoints: ['{origin}'] }}, old: {{ endpoints: ['{server}'] }}, \
         auth: {{ protocol: http2, endpoints: ['{server}'] }} }}\n\
         filters: {{ ask: {{ wasm: {{ module: '{}', allow: {{ upstreams: [auth, old], hosts: ['{server}'] }}{more} }} }} }}\n\
         routes: [{{ name: all, filters: [ask], forward: {{ upstream: u }} }}]\n",
        module.display(),
        origin = origin.address(),
    )
}

/// One worker, so that there is one VM.
fn start(policy: &str) -> Gateway {
    Gateway::start_with(policy, &Options { workers: 1, ..Options::default() })
}

fn begin(module: &Path, origin: &Origin, server: SocketAddr) -> Gateway {
    start(&policy(module, origin, server, ""))
}
