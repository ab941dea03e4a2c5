//! A Proxy-Wasm filter that scores requests by agent, path, country, network and rate.
//!
//! What: the risk score of `policies/lua/risk.lua` and `policies/starlark/risk.star` in Rust, to the point, so that the
//! three can be compared; the same configuration but for the patterns of paths, which are regular expressions.
//! [`config`] reads it, [`score`] adds up, and the Proxy-Wasm side (`filter`) asks the host.
//!
//! Limits: see [`config`].

pub mod config;
pub mod score;

#[cfg(target_arch = "wasm32")]
mod filter;
