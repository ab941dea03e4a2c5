//! A Proxy-Wasm filter that allows or denies requests by path, method, header and client address.
//!
//! What: an ordered list of rules ([`rule`]), each with conditions that must all hold; the first
//! rule that matches decides, else the default does. Why its own reading of the path ([`path`]):
//! a rule that guards `/admin` must also guard `/%61dmin` and `/x/../admin`.
//!
//! What is uncertain never helps the sender: where a fact is unknown or ambiguous, a rule that
//! denies matches and a rule that allows does not. Limits: see [`config`].

pub mod config;
pub mod glob;
pub mod path;
pub mod rule;

#[cfg(target_arch = "wasm32")]
mod filter;
