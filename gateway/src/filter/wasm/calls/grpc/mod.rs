//! gRPC calls and streams, over HTTP/2.
//!
//! 1. `request`: path, metadata and deadline become a request; its body is fed with messages.
//! 2. `frame`: messages in the bytes of both sides.
//! 3. [`stream()`] tells what comes as it comes, [`unary()`] waits for the one answer.
//! 4. `status`: whatever ends a call is a gRPC status in the end. `reply`: what the guest reads.
//!
//! A call ends by its deadline, which the server is told; a stream has none: it lives until either side
//! ends it, or its plugin goes. Messages are taken uncompressed only.

mod frame;
mod reply;
mod request;
mod status;

use std::rc::Rc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

pub(in crate::filter::wasm) use self::frame::framed;
use self::frame::{Frames, PREFIX_BYTES};
pub(in crate::filter::wasm) use self::reply::GrpcReply;
pub(in crate::filter::wasm) use self::request::grpc_request;
use self::status::{GrpcStatus, code};
use super::{Bounds, Outcome, Share};
use crate::upstream::{Courier, FedBody, WholeResponse};

/// Room for messages of `bytes` in all, and the prefix of one.
pub(in crate::filter::wasm) fn room_for(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(PREFIX_BYTES)
}

/// Carries a stream; tells what it brings, and gives its end. Room in the outbox is free again then.
pub(in crate::filter::wasm) async fn stream(
    courier: Rc<dyn Courier>,
    request: Request<FedBody>,
    message_bytes_max: usize,
    _room: Share,
    tell: impl FnMut(GrpcReply),
) -> GrpcReply {
    GrpcReply::Closed(talk(courier, request, message_bytes_max, tell).await)
}

/// Carries a call that has one answer: gives its message, or how it failed.
pub(in crate::filter::wasm) async fn unary(
    courier: Rc<dyn Courier>,
    request: Request<FedBody>,
    bounds: Bounds,
    _room: Share,
) -> GrpcReply {
    let mut answer = Answer::None;
    let talk = talk(courier, request, bounds.response_bytes_max, |reply| {
        if let GrpcReply::Message(message) = reply {
            answer.add(message);
        }
    });
    let status = tokio::time::timeout(bounds.timeout, talk).await.unwrap_or(GrpcStatus::timeout());
    match (status.code, answer) {
        (code::OK, Answer::One(message)) => GrpcReply::Message(message),
        (code::OK, Answer::None) => {
            GrpcReply::Closed(GrpcStatus::new(Outcome::Reset, code::INTERNAL, "the answer has no message"))
        }
        (code::OK, Answer::Many) => GrpcReply::Closed(GrpcStatus::new(
            Outcome::Reset,
            code::INTERNAL,
            "the answer has more than one message",
        )),
        _ => GrpcReply::Closed(status),
    }
}

/// The messages of an answer that should have one.
enum Answer {
    None,
    One(Bytes),
    Many,
}

impl Answer {
    fn add(&mut self, message: Bytes) {
        *self = match self {
            Self::None => Self::One(message),
            Self::One(_) | Self::Many => Self::Many,
        };
    }
}

/// Sends the request and tells what comes up to the status.
async fn talk(
    courier: Rc<dyn Courier>,
    request: Request<FedBody>,
    message_bytes_max: usize,
    mut tell: impl FnMut(GrpcReply),
) -> GrpcStatus {
    let response = match courier.carry_http2(request).await {
        Ok(response) => response,
        Err(error) => return GrpcStatus::of_failure(&error),
    };
    if response.body().is_end_stream()
        && let Some(status) = GrpcStatus::told(response.headers())
    {
        // All in one: no initial metadata, as gRPC has it.
        tell(GrpcReply::Initial(HeaderMap::new()));
        tell(GrpcReply::Trailing(response.into_parts().0.headers));
        return status;
    }
    if response.status() != StatusCode::OK || !is_grpc(response.headers()) {
        return GrpcStatus::of_http(response.status());
    }
    match read(response, message_bytes_max, &mut tell).await {
        Ok(status) | Err(status) => status,
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Reads messages up to the trailers.
async fn read(
    response: WholeResponse,
    message_bytes_max: usize,
    tell: &mut impl FnMut(GrpcReply),
) -> Result<GrpcStatus, GrpcStatus> {
    let (head, mut body) = response.into_parts();
    tell(GrpcReply::Initial(head.headers));
    let mut frames = Frames::new(message_bytes_max);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| GrpcStatus::of_break(&error))?;
        let trailers = match frame.into_data() {
            Ok(piece) => {
                frames.add(&piece);
                while let Some(message) = frames.next()? {
                    tell(GrpcReply::Message(message));
                }
                continue;
            }
            Err(frame) => frame.into_trailers().map_err(|_: Frame<Bytes>| no_status())?,
        };
        let status = GrpcStatus::told(&trailers).unwrap_or_else(no_status);
        if status.code == code::OK && !frames.is_empty() {
            return Err(GrpcStatus::new(Outcome::Reset, code::INTERNAL, "the answer ended within a message"));
        }
        tell(GrpcReply::Trailing(trailers));
        return Ok(status);
    }
    Err(no_status())
}

fn no_status() -> GrpcStatus {
    GrpcStatus::new(Outcome::Reset, code::UNKNOWN, "the answer has no status")
}
