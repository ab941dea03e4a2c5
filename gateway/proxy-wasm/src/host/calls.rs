//! The side calls of one VM: which are under way, and which reply a callback reads right now.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::rc::Rc;

use super::Host;
use crate::abi::LogLevel;
use crate::abi::types::{BufferType, CallMap};
use crate::calls::{CallError, CallId, CallKind, CallReply};
use crate::environment::Environment;
use crate::plugin::{Plugin, PluginId};

/// The calls of one VM.
#[derive(Default)]
pub(crate) struct Calls {
    outstanding: HashMap<CallId, Outstanding>,
    /// How many of them each plugin has; none is zero.
    counts: HashMap<PluginId, usize>,
    last: u32,
    delivered: Option<Delivery>,
}

/// A call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) plugin: PluginId,
    pub(crate) kind: CallKind,
}

/// A reply that the running callback may read.
struct Delivery {
    kind: CallKind,
    reply: Rc<dyn CallReply>,
}

impl Calls {
    /// A number that no call under way has. Numbers go up, so that a guest that remembers a call for
    /// too long does not take another for it; they wrap after 2³² calls.
    fn next_id(&mut self) -> CallId {
        loop {
            self.last = self.last.wrapping_add(1);
            let free = NonZeroU32::new(self.last).map(CallId::new);
            if let Some(id) = free.filter(|id| !self.outstanding.contains_key(id)) {
                return id;
            }
        }
    }

    /// A call under way, if it is of this kind.
    pub(crate) fn look_up(&self, id: CallId, kind: CallKind) -> Option<Outstanding> {
        self.outstanding.get(&id).copied().filter(|call| call.kind == kind)
    }

    /// A call that a guest names, if it is under way.
    fn named(&self, id: u32) -> Option<(CallId, Outstanding)> {
        let id = CallId::new(NonZeroU32::new(id)?);
        self.outstanding.get(&id).map(|call| (id, *call))
    }

    /// Ends a call, if it is of this kind and under way.
    pub(crate) fn take(&mut self, id: CallId, kind: CallKind) -> Option<Outstanding> {
        self.look_up(id, kind)?;
        self.remove(id)
    }

    fn insert(&mut self, id: CallId, call: Outstanding) {
        self.outstanding.insert(id, call);
        *self.counts.entry(call.plugin).or_default() += 1;
    }

    fn remove(&mut self, id: CallId) -> Option<Outstanding> {
        let call = self.outstanding.remove(&id)?;
        if let Entry::Occupied(mut count) = self.counts.entry(call.plugin) {
            *count.get_mut() -= 1; // counted by `insert`
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(call)
    }

    /// Calls under way.
    pub(crate) fn len(&self) -> usize {
        self.outstanding.len()
    }

    fn count_of(&self, plugin: PluginId) -> usize {
        self.counts.get(&plugin).copied().unwrap_or_default()
    }
}

impl<E: Environment> Host<E> {
    /// Opens a call of the active plugin: `start` hands it to the environment. A call that the
    /// environment refuses has never been.
    pub(super) fn open_call(
        &self,
        kind: CallKind,
        start: impl FnOnce(CallId, &Plugin, Option<&E::Stream>) -> Result<(), CallError>,
    ) -> Result<CallId, CallError> {
        let plugin = self.plugin().ok_or(CallError::Unavailable)?;
        let id = {
            let mut calls = self.calls.borrow_mut();
            if calls.count_of(plugin.id()) >= plugin.spec().calls_max {
                return Err(CallError::TooMany);
            }
            let id = calls.next_id();
            calls.insert(id, Outstanding { plugin: plugin.id(), kind });
            id
        };
        let started = start(id, &plugin, self.stream().as_deref());
        if started.is_err() {
            self.calls.borrow_mut().remove(id);
        }
        started.map(|()| id)
    }

    /// A call was not made: tells whoever reads the log, and whoever counts.
    pub(super) fn call_refused(&self, function: &str, kind: CallKind, error: CallError) {
        self.log(LogLevel::Warn, format!("{function} refused: {error}").as_bytes());
        if let Some(plugin) = self.plugin() {
            self.env.call_refused(&plugin, kind);
        }
    }

