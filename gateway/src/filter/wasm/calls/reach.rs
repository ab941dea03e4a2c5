//! Which servers a filter may call.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::policy::filter::Allow;
use crate::upstream::{Courier, EndpointName, RedisUpstream};

/// Names that are told of when a guest calls them in vain; each once.
const TOLD_MAX: usize = 16;

/// The servers that one filter may call, on one worker and in one generation: by the names that the
/// guest gives them.
#[derive(Default)]
pub struct Reach {
    servers: HashMap<Arc<str>, Server>,
    told: RefCell<HashSet<(Call, String)>>,
}

/// A server, by what may be asked of it.
pub enum Server {
    /// HTTP, over HTTP/1.1.
    Http1(Rc<dyn Courier>),
    /// HTTP and gRPC: HTTP/2, or a host that the policy says nothing about.
    Http2(Rc<dyn Courier>),
    /// Redis.
    Redis(Rc<RedisUpstream>),
}

/// What a guest asks of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    Http,
    Grpc,
    Redis,
}

impl Reach {
    /// What `allow` lists: upstreams as `upstream` finds them, hosts as `host` does by `name:port`.
    pub fn new(
        allow: &Allow,
        upstream: impl Fn(&str) -> Option<Server>,
        host: impl Fn(&str) -> Option<Server>,
    ) -> Self {
        let hosts = allow.hosts.iter().map(|endpoint| Arc::clone(EndpointName::from(endpoint).text()));
        let hosts = hosts.filter_map(|name| Some((Arc::clone(&name), host(&name)?)));
        let upstreams = allow.upstreams.iter();
        let upstreams = upstreams.filter_map(|name| Some((Arc::clone(name), upstream(name)?)));
        Self { servers: hosts.chain(upstreams).collect(), told: RefCell::default() }
    }

    /// The server of HTTP calls that the guest of `filter` calls `name`; a host name in any case. One
    /// that it may not reach, or that speaks something else, is told of in the log.
    pub(in crate::filter::wasm) fn http(&self, filter: &str, name: &[u8]) -> Option<Rc<dyn Courier>> {
        self.find(filter, &[name], Call::Http, |_, server| match server {
            Server::Http1(courier) | Server::Http2(courier) => Some(Rc::clone(courier)),
            Server::Redis(_) => None,
        })
    }

    /// The same for gRPC, by the first of `names` that there is.
    pub(in crate::filter::wasm) fn grpc(&self, filter: &str, names: &[&[u8]]) -> Option<Rc<dyn Courier>> {
        self.find(filter, names, Call::Grpc, |_, server| match server {
            Server::Http2(courier) => Some(Rc::clone(courier)),
            Server::Http1(_) | Server::Redis(_) => None,
        })
    }

    /// The same for Redis, with the name that the policy gives the upstream.
    pub(in crate::filter::wasm) fn redis(
        &self,
        filter: &str,
        name: &[u8],
    ) -> Option<(Arc<str>, Rc<RedisUpstream>)> {
        self.find(filter, &[name], Call::Redis, |name, server| match server {
            Server::Redis(upstream) => Some((Arc::clone(name), Rc::clone(upstream))),
            Server::Http1(_) | Server::Http2(_) => None,
        })
    }

    fn find<T>(
        &self,
        filter: &str,
        names: &[&[u8]],
        call: Call,
        take: impl FnOnce(&Arc<str>, &Server) -> Option<T>,
    ) -> Option<T> {
        let server = |name: &&[u8]| {
            let name = std::str::from_utf8(name).ok()?;
            self.servers
                .get_key_value(name)
                .or_else(|| self.servers.get_key_value(&*name.to_ascii_lowercase()))
        };
        let server = names.iter().find_map(server);
        let found = server.and_then(|(name, server)| take(name, server));
        if let (None, Some(name)) = (&found, names.first()) {
            self.tell(filter, &String::from_utf8_lossy(name), call, server.is_some());
        }
        found
    }

    fn tell(&self, filter: &str, upstream: &str, call: Call, is_listed: bool) {
        let mut told = self.told.borrow_mut();
        if told.len() >= TOLD_MAX || !told.insert((call, upstream.to_owned())) {
            return;
        }
        if !is_listed {
            let list = if upstream.contains(':') { "hosts" } else { "upstreams" };
            let help = format!("add it to `allow.{list}` of filters.{filter} to let it");
            tracing::warn!(filter, upstream, help, "a filter called a server that it may not reach");
            return;
        }
        let protocol = match call {
            Call::Http => "http1` or `http2",
            Call::Grpc => "http2",
            Call::Redis => "redis",
        };
        let help = format!("{call:?} calls need an upstream of `protocol: {protocol}`");
        tracing::warn!(filter, upstream, help, "a filter called a server that speaks something else");
    }
}
