//! `allow` and `calls` of a Wasm filter: which servers it may call, and at what cost.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::filter::{Allow, CallLimits};
use super::super::raw::{self, Field};
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

/// What is left out allows nothing.
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
    Some(Allow {
        upstreams: names.into_iter().collect::<Option<_>>()?,
        hosts: hosts.into_iter().collect::<Option<_>>()?,
    })
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
