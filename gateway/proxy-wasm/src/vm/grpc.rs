//! The callbacks of gRPC calls and of calls to Redis.

use std::rc::Rc;

use tollgate_wasmedge::Func;

use super::Vm;
use super::calls::length;
use super::exports::{U3, name};
use crate::calls::{CallId, CallKind, CallMap, CallReply};
use crate::environment::Environment;
use crate::vm::error::Failure;

impl<E: Environment> Vm<E> {
    /// A stream's initial metadata have come. Like all that follows here, it is passed over if the call
    /// is not under way (any more).
    pub fn on_grpc_initial_metadata(&self, call: CallId, reply: Rc<dyn CallReply>) -> Result<(), Failure> {
        let count = length(reply.map_len(CallMap::GrpcInitialMetadata));
        let function = &self.exports.grpc_receive_initial_metadata;
        self.tell_stream(call, name::GRPC_RECEIVE_INITIAL_METADATA, function.as_ref(), count, reply)
    }

    /// A message has come: one of many on a stream; the answer to a call, which ends it.
    pub fn on_grpc_message(&self, call: CallId, reply: Rc<dyn CallReply>) -> Result<(), Failure> {
        let size = length(reply.body().len());
        let function = self.exports.grpc_receive.as_ref();
        match self.host.kind_of(call) {
            Some(kind @ CallKind::GrpcCall) => {
                self.tell_last(call, kind, name::GRPC_RECEIVE, function, size, reply)
            }
            _ => self.tell_stream(call, name::GRPC_RECEIVE, function, size, reply),
        }
    }

    /// A stream's trailing metadata have come.
    pub fn on_grpc_trailing_metadata(&self, call: CallId, reply: Rc<dyn CallReply>) -> Result<(), Failure> {
        let count = length(reply.map_len(CallMap::GrpcTrailingMetadata));
        let (name, function) = &self.exports.grpc_receive_trailing_metadata;
        self.tell_stream(call, name, function.as_ref(), count, reply)
    }

    /// A stream is over, or a call has failed; `reply` has the gRPC status.
    pub fn on_grpc_close(&self, call: CallId, reply: Rc<dyn CallReply>) -> Result<(), Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let (status, _) = reply.status();
        let kind = self.host.kind_of(call);
        let Some(kind @ (CallKind::GrpcCall | CallKind::GrpcStream)) = kind else { return Ok(()) };
        self.tell_last(call, kind, name::GRPC_CLOSE, self.exports.grpc_close.as_ref(), status, reply)
    }

    /// A call to Redis has ended: `reply` has the bytes of the answer, or a status other than 0.
    pub fn on_redis_call_response(&self, call: CallId, reply: Rc<dyn CallReply>) -> Result<(), Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let taken = self.host.calls.borrow_mut().take(call, CallKind::Redis);
        let (Some(call_of), Some(function)) = (taken, &self.exports.redis_call_response) else {
            return Ok(());
        };
        let ((status, _), size) = (reply.status(), length(reply.body().len()));
        self.deliver(CallKind::Redis, reply, || {
            let params = |plugin| (plugin, call.get(), status, size);
            self.call_context(name::REDIS_CALL_RESPONSE, function, call_of.plugin.get(), params).map(drop)
        })
    }

    /// Tells something of a stream that goes on.
    fn tell_stream(
        &self,
        call: CallId,
        callback: &'static str,
        function: Option<&Func<U3, ()>>,
        argument: u32,
        reply: Rc<dyn CallReply>,
    ) -> Result<(), Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let found = self.host.calls.borrow().look_up(call, CallKind::GrpcStream);
        let (Some(call_of), Some(function)) = (found, function) else { return Ok(()) };
        self.deliver(CallKind::GrpcStream, reply, || {
            let params = |plugin| (plugin, call.get(), argument);
            self.call_context(callback, function, call_of.plugin.get(), params).map(drop)
        })
    }

    /// Tells the last of a call.
    fn tell_last(
        &self,
        call: CallId,
        kind: CallKind,
        callback: &'static str,
        function: Option<&Func<U3, ()>>,
        argument: u32,
        reply: Rc<dyn CallReply>,
    ) -> Result<(), Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let taken = self.host.calls.borrow_mut().take(call, kind);
        let (Some(call_of), Some(function)) = (taken, function) else { return Ok(()) };
        self.deliver(kind, reply, || {
            let params = |plugin| (plugin, call.get(), argument);
            self.call_context(callback, function, call_of.plugin.get(), params).map(drop)
        })
    }
}
