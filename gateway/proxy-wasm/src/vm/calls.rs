//! The callbacks of side calls.

use std::rc::Rc;

use super::Vm;
use super::exports::name;
use crate::calls::{CallId, CallKind, CallMap, CallReply};
use crate::environment::Environment;
use crate::vm::error::Failure;

impl<E: Environment> Vm<E> {
    /// An HTTP call has ended, well or not. What the guest does to a stream in its callback, which
    /// names it by `proxy_set_effective_context`, is recorded by that stream as ever. A call that is
    /// not under way (any more) is passed over.
    pub fn on_http_call_response(&self, call: CallId, reply: Rc<dyn CallReply>) -> Result<(), Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let taken = self.host.calls.borrow_mut().take(call, CallKind::Http);
        let (Some(call_of), Some(function)) = (taken, &self.exports.http_call_response) else {
            return Ok(());
        };
        let headers = length(reply.map_len(CallMap::HttpResponseHeaders));
        let trailers = length(reply.map_len(CallMap::HttpResponseTrailers));
        let body = length(reply.body().len());
        self.deliver(CallKind::Http, reply, || {
            let plugin = call_of.plugin.get();
            let params = |plugin| (plugin, call.get(), headers, body, trailers);
            self.call_context(name::HTTP_CALL_RESPONSE, function, plugin, params).map(drop)
        })
    }

    /// Side calls under way, of all plugins.
    pub fn calls(&self) -> usize {
        self.host.calls.borrow().len()
    }

    /// Runs `callback` while the guest may read `reply`.
    pub(super) fn deliver(
        &self,
        kind: CallKind,
        reply: Rc<dyn CallReply>,
        callback: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.host.show_reply(kind, reply);
        let result = callback();
        self.host.hide_reply();
        self.settle();
        result
    }
}

/// Replies are limited by the gateway, far below 4 GiB.
pub(super) fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
