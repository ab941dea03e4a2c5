//! A Proxy-Wasm filter for TCP connections: guards a port by client address, protocol and amount of data.
//!
//! What: a new connection is let in by its address ([`guard`]); the client's first bytes are held back
//! until they show a protocol that is allowed ([`protocol`]); each side may send so much and no more.
//! A connection that may not go on is closed.
//!
//! What is uncertain never helps the sender: an address that is unknown is in every list that denies and
//! in none that allows. Limits: see [`config`].

pub mod config;
pub mod guard;
pub mod protocol;

#[cfg(target_arch = "wasm32")]
mod filter;
