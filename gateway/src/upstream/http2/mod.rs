//! HTTP/2 to an endpoint, in the clear and by prior knowledge (RFC 9113 §3.3): many requests at once
//! on one connection.
//!
//! 1. `send`: the order for one request; [`super::UpstreamPool::send`] comes here when the policy says
//!    `protocol: http2`.
//! 2. `shared`: the connections of an endpoint. A request takes the first that has room; if none has,
//!    one request connects and the others wait for it.
//! 3. `connection`: one connection, driven by a task of its own, as its streams do not wait for each
//!    other. `wire` is the byte stream below it.
//! 4. `upload`: the request body, and when the last of it was handed over.
//! 5. `failure`: what an error of HTTP/2 means for the request.
//!
//! A GOAWAY takes the connection out of the pool; streams it still serves run to their end. Requests
//! that the peer says it has not looked at (GOAWAY, `REFUSED_STREAM`) are sent again when they have no
//! body.
//!
//! No PINGs are sent: gRPC servers count them against the client and close (`too_many_pings`). A peer
//! that has vanished is found by TCP keep-alive, an idle connection is closed after `idle_timeout`.
//!
//! Limits: 100 streams a connection, or fewer if the peer says so; 64 KiB of each response read ahead,
//! and the connection's window is that for all its streams together, so that no client that reads
//! slowly holds up the others; response heads of 64 KiB.

mod connection;
mod failure;
mod send;
mod shared;
mod upload;
mod wire;

pub(super) use self::connection::StreamLease;
pub(super) use self::shared::SharedConnections;
