//! `filters`: each is one of a closed set.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_yaml::Value;

use super::super::filter::{Filter, FilterKind, Period, RateLimit, RateLimitKey, WasmFilter};
use super::super::interpreter::Language;
use super::super::path::{At, Document};
use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::super::upstream::Upstream;
use super::allow;
use super::bodies;
use super::fault;
use super::headers::{resolve_edits, resolve_name};
use super::module::{Module, Modules};
use super::names::Names;
use super::place::Place;
use super::remote::{self, Named};
use super::scalar::{check_name, count, duration, size};
use super::script;
use super::upstream::refused;

const FILTERS_MAX: usize = 10_000;
const ENVIRONMENT_MAX: usize = 64;
/// Bytes of `config` and of `vm_config`, and of a fixed key.
const CONFIGURATION_MAX: usize = 1 << 20;
const FIXED_MAX: usize = 256;
const PAGE: u64 = 64 << 10;
const MEMORY: u64 = 256 * PAGE;
const MEMORY_MAX: u64 = 16_384 * PAGE;
const KEYS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
const KEYS_MAX: u32 = 10_000_000;

/// All filters by name.
pub(super) fn resolve<'r>(
    section: Place<'_>,
    field: &'r Field<raw::Entries<raw::Filter>>,
    adjusted: &'r raw::Entries<raw::Filter>,
    modules: &mut Modules<'_>,
    upstreams: &Names<'_, Upstream>,
) -> Names<'r, Filter> {
    let mut filters = Names::new("filters");
    let own = section.entries(field, FILTERS_MAX).into_iter().map(|(name, filter)| (section, name, filter));
    let adjusting = Place { report: section.report, at: At::of(Document::Adjusted) };
    let adjusted =
        adjusted.0.iter().filter_map(|(name, filter)| Some((adjusting, name.as_str(), filter.given()?)));
    let all: Vec<_> = own.chain(adjusted).collect();
    let named = all.iter().map(|(section, name, filter)| named(section.key(name), filter)).collect();
    for ((section, name, filter), named) in all.into_iter().zip(fetched(section, named, modules)) {
        let place = section.key(name);
        if matches!(section.at.document(), Document::Whole) {
            check_name(place, name);
        }
        let kind = resolve_kind(place, name, filter, named, modules, upstreams);
        if let Some(FilterKind::Wasm(wasm)) = &kind {
            fault::check(place.key(kind_of_guest(filter)), name, wasm);
        }
        filters.add(name, kind.map(|kind| Arc::new(Filter { name: name.into(), kind })));
    }
    for name in refused(field) {
        filters.add(name, None);
    }
    filters
}

/// The module that a filter of `wasm` names.
fn named<'r>(place: Place<'_>, filter: &'r raw::Filter) -> Option<Named<'r>> {
    let module = filter.wasm.given()?.module.given()?;
    remote::named(place.key("wasm").key("module"), module)
}

/// The same, once those that are elsewhere were fetched: all at once, and not for a policy that is refused
/// anyway.
fn fetched<'r>(
    section: Place<'_>,
    named: Vec<Option<Named<'r>>>,
    modules: &Modules<'_>,
) -> Vec<Option<Named<'r>>> {
    if !section.report.has_errors() {
        let mut wanted = Vec::new();
        for module in named.iter().flatten() {
            match module {
                Named::Remote(module) if !wanted.contains(module) => wanted.push(module.clone()),
                Named::Remote(_) | Named::File(..) => {}
            }
        }
        modules.fetch(&wanted);
    }
    named
}

/// The key under which a guest is configured.
fn kind_of_guest(filter: &raw::Filter) -> &'static str {
    match (filter.lua.is_absent(), filter.starlark.is_absent()) {
        (false, _) => "lua",
        (_, false) => "starlark",
        (true, true) => "wasm",
    }
}

