//! gRPC calls and streams, over HTTP/2.
//!
//! 1. `request`: path, metadata and deadline become a request; its body is fed with messages.
//! 2. `frame`: messages in the bytes of both sides.
//! 3. [`stream()`] tells what comes as it comes, [`unary()`] waits for the one answer.
//! 4. `status`: whatever ends a call is a gRPC status in the end. `reply`: what the guest reads.
//!
//! A call ends by its deadline, which the server is told; a stream has none: it lives until either side
//! ends it, or its plugin goes. Messages are taken uncompressed only. Those that come at once are handed over
//! in slices of a millisecond, between which the worker does what else it has to do.

mod frame;
mod reply;
mod request;
mod status;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::{Duration, Instant};

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
use crate::upstream::{Courier, FedBody, PIECE_BYTES, WholeResponse};

/// How long messages that are there are handed to the guest before all else on the worker has its turn. A
/// callback is not interrupted, so it may take one longer.
const SLICE: Duration = Duration::from_millis(1);

/// Room for messages of `bytes` in all, and what one takes beside its text.
pub(in crate::filter::wasm) fn room_for(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(PREFIX_BYTES + PIECE_BYTES)
}

/// Carries a stream; tells what it brings, and gives its end. Room in the outbox is free again then.
pub(in crate::filter::wasm) async fn stream(
    courier: Rc<dyn Courier>,
    request: Request<FedBody>,
    message_bytes_max: usize,
    _room: Share,
    mut tell: impl FnMut(GrpcReply),
) -> GrpcReply {
    let tell = |reply| {
        tell(reply);
        Ok(())
    };
    GrpcReply::Closed(talk(courier, request, message_bytes_max, tell).await)
}

/// Carries a call that has one answer: gives its message, or how it failed.
pub(in crate::filter::wasm) async fn unary(
    courier: Rc<dyn Courier>,
    request: Request<FedBody>,
    bounds: Bounds,
    _room: Share,
) -> GrpcReply {
    let mut answer = None;
    let talk = talk(courier, request, bounds.response_bytes_max, |reply| match reply {
        // Whatever follows, it is no answer to a call with one.
        GrpcReply::Message(_) if answer.is_some() => Err(no_answer("the answer has more than one message")),
        GrpcReply::Message(message) => {
            answer = Some(message);
            Ok(())
        }
        GrpcReply::Initial(_) | GrpcReply::Trailing(_) | GrpcReply::Closed(_) => Ok(()),
    });
    let status = tokio::time::timeout(bounds.timeout, talk).await.unwrap_or(GrpcStatus::timeout());
    match (status.code, answer) {
        (code::OK, Some(message)) => GrpcReply::Message(message),
        (code::OK, None) => GrpcReply::Closed(no_answer("the answer has no message")),
        _ => GrpcReply::Closed(status),
    }
}

fn no_answer(message: &'static str) -> GrpcStatus {
    GrpcStatus::new(Outcome::Reset, code::INTERNAL, message)
}

/// What hears what comes; it may end the call.
trait Tell: FnMut(GrpcReply) -> Result<(), GrpcStatus> {}

impl<T: FnMut(GrpcReply) -> Result<(), GrpcStatus>> Tell for T {}

/// Sends the request and tells what comes up to the status.
async fn talk(
    courier: Rc<dyn Courier>,
    request: Request<FedBody>,
    message_bytes_max: usize,
    tell: impl Tell,
) -> GrpcStatus {
    match courier.carry_http2(request).await {
        Ok(response) => listen(response, message_bytes_max, tell).await.unwrap_or_else(|status| status),
        Err(error) => GrpcStatus::of_failure(&error),
    }
}

/// Tells what a response brings.
async fn listen(
    response: WholeResponse,
    message_bytes_max: usize,
    mut tell: impl Tell,
) -> Result<GrpcStatus, GrpcStatus> {
    if response.body().is_end_stream()
        && let Some(status) = GrpcStatus::told(response.headers())
    {
        // All in one: no initial metadata, as gRPC has it.
        tell(GrpcReply::Initial(HeaderMap::new()))?;
        tell(GrpcReply::Trailing(response.into_parts().0.headers))?;
        return Ok(status);
    }
    if response.status() != StatusCode::OK || !is_grpc(response.headers()) {
        return Err(GrpcStatus::of_http(response.status()));
    }
    read(response, message_bytes_max, tell).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Reads messages up to the trailers.
async fn read(
    response: WholeResponse,
    message_bytes_max: usize,
    mut tell: impl Tell,
) -> Result<GrpcStatus, GrpcStatus> {
    let (head, mut body) = response.into_parts();
    tell(GrpcReply::Initial(head.headers))?;
    let mut frames = Frames::new(message_bytes_max);
    let mut turn = Turn::begin();
    while let Some(frame) = body.frame().await {
        turn.end_if_long().await;
        let frame = frame.map_err(|error| GrpcStatus::of_break(&error))?;
        let trailers = match frame.into_data() {
            Ok(piece) => {
                frames.add(&piece);
                while let Some(message) = frames.next()? {
                    tell(GrpcReply::Message(message))?;
                    turn.end_if_long().await;
                }
                continue;
            }
            Err(frame) => frame.into_trailers().map_err(|_: Frame<Bytes>| no_status())?,
        };
        let status = GrpcStatus::told(&trailers).unwrap_or_else(no_status);
        if status.code == code::OK && !frames.is_empty() {
            return Err(GrpcStatus::new(Outcome::Reset, code::INTERNAL, "the answer ended within a message"));
        }
        tell(GrpcReply::Trailing(trailers))?;
        return Ok(status);
    }
    Err(no_status())
}

/// How long this call has had the worker.
struct Turn(Instant);

impl Turn {
    fn begin() -> Self {
        Self(Instant::now())
    }

    /// Lets others have the worker, if it was long. A wait for the server counts, which costs a turn more.
    async fn end_if_long(&mut self) {
        if self.0.elapsed() >= SLICE {
            tokio::task::yield_now().await;
            *self = Self::begin();
        }
    }
}

fn no_status() -> GrpcStatus {
    GrpcStatus::new(Outcome::Reset, code::UNKNOWN, "the answer has no status")
}
