//! Which servers a filter may call.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::policy::filter::Allow;
use crate::upstream::{Courier, EndpointName};

/// Names that are told of when a guest calls them in vain; each once.
const TOLD_MAX: usize = 16;

/// The servers that one filter may call, on one worker and in one generation: by the names that the
/// guest gives them.
#[derive(Default)]
pub struct Reach {
    servers: HashMap<Arc<str>, Rc<dyn Courier>>,
    told: RefCell<HashSet<String>>,
}

impl Reach {
    /// What `allow` lists: upstreams as `upstream` finds them, hosts as `host` does by `name:port`.
    pub fn new(
        allow: &Allow,
        upstream: impl Fn(&str) -> Option<Rc<dyn Courier>>,
        host: impl Fn(&str) -> Option<Rc<dyn Courier>>,
    ) -> Self {
        let hosts = allow.hosts.iter().map(|endpoint| Arc::clone(EndpointName::from(endpoint).text()));
        let hosts = hosts.filter_map(|name| Some((Arc::clone(&name), host(&name)?)));
        let upstreams = allow.upstreams.iter();
        let upstreams = upstreams.filter_map(|name| Some((Arc::clone(name), upstream(name)?)));
        Self { servers: hosts.chain(upstreams).collect(), told: RefCell::default() }
    }

    /// The server that the guest of `filter` calls `name`; a host name in any case. One that it may
    /// not reach is told of in the log.
    pub(in crate::filter::wasm) fn find(&self, filter: &str, name: &[u8]) -> Option<Rc<dyn Courier>> {
        let name = String::from_utf8_lossy(name);
        let exact = self.servers.get(&*name);
        let found = exact.or_else(|| self.servers.get(&*name.to_ascii_lowercase()));
        if found.is_none() {
            self.tell(filter, &name);
        }
        found.cloned()
    }

    fn tell(&self, filter: &str, upstream: &str) {
        let mut told = self.told.borrow_mut();
        if told.len() >= TOLD_MAX || !told.insert(upstream.to_owned()) {
            return;
        }
        let list = if upstream.contains(':') { "hosts" } else { "upstreams" };
        let help = format!("add it to `allow.{list}` of filters.{filter} to let it");
        tracing::warn!(filter, upstream, help, "a filter called a server that it may not reach");
    }
}
