//! Calls that guests make to other servers.
//!
//! 1. `reach`: the server a guest names must be one that its filter's `allow` lists, and speak what the
//!    call needs.
//! 2. `request`: the guest's maps and bytes become a request, checked and cleaned as a client's is.
//! 3. It goes out on the worker's own pools, in a task of its own: [`exchange()`].
//! 4. `reply`: what came, or how it failed, is kept for the guest's callback.
//!
//! That is an HTTP call; `grpc` and `redis` do the same for theirs. Each is counted while it is under way
//! and when it has ended ([`Metered`]).
//!
//! [`Outbox`] holds the tasks of one VM. A call ends with its reply, with its plugin, or with its VM;
//! then its connection is closed.
//!
//! Limits, by the filter's `calls`: calls at once, time for a call, bytes of a request and of a
//! response; and bytes of all requests under way of one VM (`load`).

pub(super) mod grpc;
mod load;
mod metered;
mod reach;
pub(super) mod redis;
mod reply;
mod request;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::task::AbortHandle;
use tollgate_proxy_wasm::{CallError, CallId};

use load::{Load, Share};
pub(super) use load::{bytes_of, bytes_of_fields};
pub(super) use metered::{Metered, label};
pub use reach::{Reach, Server};
pub(super) use reply::{HttpReply, Outcome};
pub(super) use request::http_request;

use crate::http::{framing, hop};
use crate::policy::filter::CallLimits;
use crate::upstream::{Courier, Feed, SendError, WholeBody, WholeResponse};

/// The calls of one VM that are under way; those that are when it goes are cut.
#[derive(Default)]
pub(super) struct Outbox {
    calls: Rc<RefCell<HashMap<CallId, UnderWay>>>,
    load: Load,
}

struct UnderWay {
    task: AbortHandle,
    /// Where messages of the guest go, if it is a gRPC stream.
    feed: Option<Feed>,
}

impl Outbox {
    /// Makes room for bytes of the guest, which have it until what this gives is dropped.
    ///
    /// # Errors
    /// [`CallError::TooMany`]: too many bytes are under way.
    pub(super) fn admit(&self, bytes: usize) -> Result<Share, CallError> {
        self.load.take(bytes).ok_or(CallError::TooMany)
    }

    /// Does `work` in a task of its own, then `end` with what it came to. `feed` is where it takes from
    /// what the guest adds meanwhile.
    pub(super) fn start<T: 'static>(
        &self,
        id: CallId,
        feed: Option<Feed>,
        work: impl Future<Output = T> + 'static,
        end: impl FnOnce(T) + 'static,
    ) {
        let calls = Rc::downgrade(&self.calls);
        let task = tokio::task::spawn_local(async move {
            let result = work.await;
            if let Some(calls) = calls.upgrade() {
                let over = calls.borrow_mut().remove(&id);
                drop(over);
                end(result);
            }
        });
        self.calls.borrow_mut().insert(id, UnderWay { task: task.abort_handle(), feed });
    }

    /// Lets `add` add something to a call, if it is under way and takes more.
    pub(super) fn feed<T>(&self, id: CallId, add: impl FnOnce(&Feed) -> T) -> Option<T> {
        self.calls.borrow().get(&id)?.feed.as_ref().map(add)
    }

    /// Cuts a call.
    pub(super) fn cut(&self, id: CallId) {
        let cut = self.calls.borrow_mut().remove(&id);
        if let Some(call) = cut {
            call.task.abort();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.calls.take().values().for_each(|call| call.task.abort());
    }
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// For all of it, to the last byte of the response.
    pub(super) timeout: Duration,
    /// The body of the response, or one message or reply.
    pub(super) response_bytes_max: usize,
}

impl Bounds {
    /// What `limits` allow, and less if the guest asks for less time.
    pub(super) fn of(limits: &CallLimits, asked: Option<Duration>) -> Self {
        Self {
            timeout: asked.map_or(limits.timeout, |asked| asked.min(limits.timeout)),
            response_bytes_max: usize::try_from(limits.response_bytes_max).unwrap_or(usize::MAX),
        }
    }
}

/// Sends a request and waits for all of the response. The request's room in the outbox is free again when
/// the reply is there.
pub(super) async fn exchange(
    courier: Rc<dyn Courier>,
    request: Request<WholeBody>,
    bounds: Bounds,
    _room: Share,
) -> HttpReply {
    let work = async {
        let response = courier.carry(request).await.map_err(|error| failed(&error))?;
        collect(response, bounds.response_bytes_max).await
    };
    match tokio::time::timeout(bounds.timeout, work).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(outcome)) => HttpReply::failed(outcome),
        Err(_) => HttpReply::failed(Outcome::Timeout),
    }
}

fn failed(error: &SendError) -> Outcome {
    tracing::debug!(%error, "a call of a filter failed");
    match error {
        SendError::Dns { .. } | SendError::Connect { .. } | SendError::ConnectTimeout { .. } => {
            Outcome::Connect
        }
        SendError::ResponseTimeout { .. } => Outcome::Timeout,
        SendError::Closed { .. }
        | SendError::Reset { .. }
        | SendError::Protocol { .. }
        | SendError::RequestBody { .. } => Outcome::Reset,
    }
}

/// Reads the response to its end; a larger one is refused before it is read, if it says so.
async fn collect(response: WholeResponse, max: usize) -> Result<HttpReply, Outcome> {
    let (mut head, body) = response.into_parts();
    framing::repair_response(&mut head.headers).map_err(|_| Outcome::Reset)?;
    hop::strip_response(&mut head.headers).map_err(|_| Outcome::Reset)?;
    if body.size_hint().lower() > max as u64 {
        return Err(Outcome::TooLarge);
    }
    let collected = Limited::new(body, max).collect().await.map_err(|error| {
        match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Outcome::TooLarge,
            None => Outcome::Reset,
        }
    })?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(HttpReply::arrived(head.status, head.headers, collected.to_bytes(), trailers))
}
