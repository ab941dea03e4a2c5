//! From the raw form to [`Cases`]: everything but what must come out.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::super::diagnostics::Position;
use super::super::files::Files;
use super::super::filter::{Filter, FilterKind, WasmFilter};
use super::super::raw::{self as policy, Entries, Field, OneOrMany};
use super::super::remote::NoFetch;
use super::super::report::{Problem, Report, quoted};
use super::super::resolve::{
    Modules, Named, Names, Place, configuration, duration, environment, resolve_name, resolve_script,
    resolve_wasm,
};
use super::super::script;
use super::expect::{self, Subject};
use super::raw;
use super::{Answer, CLIENT, Case, Cases, ExchangeCase, Request, Script};

pub(super) const CASES_MAX: usize = 1_000;
pub(super) const EXCHANGES_MAX: usize = 100;
pub(super) const ENTRIES_MAX: usize = 1_000;
const TICKS_MAX: u64 = 10_000;
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// What the filter under test is called if its file does not say.
const NAME: &str = "test";

/// The cases for the module at `module`. `None` if anything is wrong.
pub(super) fn resolve(mut raw: raw::Cases, report: &Report<'_>, module: &Path) -> Option<Cases> {
    let root = Place::root(report);
    let filter = filter(root.key("filter"), &mut raw.filter, module);
    let timeout = timeout(root.key("timeout"), &raw.timeout, TIMEOUT);
    let scripts = scripts(root.key("calls"), &raw.calls);
    let section = root.key("cases");
    root.required(&raw.cases, "cases", "a list of cases");
    let listed = section.list(&raw.cases, CASES_MAX);
    if raw.cases.given().is_some_and(Vec::is_empty) {
        section.error(Problem::new("no cases").expected("at least one"));
    }
    // Without the filter the cases are still looked at: all that is wrong is told at once.
    let fallback = filter.clone().zip(timeout);
    let cases: Vec<Option<Case>> = listed
        .into_iter()
        .map(|(index, raw)| case(section.index(index), index, raw, fallback.as_ref(), &scripts))
        .collect();
    if report.has_errors() {
        return None;
    }
    let filter = Arc::new(Filter { name: NAME.into(), kind: FilterKind::Wasm(Box::new(filter?)) });
    Some(Cases { filter, cases: cases.into_iter().collect::<Option<_>>()? })
}

/// The filter as a policy would have it; the module or script is the one that the command line names.
fn filter(place: Place<'_>, field: &mut Field<policy::WasmFilter>, module: &Path) -> Option<WasmFilter> {
    if matches!(field, Field::Refused) {
        return None;
    }
    if field.is_absent() {
        *field = Field::Given(policy::WasmFilter::default());
    }
    let Field::Given(raw) = field else { return None };
    if !raw.module.is_absent() {
        let problem = Problem::new("`module` has no place here").help("the command line names it");
        place.key("module").error(problem.on_key());
    }
    let name = module.to_string_lossy().into_owned();
    // What it may call is what `calls` plays, whatever its policy allows.
    raw.allow = Field::Absent;
    // Paths on the command line start at the current folder.
    let files = Files::on_disk(NoFetch::shared());
    let mut modules = Modules::below(PathBuf::new(), &files);
    if !script::is_script(module) {
        raw.module = Field::Given(policy::ModuleSource::File(name.clone()));
        let named = Some(Named::File(&name, None));
        return resolve_wasm(place, raw, named, &mut modules, &Names::new("calls"));
    }
    if !raw.file.is_absent() {
        let problem = Problem::new("`file` has no place here").help("the command line names it");
        place.key("file").error(problem.on_key());
    }
    raw.file = Field::Given(name);
    resolve_script(place, NAME, module, raw, &mut modules, &Names::new("calls"))
}

pub(super) fn timeout(
    place: Place<'_>,
    field: &Field<policy::Duration>,
    default: Duration,
) -> Option<Duration> {
    duration(place, field, default, Duration::from_millis(10)..=TIMEOUT_MAX)
}

fn case(
    place: Place<'_>,
    index: usize,
    raw: &raw::Case,
    fallback: Option<&(WasmFilter, Duration)>,
    shared: &[Script],
) -> Option<Case> {
    let name: Arc<str> = match raw.name.given() {
        Some(name) => name.as_str().into(),
        None => format!("case {}", index + 1).into(),
    };
    let calls = match raw.calls.is_absent() {
        true => shared.to_vec(),
        false => scripts(place.key("calls"), &raw.calls),
    };
    let exchanges = exchanges(place, raw);
    let refused = raw.refused.given().and_then(|value| expect::part(place.key("refused"), value));
    let default = fallback.map_or(TIMEOUT, |(_, timeout)| *timeout);
    let timeout = timeout(place.key("timeout"), &raw.timeout, default);
    let filter = fallback.and_then(|(filter, _)| overridden(place, raw, filter.clone()));
    let filter = Filter { name: NAME.into(), kind: FilterKind::Wasm(Box::new(filter?)) };
    let position = position(place);
    Some(Case { name, position, filter: Arc::new(filter), calls, timeout: timeout?, refused, exchanges })
}

