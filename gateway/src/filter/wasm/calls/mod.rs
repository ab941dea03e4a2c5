//! Calls that guests make to other servers.
//!
//! 1. `reach`: the server a guest names must be one that its filter's `allow` lists.
//! 2. `request`: the guest's maps and bytes become a request, checked and cleaned as a client's is.
//! 3. It goes out on the worker's own pools, in a task of its own: [`exchange()`].
//! 4. `reply`: what came, or how it failed, is kept for the guest's callback.
//!
//! Each is counted while it is under way and when it has ended ([`Metered`]).
//!
//! [`Outbox`] holds the tasks of one VM. A call ends with its reply, with its plugin, or with its VM;
//! then its connection is closed.
//!
//! Limits, by the filter's `calls`: calls at once, time for a call, bytes of a request and of a
//! response; and bytes of all requests under way of one VM (`load`).

mod load;
mod metered;
mod reach;
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
use tollgate_proxy_wasm::{CallError, CallId, HttpCall};

use load::{Load, Share};
pub(super) use metered::{Metered, label};
pub use reach::Reach;
pub(super) use reply::{HttpReply, Outcome};
pub(super) use request::http_request;

use crate::http::{framing, hop};
use crate::upstream::{Courier, SendError, WholeBody, WholeResponse};

/// The calls of one VM that are under way; those that are when it goes are cut.
#[derive(Default)]
pub(super) struct Outbox {
    tasks: Rc<RefCell<HashMap<CallId, AbortHandle>>>,
    load: Load,
}

impl Outbox {
    /// Makes room for a request, which has it until what this gives is dropped.
    ///
    /// # Errors
    /// [`CallError::TooMany`]: too many bytes are under way.
    pub(super) fn admit(&self, call: &HttpCall<'_>) -> Result<Share, CallError> {
        self.load.take(load::bytes_of(call)).ok_or(CallError::TooMany)
    }

    /// Does `work` in a task of its own, then `end` with what it came to.
    pub(super) fn start<T: 'static>(
        &self,
        id: CallId,
        work: impl Future<Output = T> + 'static,
        end: impl FnOnce(T) + 'static,
    ) {
        let tasks = Rc::downgrade(&self.tasks);
        let task = tokio::task::spawn_local(async move {
            let result = work.await;
            if let Some(tasks) = tasks.upgrade() {
                tasks.borrow_mut().remove(&id);
                end(result);
            }
        });
        self.tasks.borrow_mut().insert(id, task.abort_handle());
    }

    /// Cuts a call.
    pub(super) fn cut(&self, id: CallId) {
        if let Some(task) = self.tasks.borrow_mut().remove(&id) {
            task.abort();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.tasks.take().values().for_each(AbortHandle::abort);
    }
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// For all of it, to the last byte of the response.
    pub(super) timeout: Duration,
    /// The body of the response.
    pub(super) response_bytes_max: usize,
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
