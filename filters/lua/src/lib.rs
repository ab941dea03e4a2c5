//! A Proxy-Wasm filter that runs policies written in Lua 5.4.
//!
//! What: one module for all scripts. A plugin is a script: its configuration carries the source, the
//! modules it may require and its settings ([`tollgate_guest::settings`]); [`script`] gives it a state of its own, so that
//! neither globals nor memory are shared with another. [`world`] keeps scripts and exchanges and runs
//! handlers, each in a thread of Lua, so that a call to another server reads as a plain call and waits
//! without stopping the worker. [`api`] is what scripts see; `README.md` documents it.
//!
//! Why in C: PUC Lua is the language that people write policies for. It is compiled to plain Wasm, with
//! errors as checked returns (`native/`, `noeh/`).
//!
//! Limits: a script's memory (its `memory` setting), the callback's CPU budget (`native/hook.c`), and what
//! each part of the API says.

// Natively there is no interpreter to use what is tested there.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod calendar;
mod json_text;
mod place;

#[cfg(target_arch = "wasm32")]
use tollgate_guest::{abi, pairs, query, ranges, settings, shared as shared_data, stored};

#[cfg(target_arch = "wasm32")]
mod api;
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod callbacks;
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod lua;
#[cfg(target_arch = "wasm32")]
mod script;
#[cfg(target_arch = "wasm32")]
mod world;