/// The filter with the case's own configuration.
fn overridden(place: Place<'_>, raw: &raw::Case, mut filter: WasmFilter) -> Option<WasmFilter> {
    if let Some(config) = raw.config.given() {
        let alone = configuration(place.key("config"), &raw.config)?;
        // A script and its configuration are handed over together.
        filter.configuration = match script::is_script(&filter.path) {
            true => script::with_config(&filter.configuration, config)?,
            false => alone,
        };
    }
    if !raw.vm_config.is_absent() {
        filter.vm_configuration = configuration(place.key("vm_config"), &raw.vm_config)?;
    }
    if !raw.environment.is_absent() {
        filter.environment = environment(place.key("environment"), &raw.environment);
    }
    Some(filter)
}

fn exchanges(place: Place<'_>, raw: &raw::Case) -> Vec<ExchangeCase> {
    let own = [
        ("ticks", raw.ticks.is_absent()),
        ("request", raw.request.is_absent()),
        ("response", raw.response.is_absent()),
        ("expect", raw.expect.is_absent()),
    ];
    let written = own.iter().find(|(_, absent)| !absent);
    if raw.exchanges.is_absent() {
        if written.is_none() && !raw.refused.is_absent() {
            return Vec::new();
        }
        return vec![exchange(place, &raw.ticks, &raw.request, &raw.response, &raw.expect)];
    }
    if let Some((key, _)) = written {
        let problem = Problem::new(format!("`{key}` beside `exchanges`"));
        place.key(key).error(problem.help("write it into the entries of `exchanges`").on_key());
    }
    let section = place.key("exchanges");
    let each = |(index, raw): (usize, &raw::Exchange)| {
        exchange(section.index(index), &raw.ticks, &raw.request, &raw.response, &raw.expect)
    };
    section.list(&raw.exchanges, EXCHANGES_MAX).into_iter().map(each).collect()
}

fn exchange(
    place: Place<'_>,
    ticks: &Field<u64>,
    request: &Field<raw::Request>,
    response: &Field<raw::Answer>,
    expect: &Field<raw::Expect>,
) -> ExchangeCase {
    let ticks = ticks.given().copied().unwrap_or_default();
    if ticks > TICKS_MAX {
        let problem = Problem::new("too many").expected(format!("at most {TICKS_MAX}"));
        place.key("ticks").error(problem.found(ticks.to_string()));
    }
    ExchangeCase {
        position: position(place),
        ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
        request: self::request(place.key("request"), request),
        response: answer(place.key("response"), response.given()),
        expect: expect::expect(place.key("expect"), expect.given(), Subject::Filter),
    }
}

pub(super) fn request(place: Place<'_>, field: &Field<raw::Request>) -> Request {
    let host = |text: &str| header_value(place.key("host"), text);
    let default = Request::get(PathAndQuery::from_static("/"), HeaderValue::from_static("test.example"));
    let Some(raw) = field.given() else { return default };
    let mut headers = fields(place.key("headers"), &raw.headers);
    if !headers.contains_key(HOST) {
        let given = raw.host.given().and_then(|text| host(text));
        headers.insert(HOST, given.unwrap_or_else(|| HeaderValue::from_static("test.example")));
    }
    let body = body(place.key("body"), &raw.body);
    let trailers = trailers(place.key("trailers"), &raw.trailers);
    declare_length(&mut headers, &body, trailers.as_ref());
    Request {
        method: raw.method.given().and_then(|text| method(place.key("method"), text)).unwrap_or(Method::GET),
        target: raw.path.given().and_then(|text| path(place.key("path"), text)).unwrap_or(default.target),
        headers,
        body,
        trailers,
        client: raw.client.given().and_then(|text| client(place.key("client"), text)).unwrap_or(CLIENT),
        properties: properties(place.key("properties"), &raw.properties),
    }
}

/// What an upstream answers.
pub(super) fn answer(place: Place<'_>, raw: Option<&raw::Answer>) -> Answer {
    let Some(raw) = raw else { return Answer::default() };
    let status = raw.status.given().and_then(|number| status(place.key("status"), *number));
    let delay = duration(place.key("delay"), &raw.delay, Duration::ZERO, Duration::ZERO..=TIMEOUT_MAX);
    let mut headers = fields(place.key("headers"), &raw.headers);
    let body = body(place.key("body"), &raw.body);
    let trailers = trailers(place.key("trailers"), &raw.trailers);
    declare_length(&mut headers, &body, trailers.as_ref());
    let (status, delay) = (status.unwrap_or(StatusCode::OK), delay.unwrap_or_default());
    Answer { status, headers, body, trailers, delay }
}

