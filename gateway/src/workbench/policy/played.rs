//! The policy's upstreams, played by origins on loopback.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::super::exchange::Sent;
use super::super::origin::{AfterScript, Origin};
use crate::generation::modules::wasm_filters;
use crate::policy::Policy;
use crate::policy::cases::{Answer, Script};
use crate::policy::filter::{Filter, FilterKind};
use crate::policy::upstream::{Endpoint, HostHeader, Protocol, Upstream};
use crate::upstream::EndpointName;

/// An origin for each upstream of a policy, and for each server that its filters may call by address.
pub(super) struct Origins(HashMap<Arc<str>, Origin>);

impl Origins {
    /// Starts one for each.
    ///
    /// # Errors
    /// If there are no sockets.
    pub(super) async fn start(policy: &Policy) -> io::Result<Self> {
        let upstreams =
            policy.upstreams.iter().map(|upstream| (Arc::clone(&upstream.name), upstream.protocol));
        let hosts = wasm_filters(policy).flat_map(|(_, wasm)| wasm.allow.hosts.iter());
        let hosts = hosts.map(|host| (name(host), Protocol::Http1));
        let mut origins = HashMap::new();
        for (name, protocol) in upstreams.chain(hosts) {
            origins.insert(name, Origin::listen(protocol).await?);
        }
        Ok(Self(origins))
    }

    /// The policy with these in the places of its servers.
    pub(super) fn policy(&self, policy: &Policy) -> Policy {
        let mut played = policy.clone();
        played.upstreams =
            policy.upstreams.iter().map(|upstream| Arc::new(self.upstream(upstream))).collect();
        for (_, wasm) in wasm_filters(policy) {
            for host in wasm.allow.hosts.iter() {
                let name = name(host);
                if !played.upstreams.iter().any(|upstream| upstream.name == name) {
                    played.upstreams.push(Arc::new(self.upstream(&Upstream::of_one(&name, host.clone()))));
                }
            }
        }
        played.filters = policy.filters.iter().map(with_hosts_as_upstreams).collect();
        played
    }

    fn upstream(&self, upstream: &Upstream) -> Upstream {
        let mut played = upstream.clone();
        if let (HostHeader::Endpoint, Some(first)) = (&upstream.host, upstream.endpoints.first()) {
            played.host = HostHeader::Fixed(name(first));
        }
        if let Some(origin) = self.0.get(&upstream.name) {
            let address = origin.address();
            let endpoint = Endpoint { host: address.ip().to_string().into(), port: address.port() };
            played.endpoints = vec![endpoint];
        }
        played
    }

    /// A case begins: those with a script play it from its start.
    pub(super) fn begin(&self, scripts: &[Script]) {
        self.0.values().for_each(Origin::forget);
        for script in scripts {
            if let Some(origin) = self.0.get(&script.upstream) {
                origin.play(&script.answers, AfterScript::Fail);
            }
        }
    }

    /// An exchange begins: those without a script give this answer.
    pub(super) fn answer(&self, answer: &Answer, scripts: &[Script]) {
        for (name, origin) in &self.0 {
            if !scripts.iter().any(|script| script.upstream == *name) {
                origin.play(std::slice::from_ref(answer), AfterScript::Again);
            }
            drop(origin.take_last());
        }
    }

    /// The last request that an upstream got in this exchange.
    pub(super) fn take_last(&self, upstream: &str) -> Option<Sent> {
        self.0.get(upstream)?.take_last()
    }

    /// How many requests an upstream got in this case; `None` if the policy has no such upstream.
    pub(super) fn calls(&self, upstream: &str) -> Option<u64> {
        self.0.get(upstream).map(Origin::calls)
    }

    /// A script for something that is no server of the policy.
    pub(super) fn unknown<'s>(&self, scripts: &'s [Script]) -> Option<&'s Script> {
        scripts.iter().find(|script| !self.0.contains_key(&script.upstream))
    }
}

/// As filters name a server that is no upstream.
fn name(endpoint: &Endpoint) -> Arc<str> {
    Arc::clone(EndpointName::from(endpoint).text())
}

/// What a filter may call by address it may call by name, which is the address.
fn with_hosts_as_upstreams(filter: &Arc<Filter>) -> Arc<Filter> {
    let FilterKind::Wasm(wasm) = &filter.kind else { return Arc::clone(filter) };
    if wasm.allow.hosts.is_empty() {
        return Arc::clone(filter);
    }
    let mut wasm = wasm.clone();
    let hosts = wasm.allow.hosts.iter().map(name);
    wasm.allow.upstreams = wasm.allow.upstreams.iter().cloned().chain(hosts).collect();
    wasm.allow.hosts = Arc::default();
    Arc::new(Filter { name: Arc::clone(&filter.name), kind: FilterKind::Wasm(wasm) })
}
