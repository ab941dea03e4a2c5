//! The contexts of a VM: plugins and streams, by the number the guest knows them by.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::rc::Rc;

use crate::environment::Environment;
use crate::host::Active;
use crate::limits::PENDING_DONE_MAX;
use crate::plugin::{Plugin, PluginId};

/// All contexts of one VM.
pub(crate) struct Contexts<S> {
    entries: HashMap<u32, Entry<S>, BuildHasherDefault<IdHasher>>,
    last: u32,
    pending: usize,
}

/// One context.
pub(crate) struct Entry<S> {
    plugin: Rc<Plugin>,
    /// `None` for a plugin's own context.
    stream: Option<Rc<S>>,
    life: Life,
}

/// How far a context is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// `proxy_on_done` runs or has run.
    Ending,
    /// `proxy_done` was called before `proxy_on_done` returned.
    DoneEarly,
    /// `proxy_on_done` answered "not yet".
    Pending,
}

/// What follows once `proxy_on_done` has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterDone {
    /// Log and delete it now.
    Delete,
    /// Wait for `proxy_done`.
    Wait,
}

impl<S> Entry<S> {
    pub(crate) fn plugin(&self) -> &Rc<Plugin> {
        &self.plugin
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// What host functions act on while this context's callback runs.
    pub(crate) fn active<E: Environment<Stream = S>>(&self) -> Active<E> {
        Active { context: 0, plugin: Some(Rc::clone(&self.plugin)), stream: self.stream.clone() }
    }
}

impl<S> Contexts<S> {
    /// A number that no living context has. Numbers go up and wrap after 2³²: a worker may well
    /// serve more streams than that.
    pub(crate) fn next_id(&mut self) -> NonZeroU32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if let Some(id) = NonZeroU32::new(self.last).filter(|id| !self.entries.contains_key(&id.get())) {
                return id;
            }
        }
    }

    pub(crate) fn insert(&mut self, id: NonZeroU32, plugin: Rc<Plugin>, stream: Option<Rc<S>>) {
        self.entries.insert(id.get(), Entry { plugin, stream, life: Life::Running });
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Entry<S>> {
        self.entries.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a context lives and its end has not begun.
    pub(crate) fn is_running(&self, id: u32) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.life == Life::Running)
    }

    /// The streams of a plugin that wait for `proxy_done`; none if `id` is a stream's.
    pub(crate) fn pending_streams_of(&self, id: u32) -> Vec<u32> {
        if self.pending == 0 || self.entries.get(&id).is_none_or(Entry::is_stream) {
            return Vec::new();
        }
        let waits = |entry: &Entry<S>| {
            entry.life == Life::Pending && entry.is_stream() && entry.plugin.id().get() == id
        };
        self.entries.iter().filter(|(_, entry)| waits(entry)).map(|(stream, _)| *stream).collect()
    }

    /// Contexts of one plugin, its own among them.
    pub(crate) fn count_of(&self, plugin: PluginId) -> usize {
        self.entries.values().filter(|entry| entry.plugin.id() == plugin).count()
    }

    /// Begins the end of a context; false if there is none, or its end has begun.
    pub(crate) fn begin_end(&mut self, id: u32) -> bool {
        match self.entries.get_mut(&id) {
            Some(entry) if entry.life == Life::Running => {
                entry.life = Life::Ending;
                true
            }
            _ => false,
        }
    }

    /// Notes what `proxy_on_done` answered. With too many contexts pending, it is over at once.
    pub(crate) fn done_returned(&mut self, id: u32, is_done: bool) -> AfterDone {
        let room = self.pending < PENDING_DONE_MAX;
        match self.entries.get_mut(&id) {
            Some(entry) if !is_done && room && entry.life == Life::Ending => {
                entry.life = Life::Pending;
                self.pending += 1;
                AfterDone::Wait
            }
            _ => AfterDone::Delete,
        }
    }

    /// Notes a `proxy_done`; true if the context was waiting for it.
    pub(crate) fn mark_done(&mut self, id: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        match entry.life {
            Life::Pending => {
                entry.life = Life::Ending;
                self.pending -= 1; // counted when it became pending
                true
            }
            Life::Ending => {
                entry.life = Life::DoneEarly;
                false
            }
            Life::Running | Life::DoneEarly => false,
        }
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Entry<S>> {
        let entry = self.entries.remove(&id)?;
        if entry.life == Life::Pending {
            self.pending -= 1; // counted when it became pending
        }
        Some(entry)
    }
}

impl<S> Default for Contexts<S> {
    fn default() -> Self {
        Self { entries: HashMap::default(), last: 0, pending: 0 }
    }
}

/// Fibonacci hashing: the keys are this host's own counter, so no guest can make them collide.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{PluginId, PluginSpec};
    use std::time::Duration;

    fn contexts() -> (Contexts<()>, Rc<Plugin>) {
        let spec = PluginSpec {
            name: "p".into(),
            root_id: "".into(),
            configuration: [].into(),
            budget: Duration::from_millis(10),
            queue_reader: None,
            calls_max: 1,
        };
        (Contexts::default(), Rc::new(Plugin::new(PluginId::new(NonZeroU32::MIN), spec)))
    }

    #[test]
    fn numbers_wrap_past_zero_and_the_living() {
        let (mut contexts, plugin) = contexts();
        let first = contexts.next_id();
        contexts.insert(first, plugin, None);
        contexts.last = u32::MAX - 1;
        assert_eq!(contexts.next_id().get(), u32::MAX);
        assert_eq!(contexts.next_id().get(), 2, "0 is no id and 1 lives");
    }

    #[test]
    fn done_ends_a_context_once() {
        let (mut contexts, plugin) = contexts();
        let id = contexts.next_id();
        contexts.insert(id, plugin, None);
        assert!(!contexts.mark_done(id.get()), "it has not been asked");
        assert!(contexts.begin_end(id.get()));
        assert!(!contexts.begin_end(id.get()));
        assert_eq!(contexts.done_returned(id.get(), false), AfterDone::Wait);
        assert!(contexts.mark_done(id.get()));
        assert!(!contexts.mark_done(id.get()));
        assert_eq!(contexts.pending, 0);
    }

    #[test]
    fn done_inside_on_done_counts() {
        let (mut contexts, plugin) = contexts();
        let id = contexts.next_id();
        contexts.insert(id, plugin, None);
        contexts.begin_end(id.get());
        assert!(!contexts.mark_done(id.get()));
        assert_eq!(contexts.done_returned(id.get(), false), AfterDone::Delete);
    }

    #[test]
    fn pending_contexts_are_limited() {
        let (mut contexts, plugin) = contexts();
        for _ in 0..=PENDING_DONE_MAX {
            let id = contexts.next_id();
            contexts.insert(id, Rc::clone(&plugin), None);
            contexts.begin_end(id.get());
            let expected =
                if id.get() as usize > PENDING_DONE_MAX { AfterDone::Delete } else { AfterDone::Wait };
            assert_eq!(contexts.done_returned(id.get(), false), expected);
        }
    }
}