fn resolve_kind(
    place: Place<'_>,
    name: &str,
    raw: &raw::Filter,
    module: Option<Named<'_>>,
    modules: &mut Modules<'_>,
    upstreams: &Names<'_, Upstream>,
) -> Option<FilterKind> {
    let keys = [
        ("wasm", raw.wasm.is_absent()),
        ("lua", raw.lua.is_absent()),
        ("starlark", raw.starlark.is_absent()),
        ("rate_limit", raw.rate_limit.is_absent()),
        ("headers", raw.headers.is_absent()),
    ];
    let kind = place.exactly_one(&keys)?;
    let place = place.key(kind);
    if let Some(wasm) = raw.wasm.given() {
        return Some(FilterKind::Wasm(Box::new(resolve_wasm(place, wasm, module, modules, upstreams)?)));
    }
    for (language, script) in [(Language::Lua, &raw.lua), (Language::Starlark, &raw.starlark)] {
        if let Some(script) = script.given() {
            let guest = script::resolve(place, name, language, script, modules, upstreams)?;
            return Some(FilterKind::Wasm(Box::new(guest)));
        }
    }
    if let Some(limit) = raw.rate_limit.given() {
        return resolve_rate_limit(place, limit).map(FilterKind::RateLimit);
    }
    raw.headers.given().map(|edits| FilterKind::Headers(Box::new(resolve_edits(place, edits))))
}

/// The filter of `wasm` at `place`; `named` is what its `module` names.
pub(in crate::policy) fn resolve_wasm(
    place: Place<'_>,
    raw: &raw::WasmFilter,
    named: Option<Named<'_>>,
    modules: &mut Modules<'_>,
    upstreams: &Names<'_, Upstream>,
) -> Option<WasmFilter> {
    let scripts = [
        ("file", raw.file.is_absent()),
        ("inline", raw.inline.is_absent()),
        ("modules", raw.modules.is_absent()),
    ];
    place.refuse(&scripts, "a filter of `wasm` has a `module`; scripts go under `lua` or `starlark`");
    place.required(&raw.module, "module", "the path of a file, such as `filters/rules.wasm`");
    let module = named.and_then(|named| modules.get(place.key("module"), &named));
    resolve_guest(place, raw, module, upstreams)
}

/// A guest of any kind: its module, which was looked for already, and the options.
pub(super) fn resolve_guest(
    place: Place<'_>,
    raw: &raw::WasmFilter,
    module: Option<Module>,
    upstreams: &Names<'_, Upstream>,
) -> Option<WasmFilter> {
    let configuration = configuration(place.key("config"), &raw.config);
    let vm_configuration = configuration_of_vm(place, raw);
    let environment = environment(place.key("environment"), &raw.environment);
    let bounds = Duration::from_micros(100)..=Duration::from_secs(1);
    let budget = duration(place.key("budget"), &raw.budget, Duration::from_millis(10), bounds);
    let bounds = Duration::from_millis(1)..=Duration::from_secs(10);
    let start_budget =
        duration(place.key("start_budget"), &raw.start_budget, Duration::from_millis(500), bounds);
    let memory = memory_pages(place.key("memory"), &raw.memory);
    let bodies = bodies::resolve(place, raw, memory.map(|pages| u64::from(pages.get()) * PAGE));
    let allow = allow::resolve(place.key("allow"), &raw.allow, upstreams);
    let calls = allow::resolve_limits(place.key("calls"), &raw.calls);
    let circuit = fault::circuit(place.key("circuit"), &raw.circuit);
    let module = module?;
    Some(WasmFilter {
        files: [module.path.clone()].into(),
        path: module.path,
        digest: module.digest,
        code: module.code,
        vm_id: raw.vm_id.given().map_or_else(Arc::default, |id| id.as_str().into()),
        vm_configuration: vm_configuration?,
        root_id: raw.root_id.given().map_or_else(Arc::default, |id| id.as_str().into()),
        configuration: configuration?,
        environment,
        budget: budget?,
        start_budget: start_budget?,
        memory_pages_max: memory?,
        bodies: bodies?,
        on_failure: fault::on_failure(&raw.on_failure),
        allow: allow?,
        calls: calls?,
        circuit: circuit?,
        role: fault::role(&raw.role),
    })
}

fn configuration_of_vm(place: Place<'_>, raw: &raw::WasmFilter) -> Option<Arc<[u8]>> {
    configuration(place.key("vm_config"), &raw.vm_config)
}

