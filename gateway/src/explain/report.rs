//! What came of it, as data.

use std::net::IpAddr;

use http::uri::PathAndQuery;
use serde::Serialize;

use super::request::Question;
use super::text::part;
use crate::policy::filter::{Filter, FilterKind, RateLimitKey};
use crate::policy::route::{Action, Match, PathPattern, Route};
use crate::policy::variables::Owner;
use crate::policy::{Policy, facts};
use crate::proxy::rewritten;
use crate::route::explain::{Explanation, Mismatch, explain};

/// The form of `--json`, and what the text is made of. No header value of the request is in it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The request.
    pub request: Request,
    /// `null` if no route takes it: the answer is 404.
    pub route: Option<Taken>,
    /// Routes that match as well and stand behind, best first.
    pub behind: Vec<Other>,
    /// Routes that do not match, nearest first.
    pub passed_over: Vec<Other>,
    /// Those of `passed_over` that are left out.
    pub omitted: usize,
}

/// The request, as the gateway sees it.
#[derive(Debug, Serialize)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// The name that it asks for, without port.
    pub host: String,
    /// In its normal form.
    pub path: String,
    /// As it was written, if that is something else.
    pub path_as_written: Option<String>,
    /// Behind the question mark.
    pub query: Option<String>,
    /// After the trusted-proxy rule.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: IpAddr,
}

/// The route that takes it.
#[derive(Debug, Serialize)]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// In the order written, from 1.
    pub number: usize,
    /// What it asks of a request.
    pub matches: String,
    /// The filters, in order.
    pub chain: Vec<Step>,
    /// What becomes of a request that every filter let pass.
    pub action: String,
}

/// A filter of the chain.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// As the policy names it.
    pub kind: &'static str,
    /// What is set for it, in words.
    pub settings: String,
    /// What shares a token bucket with this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
}

/// A route that does not take it.
#[derive(Debug, Serialize)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// In the order written, from 1.
    pub number: usize,
    /// Why it is passed over, or what it asks of a request.
    pub why: String,
}

impl Report {
    pub(super) fn new(policy: &Policy, question: &Question, passed_over_max: usize) -> Self {
        let Explanation { taken_by, also, not } = explain(&policy.routes, &question.view());
        let other = |index: usize, why: String| Other {
            name: policy.routes[index].name.to_string(),
            number: index + 1,
            why,
        };
        let behind = |index: usize| other(index, matches(policy, &policy.routes[index]));
        let passed_over = |(index, mismatch): &(usize, Mismatch)| {
            let route = &policy.routes[*index];
            other(*index, told(policy, route, reason(&route.matches, *mismatch)))
        };
        Self {
            request: Request::of(question),
            route: taken_by.map(|index| Taken::of(policy, &policy.routes[index], index + 1, question)),
            behind: also.into_iter().map(behind).collect(),
            omitted: not.len().saturating_sub(passed_over_max),
            passed_over: not.iter().take(passed_over_max).map(passed_over).collect(),
        }
    }
}

impl Request {
    fn of(question: &Question) -> Self {
        Self {
            method: question.method.to_string(),
            host: question.host.clone(),
            path: question.path.clone(),
            path_as_written: question.path_as_written.clone(),
            query: question.query.clone(),
            client: question.client,
            peer: question.peer,
        }
    }
}

impl Taken {
    fn of(policy: &Policy, route: &Route, number: usize, question: &Question) -> Self {
        Self {
            name: route.name.to_string(),
            number,
            matches: matches(policy, route),
            chain: route.filters.iter().map(|filter| Step::of(policy, filter, route, question)).collect(),
            action: action(policy, route, question),
        }
    }
}

impl Step {
    fn of(policy: &Policy, filter: &Filter, route: &Route, question: &Question) -> Self {
        let is_told = |(name, text): &(&str, String)| *name != "kind" && text != "none" && !text.is_empty();
        let owner = Owner::Filter(filter.name.to_string());
        let settings = facts::of_filter(filter).into_iter().filter(is_told);
        let settings: Vec<_> =
            settings.map(|(name, text)| format!("{name} {}", policy.origins.told(&owner, text))).collect();
        let bucket = match &filter.kind {
            FilterKind::RateLimit(limit) => {
                Some(policy.origins.told(&owner, bucket(&limit.key, route, question)))
            }
            _ => None,
        };
        let kind = facts::kind(&filter.kind);
        Self { name: filter.name.to_string(), kind, settings: settings.join(", "), bucket }
    }
}

/// Header values are not told: they may be credentials.
fn bucket(key: &RateLimitKey, route: &Route, question: &Question) -> String {
    match key {
        RateLimitKey::ClientAddress => match question.client {
            IpAddr::V4(address) => format!("client {address}"),
            IpAddr::V6(address) => {
                let block = ipnet::Ipv6Net::new_assert(address, 64).trunc();
                format!("clients of {block}")
            }
        },
        RateLimitKey::Header(name) if question.headers.contains_key(name) => {
            format!("requests with the same {name}")
        }
        RateLimitKey::Header(name) => format!("all requests without {name}"),
        RateLimitKey::Route => format!("all requests of route {}", route.name),
        RateLimitKey::Fixed(name) => format!("all requests of this filter ({name})"),
    }
}

/// What a route asks of a request, with variables as they are written.
fn matches(policy: &Policy, route: &Route) -> String {
    told(policy, route, facts::of_match(&route.matches))
}

/// What is said of a route, with variables as they are written.
fn told(policy: &Policy, route: &Route, text: String) -> String {
    policy.origins.told(&Owner::Route(route.name.to_string()), text)
}

fn action(policy: &Policy, route: &Route, question: &Question) -> String {
    match &route.action {
        Action::Forward { upstream, rewrite_prefix } => {
            let endpoints: Vec<_> = upstream.endpoints.iter().map(ToString::to_string).collect();
            let target = rewrite_prefix.as_ref().and_then(|replacement| target(route, question, replacement));
            let rewritten = target.map(|target| format!(", as {target}")).unwrap_or_default();
            let owner = Owner::Upstream(upstream.name.to_string());
            let endpoints = policy.origins.told(&owner, endpoints.join(", "));
            let rewritten = told(policy, route, rewritten);
            format!("forward to upstream {} ({endpoints}){rewritten}", upstream.name)
        }
        Action::Redirect(redirect) => format!("redirect with {}", redirect.status.as_u16()),
        Action::Respond(response) => {
            format!("respond {} with {} bytes", response.status.as_u16(), response.body.len())
        }
    }
}

/// Path and query with the route's prefix replaced.
fn target(route: &Route, question: &Question, replacement: &str) -> Option<PathAndQuery> {
    let PathPattern::Prefix(prefix) = &route.matches.path else { return None };
    let query = question.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let target = PathAndQuery::try_from(format!("{}{query}", question.path)).ok()?;
    rewritten(&target, prefix, replacement)
}

/// Why a route does not match, in words.
fn reason(matches: &Match, mismatch: Mismatch) -> String {
    let part = part(matches, mismatch);
    match mismatch {
        Mismatch::Host => format!("is for {part}"),
        Mismatch::Path | Mismatch::Method => format!("takes {part}"),
        Mismatch::Header(_) | Mismatch::Query(_) => format!("asks for {part}"),
    }
}