    /// The call that the active plugin names, if it is one of its own and under way: plugins that share
    /// a VM do not end each other's.
    pub(super) fn own_call(&self, id: u32) -> Option<(CallId, CallKind)> {
        let plugin = self.plugin()?;
        let (id, call) = self.calls.borrow().named(id)?;
        (call.plugin == plugin.id()).then_some((id, call.kind))
    }

    /// The kind of a call under way.
    pub(crate) fn kind_of(&self, id: CallId) -> Option<CallKind> {
        self.calls.borrow().named(id.get()).map(|(_, call)| call.kind)
    }

    /// The guest has no use for the call any more.
    pub(super) fn cancel_call(&self, id: CallId) {
        if self.calls.borrow_mut().remove(id).is_some() {
            self.env.cancel_call(id);
        }
    }

    /// Shows a reply to the callback that is about to run.
    pub(crate) fn show_reply(&self, kind: CallKind, reply: Rc<dyn CallReply>) {
        self.calls.borrow_mut().delivered = Some(Delivery { kind, reply });
    }

    /// Hides it again. The reply goes after the borrow has ended: its drop is the gateway's code.
    pub(crate) fn hide_reply(&self) {
        let delivered = self.calls.borrow_mut().delivered.take();
        drop(delivered);
    }

    /// The reply that has `map`, if the running callback may read one.
    pub(super) fn call_reply(&self, map: CallMap) -> Option<Rc<dyn CallReply>> {
        self.shown(|kind| kind.shows_map(map))
    }

    /// The reply that has `buffer`, if the running callback may read one.
    pub(super) fn call_message(&self, buffer: BufferType) -> Option<Rc<dyn CallReply>> {
        self.shown(|kind| kind.shows_buffer(buffer))
    }

    /// The reply of any kind that the running callback may read.
    pub(super) fn call_status(&self) -> Option<Rc<dyn CallReply>> {
        self.shown(|_| true)
    }

    fn shown(&self, has: impl FnOnce(CallKind) -> bool) -> Option<Rc<dyn CallReply>> {
        let calls = self.calls.borrow();
        let delivered = calls.delivered.as_ref().filter(|delivered| has(delivered.kind))?;
        Some(Rc::clone(&delivered.reply))
    }

    /// The plugin has gone: nothing waits for its calls any more.
    pub(crate) fn cancel_calls_of(&self, plugin: PluginId) {
        self.cancel_calls(|call| call.plugin == plugin);
    }

    /// The VM has failed: nothing waits for any call any more.
    pub(crate) fn cancel_all_calls(&self) {
        self.cancel_calls(|_| true);
    }

    fn cancel_calls(&self, is_over: impl Fn(&Outstanding) -> bool) {
        let over: Vec<_> = {
            let mut calls = self.calls.borrow_mut();
            let over = calls.outstanding.iter().filter(|(_, call)| is_over(call));
            let over: Vec<_> = over.map(|(id, _)| *id).collect();
            for id in &over {
                calls.remove(*id);
            }
            over
        };
        over.into_iter().for_each(|id| self.env.cancel_call(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(id: u32) -> PluginId {
        PluginId::new(NonZeroU32::new(id).unwrap())
    }

    #[test]
    fn ids_go_up_and_wrap_past_zero_and_the_living() {
        let mut calls = Calls::default();
        let first = calls.next_id();
        calls.insert(first, Outstanding { plugin: plugin(1), kind: CallKind::Http });
        assert_ne!(calls.next_id(), first);
        calls.last = u32::MAX;
        assert_eq!(calls.next_id().get(), 2, "0 is no id and 1 is under way");
    }

    #[test]
    fn a_call_is_taken_once() {
        let mut calls = Calls::default();
        let id = calls.next_id();
        assert_eq!(calls.take(id, CallKind::Http), None, "it was never opened");
        let call = Outstanding { plugin: plugin(7), kind: CallKind::Http };
        calls.insert(id, call);
        assert_eq!((calls.count_of(plugin(7)), calls.count_of(plugin(8))), (1, 0));
        assert_eq!(calls.take(id, CallKind::Http), Some(call));
        assert_eq!((calls.take(id, CallKind::Http), calls.len(), calls.count_of(plugin(7))), (None, 0, 0));
    }
}
