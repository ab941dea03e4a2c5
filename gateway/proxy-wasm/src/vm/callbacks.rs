//! Streams: the callbacks of an exchange, the end of contexts, and ticks.
//!
//! Order for an exchange: create → request headers, body (each chunk), trailers → response headers,
//! body, trailers → done → log → delete. A callback that the module lacks is not called.

use std::rc::Rc;
use std::time::Duration;

use tollgate_wasmedge::{BEGIN, END, Entry, Func, Reached};

use super::exports::{HeadersCallback, U2, U3, name};
use super::{Returned, Vm};
use crate::abi::action::{Action, PauseKind, Phase};
use crate::environment::Environment;
use crate::host::Active;
use crate::plugin::{ContextId, PluginId};
use crate::shared_queue::{QueueId, QueueTurn};
use crate::vm::contexts::{self, AfterDone};
use crate::vm::error::Failure;

impl<E: Environment> Vm<E> {
    /// Creates the context of an exchange. End it with [`Vm::finish`], whatever else happens.
    pub fn create_stream(&self, plugin: PluginId, stream: Rc<E::Stream>) -> Result<ContextId, Failure> {
        let context = self.enlist(plugin, stream)?;
        let id = context.get();
        if let Some(create) = &self.exports.context_create {
            let created = self.call_context(name::CONTEXT_CREATE, create, id, |id| (id, plugin.get()));
            if let Err(failure) = created {
                self.forget(id);
                return Err(failure);
            }
        }
        self.settle();
        Ok(context)
    }

    /// Creates the context of an exchange and shows it the request's headers: [`Vm::create_stream`] and
    /// [`Vm::on_request_headers`], in one call into the guest if it has both. The budget is one callback's.
    ///
    /// # Errors
    /// Why there is no context. The inner result is that of the headers.
    pub fn begin_exchange(
        &self,
        plugin: PluginId,
        stream: Rc<E::Stream>,
        count: u32,
        end_of_stream: bool,
    ) -> Result<(ContextId, Result<Action, Failure>), Failure> {
        let Some(begin) = &self.exports.begin else {
            let context = self.create_stream(plugin, stream)?;
            return Ok((context, self.on_request_headers(context, count, end_of_stream)));
        };
        let context = self.enlist(plugin, stream)?;
        let params = |id| (id, plugin.get(), count, u32::from(end_of_stream));
        let result = self.call_entry(&BEGIN, begin, context.get(), params);
        self.settle();
        let headers = match result {
            Ok(Returned { value: Reached { steps: 1, .. }, .. }) => {
                self.on_request_headers(context, count, end_of_stream)
            }
            Ok(Returned { value, stopped }) => {
                Ok(answer(Phase::Headers, Returned { value: value.value, stopped }))
            }
            Err(failure) if failure.is_of(name::CONTEXT_CREATE) => {
                self.forget(context.get());
                return Err(failure);
            }
            Err(failure) => Err(failure),
        };
        Ok((context, headers))
    }

