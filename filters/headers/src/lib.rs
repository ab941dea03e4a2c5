//! A Proxy-Wasm filter that sets, adds and removes headers of requests and responses.
//!
//! What: a configuration is parsed once into two lists of operations ([`config`]); a request
//! walks the lists and does one host call an operation, plus one for each value that a template
//! reads ([`template`]). Why in this shape: the filter stands in front of every request, so
//! nothing that can be known at configuration time is worked out again.
//!
//! Order within a side: remove, set, add. Limits: [`config::MAX_OPERATIONS`] a side,
//! [`template::MAX_VALUE`] bytes a value.

pub mod config;
pub mod operation;
pub mod template;

#[cfg(target_arch = "wasm32")]
mod filter;
