//! What the filters that run scripts (`lua`, `starlark`) share.
//!
//! [`abi`] is the host, as plain functions over slices; the SDK for Rust is built around objects of its own
//! and copies what a script copies anyway; `shared` and `failure` stand on it. [`settings`] is what a policy
//! gives a script. The others are forms of what passes: maps ([`pairs`]), queries ([`query`]), shared values
//! ([`stored`]), ranges of addresses ([`ranges`]), and regular expressions ([`patterns`]).

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
pub mod abi;
#[cfg(target_arch = "wasm32")]
pub mod failure;
pub mod pairs;
pub mod patterns;
pub mod query;
pub mod ranges;
pub mod settings;
#[cfg(target_arch = "wasm32")]
pub mod shared;
pub mod stored;
