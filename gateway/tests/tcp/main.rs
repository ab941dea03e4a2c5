//! TCP listeners over real sockets: bytes both ways, network filters, limits, ends.
#![allow(clippy::unwrap_used)]

mod faults;
mod filters;
mod guard;
mod guests;
mod lives;
mod pauses;
mod peers;
mod proxying;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use support::{Gateway, Options};

/// A filter in a policy: its name, its module, and further keys, each with a comma in front.
type Filter<'a> = (&'a str, &'a Path, &'a str);

/// What stands around a service `t`.
#[derive(Default)]
struct Policy<'a> {
    filters: &'a [Filter<'a>],
    /// Further keys of the service, of the upstream, and sections, each with a comma or a line end.
    service: &'a str,
    upstream: &'a str,
    sections: &'a str,
}

impl Policy<'_> {
    /// The text, with one TCP listener that goes to `server`.
    fn text(&self, server: SocketAddr) -> String {
        let names: Vec<_> = self.filters.iter().map(|(name, ..)| *name).collect();
        let filter = |(name, module, more): &Filter<'_>| {
            format!("  {name}: {{ wasm: {{ module: '{}'{more} }} }}\n", module.display())
        };
        let filters = match self.filters {
            [] => String::new(),
            filters => format!("filters:\n{}", filters.iter().map(filter).collect::<String>()),
        };
        format!(
            "version: 1\n\
             admin: {{ address: '127.0.0.1:0' }}\n\
             listeners: [{{ address: '127.0.0.1:0', tcp: {{ name: t, filters: [{}], \
             forward: {{ upstream: u }}{} }} }}]\n\
             upstreams: {{ u: {{ endpoints: ['{server}']{} }} }}\n{filters}{}",
            names.join(", "),
            self.service,
            self.upstream,
            self.sections,
        )
    }

    /// One worker, so that there is one VM.
    fn start(&self, server: SocketAddr) -> Gateway {
        start(&self.text(server))
    }
}

fn start(policy: &str) -> Gateway {
    Gateway::start_whole(policy, &Options { workers: 1, ..Options::default() })
}

/// A gateway with one filter, `f`.
fn filtered(module: &Path, server: SocketAddr) -> Gateway {
    Policy { filters: &[("f", module, "")], ..Policy::default() }.start(server)
}

/// The one line of the access log.
fn line(gateway: Gateway) -> Value {
    let [line] = gateway.stop().access_log.try_into().unwrap();
    line
}

/// How a line says that the connection ended: how, by which filter, in which phase.
fn end(line: &Value) -> (&str, &str, &str) {
    let by = &line["ended_by"];
    let [end, filter, phase] =
        [&line["end"], &by["filter"], &by["phase"]].map(|field| field.as_str().unwrap_or(""));
    (end, filter, phase)
}
