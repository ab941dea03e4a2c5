//! Sending a request on.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::uri::PathAndQuery;
use http::{Request, Uri};
use http_body::Body as _;

use super::answer::{Answer, Content};
use super::body::{Outgoing, RequestBody};
use super::error::ProxyError;
use super::flight::Flight;
use super::length::Length;
use crate::filter::{Interrupted, RequestHead, ResponseHead};
use crate::http::{framing, hop};
use crate::policy::route::PathPattern;
use crate::telemetry::access_log::UpstreamRecord;
use crate::telemetry::metrics::UpstreamMetrics;
use crate::upstream::{EndpointName, Payload, SendError, UpstreamPool};

/// Sends the request to an upstream and waits for the head of its response.
pub(super) async fn send(
    flight: &Rc<Flight>,
    pool: &UpstreamPool<Outgoing>,
    metrics: &UpstreamMetrics,
    body: RequestBody,
) -> Result<Answer, ProxyError> {
    let head = flight.exchange.send_request(flight.run().has_guests());
    let started = Instant::now();
    metrics.requests.inc();
    let request = request(head, body).map(Payload::Stream);
    let sent = pin!(pool.send_preferring(flight.exchange.preferred_endpoint(), request));
    let result = match flight.run().until_interrupted(sent).await {
        Ok(result) => result,
        Err(Interrupted::Replied(reply)) => return Ok(Answer::from(*reply)),
        Err(Interrupted::Closed(error)) => return Err(error.into()),
    };
    let duration = started.elapsed();
    match result {
        Ok(answer) => {
            metrics.response.observe(duration);
            note_endpoint(flight, pool, answer.endpoint(), Some(duration));
            let (parts, body) = answer.response.into_parts();
            let mut headers = parts.headers;
            framing::repair_response(&mut headers)
                .map_err(|_| ProxyError::BadResponse("its transfer coding is unknown"))?;
            hop::strip_response(&mut headers)
                .map_err(|_| ProxyError::BadResponse("it has too many connection options"))?;
            let head = ResponseHead { status: parts.status, headers };
            Ok(Answer { head, content: Content::Upstream(Box::new(body)) })
        }
        Err(error) => {
            if let Some(endpoint) = error.endpoint() {
                note_endpoint(flight, pool, endpoint, None);
            }
            match flight.body_error.take() {
                Some(failure) => failure.into_answer(),
                None => Err(client_or_upstream(error)),
            }
        }
    }
}

fn request(head: RequestHead, body: RequestBody) -> Request<RequestBody> {
    let length = Length::of_request(&body.size_hint(), body.flow());
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = Uri::from(head.target);
    *request.headers_mut() = head.headers;
    length.settle(request.headers_mut());
    request
}

fn client_or_upstream(error: SendError) -> ProxyError {
    match error {
        SendError::RequestBody { .. } => ProxyError::ClientBody,
        error => ProxyError::Upstream(error),
    }
}

fn note_endpoint(
    flight: &Flight,
    pool: &UpstreamPool<Outgoing>,
    endpoint: &EndpointName,
    duration: Option<std::time::Duration>,
) {
    if !flight.run().has_guests() && !flight.worker.access_log().is_on() {
        return;
    }
    let address = Arc::clone(endpoint.text());
    flight.exchange.set_upstream_address(Arc::clone(&address));
    flight.upstream.replace(Some(UpstreamRecord {
        name: Arc::clone(&pool.definition().name),
        endpoint: address,
        attempts: 1,
        duration,
    }));
}

/// Replaces the route's prefix in the request's path. A path that a filter has taken out of the
/// prefix stays as the filter wants it.
pub(super) fn rewrite_prefix(flight: &Flight, pattern: &PathPattern, replacement: &str) {
    let PathPattern::Prefix(prefix) = pattern else { return };
    flight.exchange.with_request(|head| {
        if let Some(target) = rewritten(&head.target, prefix, replacement) {
            head.target = target;
        }
    });
}

/// The target with `prefix`, whole segments of it, replaced.
pub(crate) fn rewritten(target: &PathAndQuery, prefix: &str, replacement: &str) -> Option<PathAndQuery> {
    let rest = target.path().strip_prefix(prefix.trim_end_matches('/'))?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let replacement = replacement.trim_end_matches('/');
    let path = if replacement.is_empty() && rest.is_empty() { "/" } else { rest };
    let whole = match target.query() {
        Some(query) => format!("{replacement}{path}?{query}"),
        None => format!("{replacement}{path}"),
    };
    PathAndQuery::try_from(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_replaced_by_whole_segments() {
        let table = [
            ("/api/x?y=1", "/api", "/v1", Some("/v1/x?y=1")),
            ("/api", "/api", "/v1", Some("/v1")),
            ("/api", "/api", "/", Some("/")),
            ("/api/x", "/api", "/", Some("/x")),
            ("/api/", "/api", "/v1/", Some("/v1/")),
            ("/x", "/", "/v1", Some("/v1/x")),
            ("/apis", "/api", "/v1", None),
            ("/other", "/api", "/v1", None),
        ];
        for (target, prefix, replacement, expected) in table {
            let target = PathAndQuery::from_static(target);
            let result = rewritten(&target, prefix, replacement);
            assert_eq!(
                result.as_ref().map(PathAndQuery::as_str),
                expected,
                "{target} {prefix} {replacement}"
            );
        }
    }
}
