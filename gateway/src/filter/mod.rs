//! Filter chains: what runs between a route and its upstream.
//!
//! * [`Chain`]: the filters of one route on one worker, in the order of the policy.
//! * [`Run`]: one exchange's way through a chain. Requests pass in the order written, responses in
//!   reverse, and only the filters that saw the request see the response.
//! * [`Exchange`]: what filters see and change: both heads, bodies, trailers, properties.
//! * [`BodyPipe`]: one side's body on its way through the chain, held back where a filter pauses.
//! * [`network`]: the same for TCP connections.
//! * [`record`]: taking down what a filter is given and makes of it, for tools.
//! * `native/`: filters in Rust, one file each. `wasm/`: the adapter to `tollgate-proxy-wasm`.
//!
//! A filter in shadow (`on_failure: shadow`) has a copy of the exchange to itself: `run/shadow.rs`.
//!
//! A chain is a loop over an enum; nothing is boxed, and a route without filters costs one branch.
//! Limits: 64 filters in a chain, `limits.buffer_bytes` held back per filter and side.

mod body;
mod chain;
mod copy;
mod edit;
mod exchange;
mod frozen;
mod native;
pub mod network;
pub mod record;
mod reply;
mod run;
mod signals;
pub mod wasm;

pub use body::{BodyPipe, Fed, PipeError};
pub use chain::{Chain, FILTERS_MAX, FilterInstance, Kind};
pub use exchange::{Client, Exchange, RequestHead, ResponseHead, Side};
pub use reply::Reply;
pub use run::{Ended, FilterError, Foreseen, HeadersOutcome, Interrupted, Run, Shadows};
pub use signals::Waiter;
