//! HTTP rules that need no I/O: a leaf that the spine calls, in this order, on every request.
//!
//! 1. [`framing`]: refuse what hyper lets through and a proxy must not (smuggling).
//! 2. [`host`]: the one authority that the request is for.
//! 3. [`path`]: the one spelling of the path that routes and filters see and upstreams get.
//! 4. [`hop`]: take the hop-by-hop fields off, before any filter runs.
//! 5. [`forwarded`]: who the client is, and `X-Forwarded-*` for the upstream.
//! 6. [`request_id`]: a name for the request in logs.
//!
//! Everything here is pure, allocates only when a message must be changed, and is bounded by the
//! limit on header bytes that the listener keeps. An error is always the sender's fault, so each
//! maps to one 4xx answer (or 502, if it was the upstream's message).

pub mod forwarded;
pub mod framing;
pub mod hop;
pub mod host;
pub mod path;
pub mod request_id;
