//! Token buckets: how often each key may ask, over all workers together.
//!
//! A [`Limiter`] is one `rate_limit` filter of the policy. For each request, in this order:
//! the request becomes a [`Key`] ([`keys`]), the key finds its bucket in a shard (`shard`), and
//! governor's GCRA decides (`buckets`, the only file that names governor). The [`Decision`] says
//! what the client is told ([`headers`]). A [`LimiterSet`] holds the limiters of a policy and
//! keeps those that a reload did not change, with their buckets.
//!
//! What holds, for every key and any window of time: no more than `rate × time + burst` requests
//! pass, whatever other keys do, also while keys are dropped to stay within `keys_max`.
//!
//! Limits:
//! * A limiter holds at most `keys_max` keys, about 50 bytes each. Only a bucket that has refilled
//!   entirely is dropped. When all are in use, new keys share one spill bucket per shard, which is
//!   stricter for them, never looser, and counted ([`Figures::overflowed`]).
//! * A check looks at no more than eight other buckets, and allocates only for a key it holds from
//!   then on. A denied request takes no token and no memory.
//! * A rate above one per nanosecond counts as that, and a burst that would take more than 100
//!   years to refill is lowered to one that takes 100 years: both are stricter.

mod buckets;
mod clock;
pub mod headers;
pub mod keys;
mod limiter;
mod set;
mod shard;
#[cfg(test)]
mod tests;

pub use buckets::Clock;
pub use clock::{HeldClock, LimitClock};
pub(crate) use keys::AddressBlock;
pub use keys::{Key, Subject};
pub use limiter::{Decision, Limiter};
pub use set::LimiterSet;
pub use shard::Figures;
