//! A Proxy-Wasm filter that runs policies written in Starlark, the dialect of Python made for policy.
//!
//! What: one module for all scripts. A plugin is a script: its configuration carries the source, the modules it
//! may load and its settings ([`tollgate_guest::settings`]); [`script`] evaluates it once and freezes it, so that
//! nothing that a request does is seen by another. [`world`] keeps scripts and exchanges and runs handlers, each on a
//! heap of its own that goes with it. [`api`] is what scripts see; `README.md` documents it.
//!
//! Why beside Lua: a language without surprises for those who know Python. It has no loop without an end, no global
//! state and no way to catch an error. It has no coroutines either: a handler that calls another server names the
//! function that goes on with the answer.
//!
//! Limits: a handler's memory (its `memory` setting) and the callback's CPU budget, both looked at as the script
//! runs ([`limits`]); 100 calls within each other; what each part of the API says.

// Values of the interpreter are unsafe to implement, which its derive macro does.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod api;
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod callbacks;
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod limits;
#[cfg(target_arch = "wasm32")]
mod report;
#[cfg(target_arch = "wasm32")]
mod script;
#[cfg(target_arch = "wasm32")]
mod world;
