//! What goes back to the client.

use std::rc::Rc;

use bytes::Bytes;
use http::Response;
use http_body::Body as _;

use super::body::Outgoing;
use super::error::ProxyError;
use super::flight::Flight;
use super::length::Length;
use super::response_body::{Cut, ResponseBody};
use crate::filter::{BodyPipe, HeadersOutcome, PipeError, Reply, ResponseHead, Side};
use crate::upstream::PooledBody;

/// A head and where its body comes from.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) content: Content,
}

/// Where a body comes from.
pub(super) enum Content {
    /// An upstream, streamed.
    Upstream(Box<PooledBody<Outgoing>>),
    /// Here, whole.
    Whole(Bytes),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let head = ResponseHead { status: reply.status, headers: reply.headers };
        Self { head, content: Content::Whole(reply.body) }
    }
}

impl Content {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Upstream(body) => http_body::Body::is_end_stream(&**body),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }
}

/// The answer passes the filters that ran, in reverse. A filter that answers on its own replaces it,
/// and the filters before that one see the replacement.
pub(super) async fn send(flight: &Rc<Flight>, answer: Answer) -> Result<Response<ResponseBody>, ProxyError> {
    let mut content = answer.content;
    flight.exchange.set_response(answer.head);
    while let HeadersOutcome::Replied(reply) = flight.run().response_headers(content.is_empty()).await? {
        let answer = Answer::from(*reply);
        content = answer.content;
        flight.exchange.set_response(answer.head);
    }
    let pipe = match content.is_empty() {
        true => None,
        false => BodyPipe::new(flight.run(), Side::Response),
    };
    let mut body = ResponseBody::new(flight, content, pipe);
    if let Err(cut) = body.begin().await {
        return instead(flight, cut);
    }
    let head = flight.exchange.send_response(flight.run().has_guests());
    let head = head.ok_or(ProxyError::BadResponse("it has no head"))?;
    Ok(respond(flight, head, body))
}

/// What is answered when the body ends before the head was sent.
fn instead(flight: &Rc<Flight>, cut: Cut) -> Result<Response<ResponseBody>, ProxyError> {
    Err(match cut {
        Cut::Pipe(PipeError::Replied(reply)) => return Ok(bare(flight, *reply)),
        Cut::Pipe(PipeError::TooLarge { max }) => ProxyError::ResponseTooLarge { max },
        Cut::Pipe(PipeError::Filter(error)) => error.into(),
        Cut::Upstream(_) => ProxyError::BadResponse("its body broke off"),
        Cut::TotalTimeout => ProxyError::TotalTimeout,
    })
}

/// An answer that passes no filter.
pub(super) fn bare(flight: &Rc<Flight>, reply: Reply) -> Response<ResponseBody> {
    let answer = Answer::from(reply);
    respond(flight, answer.head, ResponseBody::new(flight, answer.content, None))
}

fn respond(flight: &Flight, mut head: ResponseHead, body: ResponseBody) -> Response<ResponseBody> {
    let length = {
        let method = flight.exchange.method();
        Length::of_response(&method, head.status, &body.size_hint(), body.flow())
    };
    length.settle(&mut head.headers);
    flight.exchange.course.status.set(Some(head.status));
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
