//! What the operator wants, as types that cannot hold nonsense.
//!
//! A policy is a YAML file, with those that it includes, or a folder of them. On its way from text to
//! [`Policy`] (`load`)
//! 1. its files are found and read (`gather`), and each is walked for positions, size, depth and duplicate
//!    keys, before anything is expanded (`source`), and read by serde_yaml;
//! 2. variables in them are replaced ([`variables`]), and they are put together into one document, in which
//!    defaults and adjusted filters are filled in (`compose`);
//! 3. it is decoded into a private raw form, unknown keys refused (`decode`, `raw`);
//! 4. that is resolved into the types of this page, in which every name is bound, every limit is positive
//!    and every pattern is compiled (`resolve`).
//!
//! Text that is no YAML and files that cannot be read are told alone; the other steps report **all** that
//! is wrong at once, each with file, line, column, path and a hint ([`diagnostics`]). `policies/full.yaml`
//! shows the format.
//!
//! Nothing here does I/O but reading the text and the files that the policy names; modules from elsewhere are
//! asked of whoever the caller gives ([`remote::Fetch`]). Nothing here knows the rest of the gateway.

pub mod bodies;
pub mod cases;
mod compose;
mod decode;
pub mod diagnostics;
pub mod facts;
pub mod fault;
mod files;
pub mod filter;
mod gather;
mod inputs;
mod interpreter;
pub mod limits;
pub mod listener;
mod load;
mod path;
mod places;
mod raw;
pub(crate) mod read;
pub mod remote;
mod report;
mod resolve;
pub mod rollout;
pub mod route;
mod schema;
mod script;
mod source;
mod suggest;
pub mod upstream;
pub mod variables;

use std::sync::Arc;

pub use diagnostics::{Diagnostic, Diagnostics};
pub use files::KeptFile;
pub use inputs::Inputs;
pub use load::{Loaded, Reading, load, load_kept, parse, read};
pub use places::Places;
pub use read::ReadError;
pub use resolve::read_module;
pub use schema::schema;

/// A whole policy, valid by construction.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Where clients connect. At least one. Addresses are fixed for the life of the process.
    pub listeners: Vec<listener::Listener>,
    /// Where the admin API listens. Loopback unless the policy says otherwise aloud. Fixed.
    pub admin: Option<listener::AdminListener>,
    /// Limits on what a client may send, hold and wait for.
    pub limits: limits::Limits,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Where requests can go, in the order written.
    pub upstreams: Vec<Arc<upstream::Upstream>>,
    /// Filters that routes name, in the order written.
    pub filters: Vec<Arc<filter::Filter>>,
    /// Routes, in the order written; precedence is `route`'s.
    pub routes: Vec<Arc<route::Route>>,
    /// How it comes into force; none: at once.
    pub rollout: Option<rollout::Rollout>,
    /// What it was read from.
    pub inputs: Arc<Inputs>,
    /// Which variables are part of what.
    pub origins: Arc<variables::Origins>,
}

#[cfg(test)]
mod tests;
