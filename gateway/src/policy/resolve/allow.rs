//! `allow` and `calls` of a Wasm filter: which servers and host functions it may call, and at what cost.

use std::num::NonZeroU32;
use std::time::Duration;

use tollgate_proxy_wasm::Capabilities;

use super::super::filter::{Allow, CallLimits};
use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::super::suggest::nearest;
use super::super::upstream::Upstream;
use super::names::Names;
use super::place::Place;
use super::scalar::{count, duration, size};
use super::upstream::endpoint;

const SERVERS_MAX: usize = 1_000;
const AT_ONCE: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
const AT_ONCE_MAX: u32 = 100_000;
const TIMEOUT: Duration = Duration::from_secs(15);
const REQUEST: u64 = 1 << 20;
const RESPONSE: u64 = 256 << 10;
const BYTES_MAX: u64 = 64 << 20;

/// What is left out allows no server and all functions.
pub(super) fn resolve(
    place: Place<'_>,
    field: &Field<raw::Allow>,
    upstreams: &Names<'_, Upstream>,
) -> Option<Allow> {
    let Field::Given(raw) = field else { return field.is_absent().then(Allow::default) };
    let section = place.key("upstreams");
    let names = section.list(&raw.upstreams, SERVERS_MAX);
    let names = names.into_iter().map(|(index, name)| {
        upstreams.find(section.index(index), name).map(|upstream| std::sync::Arc::clone(&upstream.name))
    });
    let names: Vec<_> = names.collect();
    let section = place.key("hosts");
    let hosts = section.list(&raw.hosts, SERVERS_MAX);
    let hosts = hosts.into_iter().map(|(index, text)| endpoint(section.index(index), text));
    let hosts: Vec<_> = hosts.collect();
    let functions = functions(place.key("functions"), &raw.functions);
    Some(Allow {
        upstreams: names.into_iter().collect::<Option<_>>()?,
        hosts: hosts.into_iter().collect::<Option<_>>()?,
        functions: functions?,
    })
}

fn functions(place: Place<'_>, field: &Field<Vec<Field<String>>>) -> Option<Capabilities> {
    let Field::Given(_) = field else { return field.is_absent().then_some(Capabilities::ALL) };
    let groups = Capabilities::groups().map(|group| format!("`{group}`")).collect::<Vec<_>>().join(", ");
    let functions = place.list(field, SERVERS_MAX).into_iter().map(|(index, name)| {
        let known = Capabilities::named(name);
        if known.is_none() {
            let problem = Problem::new(format!("{} is no host function, nor a group of them", quoted(name)))
                .expected(format!("{groups}, or a function such as `proxy_set_property`"))
                .did_you_mean(nearest(name, Capabilities::names()));
            place.index(index).error(problem);
        }
        known
    });
    // All of them are looked at, so that all that is wrong is told.
    let functions: Vec<_> = functions.collect();
    functions.into_iter().try_fold(Capabilities::NONE, |set, function| Some(set.union(function?)))
}

/// What is left out has its default.
pub(super) fn resolve_limits(place: Place<'_>, field: &Field<raw::Calls>) -> Option<CallLimits> {
    let absent = raw::Calls::default();
    let raw = match field {
        Field::Absent => &absent,
        Field::Refused => return None,
        Field::Given(raw) => raw,
    };
    let at_once = count(place.key("at_once"), &raw.at_once, AT_ONCE, 1..=AT_ONCE_MAX);
    let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
    let timeout = duration(place.key("timeout"), &raw.timeout, TIMEOUT, bounds);
    let request = size(place.key("request_bytes"), &raw.request_bytes, REQUEST, 0..=BYTES_MAX);
    let response = size(place.key("response_bytes"), &raw.response_bytes, RESPONSE, 0..=BYTES_MAX);
    Some(CallLimits {
        at_once: at_once?,
        timeout: timeout?,
        request_bytes_max: request?,
        response_bytes_max: response?,
    })
}
