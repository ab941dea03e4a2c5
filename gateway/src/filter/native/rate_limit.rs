//! `rate_limit`: one token a request, else 429.

use http::StatusCode;

use crate::filter::exchange::Exchange;
use crate::filter::reply::Reply;
use crate::limit::{Decision, Limiter, Subject};

/// Takes a token for the exchange.
pub(crate) fn check(limiter: &Limiter, exchange: &Exchange) -> Decision {
    let head = exchange.request();
    let route = exchange.route.borrow();
    let subject = Subject {
        client: exchange.client.address,
        headers: &head.headers,
        route: route.as_deref().map_or("", |route| &route.name),
    };
    limiter.check(&limiter.key(&subject))
}

/// The answer to a request over the limit, with `Retry-After` and the RateLimit fields.
pub(crate) fn denial(limiter: &Limiter, decision: &Decision) -> Reply {
    let mut reply = Reply::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests.\n", "over the limit");
    limiter.fields().add_to(&mut reply.headers, decision);
    reply
}
