//! TCP services: connections through a chain of network filters to an upstream.
//!
//! The order of a connection is in `serve`:
//! 1. accept, the limits on connections (`worker`, [`start`]), the worker's generation, read once: the
//!    connection keeps it to its end;
//! 2. `proxy_on_new_connection` of each filter, in the order written; nothing has been read yet;
//! 3. a connection to the upstream: endpoints in turn, as for requests;
//! 4. `relay`: both directions through the chain until both have ended, or one cannot go on;
//! 5. `session` dropped: the filters are told, and the connection is counted and logged, once and always.
//!
//! A half-closed connection goes on in its other direction. What breaks is broken on the other side too: a
//! reset, or a failure, is passed on as a reset, so that a torn stream never looks like a whole one.
//!
//! Limits: connections (`limits.connections` over all listeners, `tcp.connections` for one), idle time,
//! bytes that a paused filter holds (`tcp.buffer_bytes`). Nothing is read for a side that does not take
//! what there is: at most one read (64 KiB) waits in each direction, and none for an idle connection.

mod relay;
mod serve;
mod session;
mod socket;

pub(crate) use serve::start;
