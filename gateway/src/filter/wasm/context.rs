//! A Wasm filter's part in one exchange, or in one TCP connection.

use std::cell::Cell;
use std::rc::Rc;

use tollgate_proxy_wasm::{Action, ContextId, Failure, Handles, PeerType, Vm};

use super::backoff::{Cost, Turn};
use super::environment::Environment;
use super::plugin::Plugin;
use super::slot::Waiting;
use crate::filter::exchange::Side;
use crate::policy::bodies::BodyMode;
use crate::telemetry::Phase;

/// A filter's part in one exchange.
pub struct Context {
    plugin: Rc<Plugin>,
    vm: Rc<Vm<Environment>>,
    id: ContextId,
    turn: Turn,
    is_well: Cell<bool>,
    is_held: Cell<bool>,
    has_ended: Cell<bool>,
}

impl Context {
    /// The part of `plugin` that the guest knows as `id`.
    pub(super) fn new(plugin: Rc<Plugin>, vm: Rc<Vm<Environment>>, id: ContextId, turn: Turn) -> Self {
        Self {
            plugin,
            vm,
            id,
            turn,
            is_well: Cell::new(true),
            is_held: Cell::new(false),
            has_ended: Cell::new(false),
        }
    }

    /// Which callbacks the module has.
    pub fn handles(&self) -> Handles {
        self.vm.handles()
    }

    /// Calls the guest for a phase; `size` counts headers or bytes.
    pub fn call(&self, phase: Phase, size: usize, end_of_stream: bool) -> Result<Action, Failure> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let (vm, id) = (&*self.vm, self.id);
        let result = match phase {
            Phase::RequestHeaders => vm.on_request_headers(id, size, end_of_stream),
            Phase::RequestBody => vm.on_request_body(id, size, end_of_stream),
            Phase::RequestTrailers => vm.on_request_trailers(id, size),
            Phase::ResponseHeaders => vm.on_response_headers(id, size, end_of_stream),
            Phase::ResponseBody => vm.on_response_body(id, size, end_of_stream),
            Phase::ResponseTrailers => vm.on_response_trailers(id, size),
            Phase::NewConnection => vm.on_new_connection(id),
            Phase::DownstreamData => vm.on_downstream_data(id, size, end_of_stream),
            Phase::UpstreamData => vm.on_upstream_data(id, size, end_of_stream),
            Phase::DownstreamClose
            | Phase::UpstreamClose
            | Phase::Done
            | Phase::Tick
            | Phase::QueueReady
            | Phase::CallResponse
            | Phase::Background => Ok(Action::Continue),
        };
        self.note(result)
    }

    /// Tells the guest that one of the two ends of its connection is gone: `phase` says which.
    pub fn call_close(&self, phase: Phase, peer: PeerType) -> Result<(), Failure> {
        let result = match phase {
            Phase::DownstreamClose => self.vm.on_downstream_close(self.id, peer),
            Phase::UpstreamClose => self.vm.on_upstream_close(self.id, peer),
            _ => Ok(()),
        };
        self.note(result)
    }

    /// Whether the module wants to be told that.
    pub fn handles_close(&self, phase: Phase) -> bool {
        match phase {
            Phase::DownstreamClose => self.vm.handles().downstream_close,
            Phase::UpstreamClose => self.vm.handles().upstream_close,
            _ => false,
        }
    }

    /// Takes down how a callback went.
    pub(super) fn note<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &result {
            self.is_well.set(false);
            if !matches!(failure, Failure::Broken) {
                self.plugin.failed(Cost::of(failure));
            }
        }
        result
    }

    /// How much of this side's body the guest is shown; `None` if it looks at none.
    pub fn body_mode(&self, side: Side) -> Option<BodyMode> {
        let (handles, modes) = (self.vm.handles(), &self.plugin.definition().bodies);
        let (body, trailers, mode) = match side {
            Side::Request => (handles.request_body, handles.request_trailers, modes.request),
            Side::Response => (handles.response_body, handles.response_trailers, modes.response),
        };
        match mode {
            BodyMode::None => None,
            mode if body => Some(mode),
            // Nothing is gathered for a guest that looks at trailers only.
            _ => trailers.then_some(BodyMode::Stream),
        }
    }

    /// It did not do well in this exchange, though it lives on.
    pub fn spoil(&self) {
        self.is_well.set(false);
    }

    /// The guest holds the exchange or connection back: it is to be woken if the VM fails.
    pub fn hold<W: Waiting>(&self, waiting: &Rc<W>) {
        if !self.is_held.replace(true) {
            self.plugin.slot().hold(waiting);
        }
    }

    /// How the VM failed, if it did.
    pub fn failure_of_vm(&self) -> Option<Failure> {
        self.vm.failed().cloned()
    }

    /// Whether a neighbour's failure took the VM away.
    pub fn is_orphaned(&self) -> bool {
        self.vm.failed().is_some()
    }

    /// Ends the filter's part: its `on_done`, `on_log` and `on_delete`, unless it may answer later.
    ///
    /// # Errors
    /// How the guest failed in them. Once; a part that has ended stays so.
    pub fn end(&self) -> Result<(), Failure> {
        if self.has_ended.replace(true) {
            return Ok(());
        }
        match self.vm.finish(self.id) {
            Ok(()) if self.is_well.get() => self.plugin.went_well(self.turn),
            Ok(()) => {}
            Err(Failure::Broken | Failure::UnknownContext) => {
                self.plugin.was_cut_short(self.turn);
            }
            Err(failure) => {
                tracing::warn!(filter = self.plugin.name(), %failure, "a filter failed at the end of an exchange");
                self.plugin.note_failure(&failure.to_string());
                self.plugin.failed(Cost::of(&failure));
                return Err(failure);
            }
        }
        Ok(())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // A failure is noted in it.
        let _ = self.end();
    }
}