    /// Gives an exchange a number.
    fn enlist(&self, plugin: PluginId, stream: Rc<E::Stream>) -> Result<ContextId, Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let mut contexts = self.host.contexts.borrow_mut();
        let parent = contexts.get(plugin.get()).filter(|entry| !entry.is_stream());
        let parent = Rc::clone(parent.ok_or(Failure::UnknownContext)?.plugin());
        let id = contexts.next_id();
        contexts.insert(id, parent, Some(stream));
        Ok(ContextId::new(id))
    }

    /// Request headers have arrived: `count` of them, and whether nothing follows.
    pub fn on_request_headers(
        &self,
        context: ContextId,
        count: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        let function = self.exports.request_headers.as_ref();
        self.headers(name::REQUEST_HEADERS, function, context, count, end_of_stream)
    }

    /// A chunk of the request body has arrived: `size` is all that is buffered, this chunk included.
    pub fn on_request_body(
        &self,
        context: ContextId,
        size: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        let function = self.exports.request_body.as_ref();
        self.with_end(Phase::Body, name::REQUEST_BODY, function, context, size, end_of_stream)
    }

    /// Request trailers have arrived: `count` of them.
    pub fn on_request_trailers(&self, context: ContextId, count: u32) -> Result<Action, Failure> {
        self.trailers(name::REQUEST_TRAILERS, self.exports.request_trailers.as_ref(), context, count)
    }

    /// Response headers have arrived.
    pub fn on_response_headers(
        &self,
        context: ContextId,
        count: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        let function = self.exports.response_headers.as_ref();
        self.headers(name::RESPONSE_HEADERS, function, context, count, end_of_stream)
    }

    /// A chunk of the response body has arrived.
    pub fn on_response_body(
        &self,
        context: ContextId,
        size: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        let function = self.exports.response_body.as_ref();
        self.with_end(Phase::Body, name::RESPONSE_BODY, function, context, size, end_of_stream)
    }

    /// Response trailers have arrived.
    pub fn on_response_trailers(&self, context: ContextId, count: u32) -> Result<Action, Failure> {
        self.trailers(name::RESPONSE_TRAILERS, self.exports.response_trailers.as_ref(), context, count)
    }

    /// The timer of a plugin has fired.
    pub fn on_tick(&self, plugin: PluginId) -> Result<(), Failure> {
        let Some(tick) = &self.exports.tick else { return Ok(()) };
        let result = self.call_context(name::TICK, tick, plugin.get(), |id| id);
        self.settle();
        result.map(|_| ())
    }

    /// A queue that the plugin registered has something to read; see
    /// [`QueueReader`](crate::QueueReader). `Again`: the guest took something out and left something.
    pub fn on_queue_ready(&self, plugin: PluginId, queue: QueueId) -> Result<QueueTurn, Failure> {
        let Some(ready) = &self.exports.queue_ready else { return Ok(QueueTurn::Over) };
        let queues = self.host.env.shared_queues();
        let Some(before) = queues.taken(queue) else { return Ok(QueueTurn::Over) };
        let result = self.call_context(name::QUEUE_READY, ready, plugin.get(), |id| (id, queue.get()));
        self.settle();
        result.map(|_| queues.turn(queue, before))
    }

    /// Ends a stream: `proxy_on_done`, `proxy_on_log`, `proxy_on_delete`. A guest that is not done
    /// keeps the context, and the exchange with it, until it calls `proxy_done`. A failed VM only
    /// forgets it.
    pub fn finish(&self, context: ContextId) -> Result<(), Failure> {
        let result = self.end(context.get());
        self.settle();
        result
    }

    /// Ends a plugin, like [`Vm::finish`], and stops its timer for good. End its streams first; those
    /// that wait for `proxy_done` end with it.
    pub fn remove_plugin(&self, plugin: PluginId) {
        self.host.env.set_tick(plugin, None);
        // A failure here fails the VM, which is where the gateway looks for it.
        let _ = self.end(plugin.get());
        self.settle();
    }

    fn headers(
        &self,
        callback: &'static str,
        function: Option<&HeadersCallback>,
        context: ContextId,
        count: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        match function {
            Some(HeadersCallback::WithoutEnd(function)) => {
                self.exchange(Phase::Headers, callback, Some(function), context, |id| (id, count))
            }
            Some(HeadersCallback::WithEnd(function)) => {
                self.with_end(Phase::Headers, callback, Some(function), context, count, end_of_stream)
            }
            None => self.with_end(Phase::Headers, callback, None, context, count, end_of_stream),
        }
    }

    pub(super) fn with_end(
        &self,
        phase: Phase,
        callback: &'static str,
        function: Option<&Func<U3, u32>>,
        context: ContextId,
        count: u32,
        end_of_stream: bool,
    ) -> Result<Action, Failure> {
        self.exchange(phase, callback, function, context, |id| (id, count, u32::from(end_of_stream)))
    }

    fn trailers(
        &self,
        callback: &'static str,
        function: Option<&Func<U2, u32>>,
        context: ContextId,
        count: u32,
    ) -> Result<Action, Failure> {
        self.exchange(Phase::Trailers, callback, function, context, |id| (id, count))
    }

    /// Runs a callback of an exchange.
    pub(super) fn exchange<P: tollgate_wasmedge::WasmParams>(
        &self,
        phase: Phase,
        callback: &'static str,
        function: Option<&Func<P, u32>>,
        context: ContextId,
        params: impl FnOnce(u32) -> P,
    ) -> Result<Action, Failure> {
        if self.failed().is_some() {
            return Err(Failure::Broken);
        }
        let Some(function) = function else { return Ok(Action::Continue) };
        let result = self.call_context(callback, function, context.get(), params);
        self.settle();
        Ok(answer(phase, result?))
    }

    /// Runs a callback of a context that lives, under its plugin's budget.
    pub(super) fn call_context<P: tollgate_wasmedge::WasmParams, R: tollgate_wasmedge::WasmResults>(
        &self,
        callback: &'static str,
        function: &Func<P, R>,
        context: u32,
        params: impl FnOnce(u32) -> P,
    ) -> Result<super::Returned<R>, Failure> {
        let (active, budget) = self.active(context)?;
        self.call(callback, function, params(context), active, budget)
    }

    /// Runs an entry for a context that lives, under its plugin's budget.
    fn call_entry<P: tollgate_wasmedge::WasmParams>(
        &self,
        entry: &'static Entry,
        function: &Func<P, u64>,
        context: u32,
        params: impl FnOnce(u32) -> P,
    ) -> Result<Returned<Reached>, Failure> {
        let (active, budget) = self.active(context)?;
        let step = |step: u32| entry.steps.get(step as usize).map_or(entry.name, |step| step.export);
        let returned = self.call_steps(step, function, params(context), active, budget)?;
        Ok(Returned { value: Reached::from_wire(returned.value), stopped: returned.stopped })
    }

    /// What a callback of a context acts on, and how long it may take.
    fn active(&self, context: u32) -> Result<(Active<E>, Duration), Failure> {
        let contexts = self.host.contexts.borrow();
        let entry = contexts.get(context).ok_or(Failure::UnknownContext)?;
        Ok((Active { context, ..entry.active() }, entry.plugin().spec().budget))
    }

    /// Asks a context whether it is done, and deletes it if so.
    fn end(&self, context: u32) -> Result<(), Failure> {
        if self.failed().is_some() {
            self.forget(context);
            return Err(Failure::Broken);
        }
        if !self.host.contexts.borrow_mut().begin_end(context) {
            return Err(Failure::UnknownContext);
        }
        // A plugin takes its waiting streams along between done and log.
        let is_stream = self.host.contexts.borrow().get(context).is_some_and(contexts::Entry::is_stream);
        let reached = match &self.exports.end {
            Some(end) if is_stream => self.call_entry(&END, end, context, |id| id).map(|end| end.value),
            _ => self.ask_done(context).map(|is_done| Reached { steps: 1, value: is_done.into() }),
        };
        let Reached { steps, value } = reached.inspect_err(|_| self.forget(context))?;
        if steps <= 1 && self.host.contexts.borrow_mut().done_returned(context, value != 0) == AfterDone::Wait
        {
            return Ok(());
        }
        self.delete_from(context, steps)
    }

    fn ask_done(&self, context: u32) -> Result<bool, Failure> {
        let Some(done) = &self.exports.done else { return Ok(true) };
        self.call_context(name::DONE, done, context, |id| id).map(|done| done.value != 0)
    }

    /// Logs and deletes a context that is done. A plugin takes along the streams that it has kept
    /// waiting: nobody else would end them.
    fn delete(&self, context: u32) -> Result<(), Failure> {
        self.delete_from(context, 1)
    }

    /// The same, when so many of done, log and delete have been called.
    fn delete_from(&self, context: u32, called: u32) -> Result<(), Failure> {
        let waiting = self.host.contexts.borrow().pending_streams_of(context);
        for stream in waiting {
            // A failure fails the VM, which the plugin's own callbacks then report.
            let _ = self.delete(stream);
        }
        let logged = match &self.exports.log {
            Some(log) if called < 2 => self.call_context(name::LOG, log, context, |id| id).map(drop),
            _ => Ok(()),
        };
        let deleted = match (&logged, &self.exports.delete) {
            (Ok(()), Some(delete)) if called < 3 => {
                self.call_context(name::DELETE, delete, context, |id| id).map(drop)
            }
            _ => logged,
        };
        self.forget(context);
        deleted
    }

    /// Deletes the contexts for which the guest has called `proxy_done` meanwhile. Each lives at most
    /// once, so the loop ends.
    pub(super) fn settle(&self) {
        while let Some(context) = { self.host.done.borrow_mut().pop() } {
            // A failure fails the VM; the callback that came first has its own result.
            let _ = self.delete(context);
        }
    }

    /// Drops this side's entry. The exchange may go with it, after the borrow has ended: its drop is
    /// the gateway's code.
    fn forget(&self, context: u32) {
        let entry = self.host.contexts.borrow_mut().remove(context);
        if let Some(entry) = entry.filter(|entry| !entry.is_stream()) {
            self.host.cancel_calls_of(entry.plugin().id());
        }
    }
}

/// What a callback of an exchange came to. A guest that answered or closed the exchange has stopped it,
/// whatever it returned.
fn answer(phase: Phase, returned: Returned<u32>) -> Action {
    match returned.stopped {
        true => Action::Pause(PauseKind::Watermark),
        false => Action::from_wire(phase, returned.value),
    }
}
