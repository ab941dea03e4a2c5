//! Filter chains over real sockets: the shipped modules, small ones in WAT, native filters.
#![allow(clippy::unwrap_used)]

mod answers;
mod bodies;
mod capabilities;
mod endpoints;
mod ends;
mod faults;
mod guests;
mod loops;
mod modes;
mod native;
mod pauses;
mod phases;
mod properties;
mod queues;
mod shadow;
mod shipped;
mod state;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::{Origin, upstream};

/// A Wasm filter in a policy; `more` are further keys, each with a comma in front.
fn wasm(module: &Path, more: &str) -> String {
    format!("{{ wasm: {{ module: '{}'{more} }} }}", module.display())
}

/// A policy with these filters on its one route, in this order.
fn chain(origin: &Origin, filters: &[(&str, String)]) -> String {
    let names: Vec<_> = filters.iter().map(|(name, _)| *name).collect();
    let definitions: String = filters.iter().map(|(name, filter)| format!("  {name}: {filter}\n")).collect();
    format!(
        "{}filters:\n{definitions}routes: [{{ name: all, filters: [{}], forward: {{ upstream: u }} }}]\n",
        upstream(origin),
        names.join(", ")
    )
}
