//! The adapter between exchanges and `tollgate-proxy-wasm`.
//!
//! * [`VmSlot`]: one VM per worker for each identity (module, `vm_id`, VM configuration). A VM that
//!   traps or spends its budget is thrown away and another is built, with back-off.
//! * [`Plugin`]: a filter in such a VM, carried over a reload if its definition is the same.
//! * [`Context`]: its part in one exchange, or in one TCP connection.
//! * [`Seat`], [`NetworkSeat`]: the place of a filter in one exchange, in one TCP connection; what the
//!   guest's host functions act on.
//! * [`Environment`]: log, timers, calls and shared state of one VM; `calls`: what guests ask of other
//!   servers, and which ones they [`Reach`].

mod backoff;
mod calls;
mod context;
mod environment;
mod inbox;
mod lines;
mod network;
mod plugin;
pub(super) mod properties;
mod seat;
mod slot;

pub use calls::{Reach, Server};
pub use context::Context;
pub use environment::{Environment, Guests};
pub use network::{GuestStream, NetworkSeat};
pub use plugin::{BeginError, Plugin, plugin_spec};
pub use seat::Seat;
pub use slot::{VmKey, VmSlot, Waiting};