pub(super) fn scripts(place: Place<'_>, field: &Field<Entries<Vec<Field<raw::Answer>>>>) -> Vec<Script> {
    let mut scripts = Vec::new();
    for (name, answers) in place.entries(field, ENTRIES_MAX) {
        let entry = place.key(name);
        let right = entry.fields(answers, ENTRIES_MAX);
        let answers = right.into_iter().map(|(index, raw)| called(entry.index(index), raw)).collect();
        scripts.push(Script { upstream: name.into(), answers });
    }
    scripts
}

/// The answer to a side call.
fn called(place: Place<'_>, raw: &raw::Answer) -> Answer {
    if !raw.trailers.is_absent() {
        let problem = Problem::new("answers to side calls have no trailers here");
        place.key("trailers").error(problem.help("remove them").on_key());
    }
    answer(place, Some(raw))
}

/// A body in one piece comes with its length, as clients send it.
fn declare_length(headers: &mut HeaderMap, body: &[Bytes], trailers: Option<&HeaderMap>) {
    if let ([only], None) = (body, trailers)
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(only.len()));
    }
}

fn fields(place: Place<'_>, field: &Field<Entries<OneOrMany>>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (key, texts) in place.entries(field, ENTRIES_MAX) {
        let entry = place.key(key);
        let Some(name) = resolve_name(entry, key) else { continue };
        let mut append = |place: Place<'_>, text: &str| {
            if let Some(value) = header_value(place, text) {
                map.append(name.clone(), value);
            }
        };
        match texts {
            OneOrMany::One(text) => append(entry, text),
            OneOrMany::Many(texts) => {
                for (index, text) in entry.fields(texts, ENTRIES_MAX) {
                    append(entry.index(index), text);
                }
            }
        }
    }
    map
}

fn trailers(place: Place<'_>, field: &Field<Entries<OneOrMany>>) -> Option<HeaderMap> {
    (!field.is_absent()).then(|| fields(place, field))
}

fn header_value(place: Place<'_>, text: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text).ok();
    if value.is_none() {
        place.error(Problem::new("not a header value").expected("visible characters in one line"));
    }
    value
}

fn body(place: Place<'_>, field: &Field<OneOrMany>) -> Vec<Bytes> {
    match field.given() {
        None => Vec::new(),
        Some(OneOrMany::One(text)) if text.is_empty() => Vec::new(),
        Some(OneOrMany::One(text)) => vec![Bytes::copy_from_slice(text.as_bytes())],
        Some(OneOrMany::Many(texts)) => {
            let pieces = place.fields(texts, ENTRIES_MAX).into_iter();
            pieces.map(|(_, text)| Bytes::copy_from_slice(text.as_bytes())).collect()
        }
    }
}

fn method(place: Place<'_>, text: &str) -> Option<Method> {
    let method = Method::from_bytes(text.as_bytes()).ok();
    if method.is_none() {
        place.error(Problem::new("not a method").expected("such as `GET`").found(quoted(text)));
    }
    method
}

fn path(place: Place<'_>, text: &str) -> Option<PathAndQuery> {
    let path = PathAndQuery::try_from(text).ok().filter(|_| text.starts_with('/'));
    if path.is_none() {
        let expected = "a path that begins with `/`, and a query if you like";
        place.error(Problem::new("not a path").expected(expected).found(quoted(text)));
    }
    path
}

/// An address, with or without a port.
fn client(place: Place<'_>, text: &str) -> Option<SocketAddr> {
    let whole = text.parse::<SocketAddr>().ok();
    let client = whole.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, CLIENT.port())));
    if client.is_none() {
        let expected = "an IP address, with a port if you like: `192.0.2.7` or `[2001:db8::1]:40000`";
        place.error(Problem::new("not an address").expected(expected).found(quoted(text)));
    }
    client
}

fn status(place: Place<'_>, number: u64) -> Option<StatusCode> {
    let status = u16::try_from(number).ok().filter(|code| (200..=599).contains(code));
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    if status.is_none() {
        let problem = Problem::new("not a final status").expected("from 200 to 599");
        place.error(problem.found(number.to_string()));
    }
    status
}

fn properties(place: Place<'_>, field: &Field<Entries<String>>) -> Vec<(String, String)> {
    let entries = place.entries(field, ENTRIES_MAX).into_iter();
    entries.map(|(path, value)| (path.replace('.', "\0"), value.clone())).collect()
}

/// Where the thing at `place` begins.
pub(super) fn position(place: Place<'_>) -> Position {
    place.report.position(&place.at)
}
