//! Proxying over real sockets: the binary between a raw client and a raw origin.
#![allow(clippy::unwrap_used)]

mod bodies;
mod connections;
mod errors;
mod headers;
mod http2;
mod parking;
mod records;
mod routes;
mod semantics;
#[path = "../support/mod.rs"]
mod support;
mod unread;
