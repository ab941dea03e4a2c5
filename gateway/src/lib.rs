//! Tollgate: an edge gateway with embedded Wasm policy filters.
//!
//! # The way of a request
//! [`worker`] accepts a connection and hands each request to [`proxy`], which reads the worker's
//! current [`generation`] once, finds a [`route`], runs the [`filter`] chain, sends to the [`upstream`],
//! runs the chain backwards, and leaves a line in the access log and numbers in [`telemetry`].
//!
//! A connection of a TCP listener goes to `tcp` instead, which runs the filters of its chain on bytes.
//!
//! # The way of a policy
//! [`policy`] turns YAML into types, with modules that [`fetch`] gets from elsewhere; [`reload`] compiles its modules, tries its filters, and has every
//! [`worker`] build the new [`generation`] beside the old one; then each points to it between two
//! requests. [`admin`] shows and triggers it, [`cli`] wires it all.
//!
//! [`workbench`] runs one filter on the same code without a gateway, for tools.
//!
//! Arrows run downwards only: cli → {worker, reload, admin} → {proxy, tcp, generation} → {route, filter,
//! limit, upstream} → {policy, http}. `ARCHITECTURE.md` tells the rest.

pub mod admin;
pub mod cli;
mod deadline;
pub mod explain;
pub mod fetch;
pub mod filter;
pub mod generation;
pub mod history;
pub mod http;
pub mod limit;
pub mod policy;
pub mod proxy;
pub mod reload;
pub mod route;
mod tcp;
pub mod telemetry;
pub mod upstream;
pub mod workbench;
pub mod worker;
