//! Network filters: what runs on a TCP connection between accept and its upstream.
//!
//! * [`Connection`]: what filters see and change: addresses, the data on its way, properties.
//! * [`Passage`]: one connection's way through a chain. A new connection and the client's bytes pass in
//!   the order written, the upstream's bytes in reverse.
//!
//! A filter that holds data back sees it again together with what comes next, as a filter of a body does.
//! Limits: `tcp.buffer_bytes` held back per filter and direction; beyond it the connection is reset.

mod connection;
mod passage;
mod properties;
mod signals;

pub use connection::Connection;
pub use passage::{Passage, Stop};
pub(super) use properties::read as read_property;
