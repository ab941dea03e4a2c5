//! Cases for a whole policy.
//!
//! ```yaml
//! calls: { auth: [{ status: 200 }] }     # answers of upstreams, request by request
//! cases:
//!   - name: the admin pages are closed
//!     request: { path: /admin, host: shop.example.com, client: 192.0.2.7 }
//!     expect: { reply: { status: 403 }, filter: guard, route: everything }
//! ```
//!
//! Limits: those of the cases for filters; an exchange is repeated at most 10 000 times, and the clock of
//! rate limits moved by a day at most before each.

use std::sync::Arc;
use std::time::Duration;

use super::super::diagnostics::Position;
use super::super::raw::{self as policy, Field};
use super::super::report::{Problem, Report};
use super::super::resolve::{Place, duration};
use super::expect::{self, Subject};
use super::raw;
use super::resolve::{CASES_MAX, EXCHANGES_MAX, TIMEOUT_MAX, answer, position, request, scripts, timeout};
use super::{ExchangeCase, Script};

/// How long an exchange may take if the file does not say.
const TIMEOUT: Duration = Duration::from_secs(5);
const REPEAT_MAX: u64 = 10_000;
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A file of cases for a policy.
#[derive(Debug)]
pub struct Suite {
    /// In the order written. At least one.
    pub cases: Vec<PolicyCase>,
}

/// One case: a gateway of its own, and exchanges one after the other.
#[derive(Debug)]
pub struct PolicyCase {
    /// What it is called in reports.
    pub name: Arc<str>,
    /// Where it begins.
    pub position: Position,
    /// Upstreams that answer by a script; every other one gives each exchange its `response`.
    pub calls: Vec<Script>,
    /// How long an exchange may take. Default 5 s.
    pub timeout: Duration,
    /// What passes through it. At least one.
    pub exchanges: Vec<PolicyExchange>,
}

/// One request, or the same one several times, and what must come of each.
#[derive(Debug)]
pub struct PolicyExchange {
    /// How far the clock of rate limits moves before it.
    pub wait: Duration,
    /// How often it is made. Default once.
    pub repeat: u32,
    /// The request, the upstream's answer and what must come of them; without ticks.
    pub exchange: ExchangeCase,
}

/// The cases. `None` if anything is wrong.
pub(super) fn resolve(raw: &raw::Suite, report: &Report<'_>) -> Option<Suite> {
    let root = Place::root(report);
    let default = timeout(root.key("timeout"), &raw.timeout, TIMEOUT);
    let shared = scripts(root.key("calls"), &raw.calls);
    let section = root.key("cases");
    root.required(&raw.cases, "cases", "a list of cases");
    if raw.cases.given().is_some_and(Vec::is_empty) {
        section.error(Problem::new("no cases").expected("at least one"));
    }
    let listed = section.list(&raw.cases, CASES_MAX).into_iter();
    let cases: Vec<_> = listed
        .map(|(index, raw)| case(section.index(index), index, raw, default.unwrap_or(TIMEOUT), &shared))
        .collect();
    (!report.has_errors()).then_some(Suite { cases })
}

fn case(
    place: Place<'_>,
    index: usize,
    raw: &raw::PolicyCase,
    default: Duration,
    shared: &[Script],
) -> PolicyCase {
    let name = raw.name.given().map_or_else(|| format!("case {}", index + 1), String::clone);
    let calls = match raw.calls.is_absent() {
        true => shared.to_vec(),
        false => scripts(place.key("calls"), &raw.calls),
    };
    let timeout = timeout(place.key("timeout"), &raw.timeout, default).unwrap_or(TIMEOUT_MAX);
    let exchanges = exchanges(place, raw);
    PolicyCase { name: name.into(), position: position(place), calls, timeout, exchanges }
}

fn exchanges(place: Place<'_>, raw: &raw::PolicyCase) -> Vec<PolicyExchange> {
    let raw::PolicyCase { wait, repeat, request, response, expect, .. } = raw;
    let own = [
        ("wait", wait.is_absent()),
        ("repeat", repeat.is_absent()),
        ("request", request.is_absent()),
        ("response", response.is_absent()),
        ("expect", expect.is_absent()),
    ];
    if raw.exchanges.is_absent() {
        return vec![exchange(place, wait, repeat, (request, response, expect))];
    }
    if let Some((key, _)) = own.iter().find(|(_, is_absent)| !is_absent) {
        let problem = Problem::new(format!("`{key}` beside `exchanges`"));
        place.key(key).error(problem.help("write it into the entries of `exchanges`").on_key());
    }
    let section = place.key("exchanges");
    if raw.exchanges.given().is_some_and(Vec::is_empty) {
        section.error(Problem::new("no exchanges").expected("at least one"));
    }
    let each = |(index, raw): (usize, &raw::PolicyExchange)| {
        let raw::PolicyExchange { wait, repeat, request, response, expect } = raw;
        exchange(section.index(index), wait, repeat, (request, response, expect))
    };
    section.list(&raw.exchanges, EXCHANGES_MAX).into_iter().map(each).collect()
}

fn exchange(
    place: Place<'_>,
    wait: &Field<policy::Duration>,
    repeat: &Field<u64>,
    (sent, received, expect): (&Field<raw::Request>, &Field<raw::Answer>, &Field<raw::Expect>),
) -> PolicyExchange {
    let wait = duration(place.key("wait"), wait, Duration::ZERO, Duration::ZERO..=WAIT_MAX);
    if let Some(raw) = sent.given() {
        let keys = [("properties", raw.properties.is_absent())];
        let help = "properties of an exchange are the gateway's own; `tollgate filter test` can set some";
        place.key("request").refuse(&keys, help);
    }
    let exchange = ExchangeCase {
        position: position(place),
        ticks: 0,
        request: request(place.key("request"), sent),
        response: answer(place.key("response"), received.given()),
        expect: expect::expect(place.key("expect"), expect.given(), Subject::Policy),
    };
    PolicyExchange { wait: wait.unwrap_or_default(), repeat: times(place.key("repeat"), repeat), exchange }
}

fn times(place: Place<'_>, field: &Field<u64>) -> u32 {
    let times = field.given().copied().unwrap_or(1);
    if !(1..=REPEAT_MAX).contains(&times) {
        let problem = Problem::new("not a number of times").expected(format!("from 1 to {REPEAT_MAX}"));
        place.error(problem.found(times.to_string()));
    }
    u32::try_from(times).unwrap_or(u32::MAX)
}