/// Text as it is, anything else as JSON with its keys in the order written.
pub(in crate::policy) fn configuration(place: Place<'_>, field: &Field<Value>) -> Option<Arc<[u8]>> {
    let bytes = match field {
        Field::Absent => Vec::new(),
        Field::Refused => return None,
        Field::Given(Value::String(text)) => text.clone().into_bytes(),
        Field::Given(value) if has_infinity(value) => {
            place.error(Problem::new("JSON has no `.inf` and no `.nan`").expected("finite numbers"));
            return None;
        }
        // Keys are text and numbers finite, so that JSON can say it.
        Field::Given(value) => serde_json::to_vec(value).ok()?,
    };
    if bytes.len() > CONFIGURATION_MAX {
        let expected = format!("at most {CONFIGURATION_MAX} bytes");
        place.error(Problem::new("too long").expected(expected).found(bytes.len().to_string()));
    }
    Some(bytes.into())
}

/// The scan bounds the depth.
fn has_infinity(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| !number.is_finite()),
        Value::Sequence(values) => values.iter().any(has_infinity),
        Value::Mapping(mapping) => mapping.values().any(has_infinity),
        _ => false,
    }
}

pub(in crate::policy) fn environment(
    place: Place<'_>,
    field: &Field<raw::Entries<String>>,
) -> Arc<[(Arc<str>, Arc<str>)]> {
    let mut variables = Vec::new();
    for (name, value) in place.entries(field, ENVIRONMENT_MAX) {
        if name.is_empty() || name.contains(['=', '\0']) {
            let problem = Problem::new("not the name of a variable").expected("text without `=` and NUL");
            place.key(name).error(problem.on_key());
        }
        if value.contains('\0') || value.len() > CONFIGURATION_MAX {
            let expected = format!("at most {CONFIGURATION_MAX} bytes without NUL");
            place.key(name).error(Problem::new("not the value of a variable").expected(expected));
        }
        variables.push((name.into(), value.as_str().into()));
    }
    variables.into()
}

fn memory_pages(place: Place<'_>, field: &Field<raw::Size>) -> Option<NonZeroU32> {
    let bytes = size(place, field, MEMORY, PAGE..=MEMORY_MAX)?;
    if !bytes.is_multiple_of(PAGE) {
        place.error(Problem::new("not whole pages of memory").expected("a multiple of 64KiB"));
    }
    NonZeroU32::new(u32::try_from(bytes / PAGE).ok()?)
}

fn resolve_rate_limit(place: Place<'_>, raw: &raw::RateLimit) -> Option<RateLimit> {
    let rate =
        place.required(&raw.rate, "rate", RATE).and_then(|raw::Rate(text)| rate(place.key("rate"), text));
    let default = rate.map_or(NonZeroU32::MIN, |(rate, _)| rate);
    let burst = count(place.key("burst"), &raw.burst, default, 1..=u32::MAX);
    let keys = count(place.key("keys"), &raw.keys, KEYS, 1..=KEYS_MAX);
    let key = place.required(&raw.key, "key", "`client_address`, `route`, `{header: …}` or `{fixed: …}`");
    let key = key.and_then(|key| rate_limit_key(place.key("key"), key));
    let (rate, period) = rate?;
    Some(RateLimit { rate, period, burst: burst?, key: key?, keys_max: keys? })
}

const RATE: &str = "a number and a period (`second`, `minute`, `hour`), such as `100/second`";

fn rate(place: Place<'_>, text: &str) -> Option<(NonZeroU32, Period)> {
    let parsed = text.split_once('/').and_then(|(number, period)| {
        let period = match period.trim() {
            "second" => Period::Second,
            "minute" => Period::Minute,
            "hour" => Period::Hour,
            _ => return None,
        };
        Some((number.trim().parse().ok()?, period))
    });
    if parsed.is_none() {
        let zero = text.trim_start().starts_with('0');
        let problem = Problem::new(if zero { "a rate of zero" } else { "not a rate" });
        place.error(problem.expected(RATE).found(quoted(text)));
    }
    parsed
}

fn rate_limit_key(place: Place<'_>, key: &raw::RateLimitKey) -> Option<RateLimitKey> {
    match key {
        raw::RateLimitKey::ClientAddress => Some(RateLimitKey::ClientAddress),
        raw::RateLimitKey::Route => Some(RateLimitKey::Route),
        raw::RateLimitKey::Header(name) => resolve_name(place.key("header"), name).map(RateLimitKey::Header),
        raw::RateLimitKey::Fixed(name) => {
            if name.is_empty() || name.len() > FIXED_MAX {
                let expected = format!("1 to {FIXED_MAX} bytes");
                place.key("fixed").error(Problem::new("not a key").expected(expected));
            }
            Some(RateLimitKey::Fixed(name.as_str().into()))
        }
    }
}
