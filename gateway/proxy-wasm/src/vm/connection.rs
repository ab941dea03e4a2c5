//! The callbacks of a TCP connection.
//!
//! Order: create → new connection → data of either direction, each piece → close of either end → done →
//! log → delete. A callback that the module lacks is not called.

use tollgate_wasmedge::Func;

use super::Vm;
use super::exports::{U2, name};
use crate::abi::PeerType;
use crate::abi::action::{Action, Phase};
use crate::environment::Environment;
use crate::plugin::ContextId;
use crate::vm::error::Failure;

impl<E: Environment> Vm<E> {
    /// A client has connected; nothing has been read from it.
    pub fn on_new_connection(&self, context: ContextId) -> Result<Action, Failure> {
        let function = self.exports.new_connection.as_ref();
        self.exchange(Phase::Connection, name::NEW_CONNECTION, function, context, |id| id)
    }

    /// Bytes of the client have arrived: `size` is all that is buffered, these included. At
    /// `end_of_stream` it sends no more.
    pub fn on_downstream_data(
        &self,
        context: ContextId,
        size: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        let function = self.exports.downstream_data.as_ref();
        self.with_end(Phase::Connection, name::DOWNSTREAM_DATA, function, context, size, end_of_stream)
    }

    /// Bytes of the upstream have arrived.
    pub fn on_upstream_data(
        &self,
        context: ContextId,
        size: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        let function = self.exports.upstream_data.as_ref();
        self.with_end(Phase::Connection, name::UPSTREAM_DATA, function, context, size, end_of_stream)
    }

    /// The connection to the client is over; `peer` says who ended it.
    pub fn on_downstream_close(&self, context: ContextId, peer: PeerType) -> Result<(), Failure> {
        self.closed(name::DOWNSTREAM_CLOSE, self.exports.downstream_close.as_ref(), context, peer)
    }

    /// The connection to the upstream is over; `peer` says who ended it.
    pub fn on_upstream_close(&self, context: ContextId, peer: PeerType) -> Result<(), Failure> {
        self.closed(name::UPSTREAM_CLOSE, self.exports.upstream_close.as_ref(), context, peer)
    }

    fn closed(
        &self,
        callback: &'static str,
        function: Option<&Func<U2, ()>>,
        context: ContextId,
        peer: PeerType,
    ) -> Result<(), Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let Some(function) = function else { return Ok(()) };
        let result = self.call_context(callback, function, context.get(), |id| (id, peer.wire()));
        self.settle();
        result.map(drop)
    }
}
