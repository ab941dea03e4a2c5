//! What the integration tests share: the real binary, an origin and a client that may send any bytes,
//! and guests.
//!
//! * [`Gateway`]: the binary with a policy, on ports of its own; killed when dropped.
//! * [`Origin`]: an upstream. It sees every byte and may answer with any, late, half or never.
//! * [`Http2Origin`]: an upstream that speaks HTTP/2, and gRPC with it.
//! * [`Redis`]: a real redis-server.
//! * [`Client`]: a connection to the gateway.
//! * [`Ran`]: a command of the binary, run to its end.
//! * [`Gate`]: lets one side wait for the other.
//! * [`guest`]: Wasm modules, the shipped ones and small ones in WAT.
//! * [`script`]: policies whose filters are scripts.
//!
//! Nothing sleeps: every wait is for a condition and fails after [`DEADLINE`].

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used)]

pub mod asking;
mod client;
mod gate;
mod gateway;
pub mod guest;
mod http2;
mod message;
mod origin;
mod ran;
mod redis;
pub mod script;

use std::time::{Duration, Instant};

pub use client::{Client, get, post};
pub use gate::Gate;
pub use gateway::{FORWARD_ALL, Gateway, Options, PREAMBLE, Stopped, upstream};
pub use http2::{Http2Exchange, Http2Origin};
pub use message::{Message, Wire};
pub use origin::{Exchange, Next, Origin, deaf_address, refusing_address, response};
pub use ran::{Ran, tollgate};
pub use redis::Redis;

/// How long anything that must happen may take, on a machine that has much else to do.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Looks again and again until there is something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
