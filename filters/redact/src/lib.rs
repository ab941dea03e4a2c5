//! A Proxy-Wasm filter that redacts what bodies should not carry, while they stream by.
//!
//! What: literals and a few classes of secrets ([`class`]) are found by [`scanner::Scanner`],
//! which keeps back the few bytes at the end of a chunk that may be the start of a match. The
//! headers decide whether a body is looked at at all ([`message`]).
//!
//! Order: headers are read and lengths settled first, then chunks go through the scanner, and the
//! last chunk (or the trailers) brings out what was kept back. Limits: [`pattern::MAX_SPAN`] bytes
//! kept back a direction, [`config::MAX_PATTERNS`] patterns.

pub mod class;
pub mod config;
pub mod message;
pub mod pattern;
pub mod scanner;

#[cfg(target_arch = "wasm32")]
mod filter;
