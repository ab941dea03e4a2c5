//! The order of a request, on one screen.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::{Request, Response};
use hyper::body::Incoming;

use super::admit;
use super::answer::{self, Answer};
use super::body::RequestBody;
use super::client_body::ClientBody;
use super::error::{Abort, ProxyError};
use super::flight::Flight;
use super::forward;
use super::redirect;
use super::respond;
use super::response_body::ResponseBody;
use super::shadow;
use crate::filter::{HeadersOutcome, Reply};
use crate::generation::Next;
use crate::route::RequestView;
use crate::worker::{ConnectionState, Worker};

/// Answers one request.
///
/// # Errors
/// [`Abort`]: the connection is to be cut, because a filter closed the stream.
pub async fn handle(
    worker: Rc<Worker>,
    connection: Rc<ConnectionState>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Abort> {
    let (parts, incoming) = request.into_parts();
    let incoming = ClientBody::new(incoming, &parts, &connection);
    let (flight, origin) = admit::begin(worker, &connection, parts);
    let result = match admit::check(&flight, &connection, &origin) {
        Ok(host) => {
            let work = pin!(proceed(&flight, host.as_deref(), incoming));
            within_deadline(&flight, &connection, work).await
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(answer) => Ok(answer),
        Err(error) => refuse(&flight, &error),
    }
}

/// Route, filters, upstream, filters.
async fn proceed(
    flight: &Rc<Flight>,
    host: Option<&str>,
    incoming: ClientBody,
) -> Result<Response<ResponseBody>, ProxyError> {
    let end_of_stream = http_body::Body::is_end_stream(&incoming);
    shadow::begin(flight, end_of_stream);
    find_route(flight, host)?;
    let answer = match flight.run().request_headers(end_of_stream).await? {
        HeadersOutcome::Passed => act(flight, incoming).await?,
        HeadersOutcome::Replied(reply) => {
            flight.run().replied_in_request();
            Answer::from(*reply)
        }
    };
    answer::send(flight, answer).await
}

fn find_route(flight: &Flight, host: Option<&str>) -> Result<(), ProxyError> {
    let head = flight.exchange.request();
    let view = RequestView {
        host,
        path: head.target.path(),
        query: head.target.query(),
        method: &head.method,
        headers: &head.headers,
    };
    let (index, _) = flight.generation.blueprint.table.find(&view).ok_or(ProxyError::NoRoute)?;
    flight.set_route(index);
    Ok(())
}

/// What the route does with a request that every filter let pass.
async fn act(flight: &Rc<Flight>, incoming: ClientBody) -> Result<Answer, ProxyError> {
    if flight.exchange.take_stale_route() {
        // The filters stay those of the first route: they have run, and see the response.
        find_route(flight, admit::edited_host(&flight.exchange)?.as_deref())?;
    }
    let route = flight.route().ok_or(ProxyError::NoRoute)?;
    match &route.next {
        Next::Forward { pool, rewrite_prefix, metrics } => {
            flight.reach_body();
            let mut body = RequestBody::new(flight, incoming);
            if let Err(failure) = body.begin().await {
                return failure.into_answer();
            }
            if let Some(replacement) = rewrite_prefix {
                forward::rewrite_prefix(flight, &route.route.matches.path, replacement);
            }
            forward::send(flight, pool, metrics, body).await
        }
        Next::Redirect(target) => Ok(Answer::from(redirect::reply(&flight.exchange, &route.route, target))),
        Next::Respond(response) => Ok(Answer::from(Reply {
            status: response.status,
            headers: response.headers.clone(),
            body: response.body.clone(),
            reason: String::new(),
        })),
    }
}

/// A request that fails gets the answer that `respond` has for it, past the filters.
fn refuse(flight: &Rc<Flight>, error: &ProxyError) -> Result<Response<ResponseBody>, Abort> {
    let failure = respond::failure(error);
    flight.note_error(failure.word);
    tracing::debug!(request_id = ?flight.exchange.request_id, %error, "a request failed");
    let status = failure.status.ok_or(Abort)?;
    let reply = respond::reply(status, &flight.exchange.request_id);
    Ok(answer::bare(flight, reply))
}

/// Ends the work at `limits.total_timeout`, by the connection's one timer.
async fn within_deadline(
    flight: &Flight,
    connection: &ConnectionState,
    mut work: Pin<&mut impl Future<Output = Result<Response<ResponseBody>, ProxyError>>>,
) -> Result<Response<ResponseBody>, ProxyError> {
    let limit = flight.generation.blueprint.policy.limits.total_timeout;
    connection.set_deadline(limit.map(|limit| flight.exchange.started + limit));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => connection.poll_deadline(cx).map(|()| Err(ProxyError::TotalTimeout)),
    })
    .await
}
