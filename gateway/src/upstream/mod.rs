//! Upstreams: choosing an endpoint, keeping connections to it, sending a request.
//!
//! A worker has one [`Upstreams`] per generation. [`UpstreamPool::send`] is the whole of it:
//!
//! 1. `pick`: endpoints in turn, those that lately refused a connection last.
//! 2. `pool`: an idle connection to the endpoint, the one used last first.
//! 3. `connect`: else a new one; `resolve` turns DNS names into addresses.
//! 4. `connection`: the exchange, up to the head of the response, within `response_timeout`.
//! 5. `body`: the response body, which brings the connection back to its pool when it ends well
//!    and closes it otherwise, so that a client's abort ends the upstream's work too.
//!
//! An upstream of `protocol: http2` goes its own way from `pick` on: `http2`. One of `protocol: redis`
//! has nothing in common with them but how it connects: `redis`.
//!
//! HTTP/1.1 connections have no task of their own: whoever waits for the response, or reads its body,
//! drives the connection in place. Against hyper's usual task per connection this saves two
//! task polls, of four and a half, per request. An idle connection is driven by nobody; it is
//! looked at when it is used and by the sweep.
//!
//! Those that have all of a request in hand, such as guests that call out, send it through
//! [`Courier`], which does not ask what body the pool's routes send (`whole`). It carries bodies that are
//! written while they are sent as well (`feed`).
//!
//! Limits: idle connections per endpoint and worker (`idle_connections_max`), their age
//! (`idle_timeout`), response heads of 64 KiB and 100 fields, eight connection attempts per
//! request, four addresses per name. Everything is for one thread: `Rc`, no lock.
//!
//! What comes next has its place: TLS is another stream inside `wire`; an upgrade takes the stream out of
//! the connection (`hyper`'s `into_parts`) when the response is 101; retries by policy go round
//! `send`, by [`SendError::retry`]; health checks set the pause that `pick` looks at.

mod body;
mod connect;
mod connection;
mod error;
mod feed;
mod http2;
mod pick;
mod pool;
mod redis;
mod replay;
mod resolve;
mod send;
mod stats;
mod tunnel;
mod waker;
mod whole;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

pub use self::body::PooledBody;
pub use self::error::{Blame, EndpointName, Retry, SendError, Sent};
pub use self::feed::{FedBody, Feed, FeedError, PIECE_BYTES, feed};
pub use self::pool::UpstreamPool;
pub use self::redis::{Command, CommandError, Login, RedisBounds, RedisError, RedisUpstream, ReplyError};
pub use self::send::{Answer, ConnectionUse};
pub use self::stats::{PoolId, UpstreamStats};
pub use self::whole::{Courier, Payload, WholeBody, WholeResponse};
use crate::policy::upstream::{Protocol, Upstream};

/// Any error of a request body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can be sent as a request body: bytes, with any error. Implemented for all that fits.
pub trait RequestStream: Body<Data = Bytes, Error = BoxError> + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static> RequestStream for B {}

/// The endpoints of a pool, whatever body it sends.
pub trait Endpoints {
    /// Walks over them in the order of the policy: the name of each, and whether it is skipped now, since
    /// it refused connections.
    fn each(&self, f: &mut dyn FnMut(&EndpointName, bool));
}

/// The pools of one worker and generation, by the upstream's name.
pub struct Upstreams<B: RequestStream> {
    pools: HashMap<Arc<str>, Rc<UpstreamPool<B>>>,
    redis: HashMap<Arc<str>, Rc<RedisUpstream>>,
}

impl<B: RequestStream> Upstreams<B> {
    /// Pools for `definitions`. A pool of `old` whose definition is the same is carried over with
    /// its connections, addresses and pauses; the others start empty.
    #[must_use]
    pub fn build(definitions: &[Arc<Upstream>], old: Option<&Self>) -> Self {
        let (mut pools, mut redis) = (HashMap::new(), HashMap::new());
        for definition in definitions {
            let (name, made_from) = (Arc::clone(&definition.name), Arc::clone(definition));
            match definition.protocol {
                Protocol::Http1 | Protocol::Http2 => {
                    let carried = old.and_then(|old| old.pools.get(&name));
                    let carried = carried.filter(|pool| pool.definition() == &**definition).cloned();
                    pools.insert(name, carried.unwrap_or_else(|| Rc::new(UpstreamPool::new(made_from))));
                }
                Protocol::Redis => {
                    let carried = old.and_then(|old| old.redis.get(&name));
                    let carried = carried.filter(|redis| redis.definition() == &**definition).cloned();
                    redis.insert(name, carried.unwrap_or_else(|| Rc::new(RedisUpstream::new(made_from))));
                }
            }
        }
        Self { pools, redis }
    }

    /// The pool of the HTTP upstream named `name`; to be looked up once per generation, not per request.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Rc<UpstreamPool<B>>> {
        self.pools.get(name)
    }

    /// The Redis upstream named `name`.
    #[must_use]
    pub fn redis(&self, name: &str) -> Option<&Rc<RedisUpstream>> {
        self.redis.get(name)
    }

    /// What happened so far in the upstream named `name`, whatever it speaks, and whose it is: a pool that
    /// is carried over is the same.
    #[must_use]
    pub fn stats(&self, name: &str) -> Option<(PoolId, UpstreamStats)> {
        let redis = || self.redis.get(name).map(|redis| (redis.id(), redis.stats()));
        self.pools.get(name).map(|pool| (pool.id(), pool.stats())).or_else(redis)
    }

    /// All pools of HTTP upstreams, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<UpstreamPool<B>>> {
        self.pools.values()
    }

    /// Closes idle connections that are too old or that the upstream has closed. To be called
    /// about once a second; without it they are only found when they are taken.
    pub fn sweep(&self) {
        self.pools.values().for_each(|pool| pool.sweep());
    }
}
