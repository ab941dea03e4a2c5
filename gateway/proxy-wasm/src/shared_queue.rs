//! Queues that guests share across VMs and workers, by `vm_id` and name.
//!
//! One [`SharedQueues`] serves the process. Whoever registers a queue reads it: its [`QueueReader`] is
//! told when there is something to take out. The last one to register is told first; when it is
//! gone the one before takes its place, and a queue without a reader goes with all that is in it.
//! Readers are held weakly, so that their owner, the gateway's filter, says how long a queue lives:
//! longer than a VM that failed and was built again.
//!
//! An item that does not fit is refused, never dropped from the other end. Limits are for the process:
//! queues, items in each, bytes of each item and of all together.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Limits of [`SharedQueues`].
#[derive(Clone, Copy, Debug)]
pub struct SharedQueueLimits {
    /// Queues of all guests.
    pub queues_max: usize,
    /// Items in one queue.
    pub items_max: usize,
    /// Bytes of one item.
    pub item_bytes_max: usize,
    /// Bytes of all items in all queues.
    pub bytes_max: usize,
    /// Bytes of a queue's name.
    pub name_bytes_max: usize,
}

impl Default for SharedQueueLimits {
    fn default() -> Self {
        Self {
            queues_max: 1024,
            items_max: 16_384,
            item_bytes_max: 1 << 20,
            bytes_max: 32 << 20,
            name_bytes_max: 4 << 10,
        }
    }
}

/// Who is told that a queue has something to read: the gateway's, one for each filter and worker.
///
/// The gateway then calls [`Vm::on_queue_ready`](crate::Vm::on_queue_ready) on the filter's own
/// thread, outside any callback.
pub trait QueueReader: Send + Sync + fmt::Debug {
    /// The queue has something to read. Called from any thread, within host functions: must not
    /// block, and must not call a VM. Notices of one queue may be joined.
    fn notify(&self, queue: QueueId);
}

/// A queue, by the number that guests know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId(NonZeroU32);

impl QueueId {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The id of a number that a guest passed.
    pub(crate) fn from_wire(id: u32) -> Option<Self> {
        NonZeroU32::new(id).map(Self)
    }
}

/// What a notice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum QueueTurn {
    /// The guest left nothing, or took nothing.
    Over,
    /// The guest took something and left something: SDKs take one item a notice. Notify it again.
    Again,
}

/// Why an item was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnqueueError {
    #[error("there is no such queue")]
    NotFound,
    #[error("the queue is full")]
    Full,
    #[error("the item is too large")]
    TooLarge,
}

/// The queues of all guests in the process.
#[derive(Debug, Default)]
pub struct SharedQueues {
    limits: SharedQueueLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By `vm_id`, then by name.
    ids: HashMap<Arc<str>, HashMap<Box<[u8]>, QueueId>>,
    queues: HashMap<QueueId, Queue>,
    bytes: usize,
    last_id: u32,
}

#[derive(Debug)]
struct Queue {
    vm_id: Arc<str>,
    name: Box<[u8]>,
    items: VecDeque<Box<[u8]>>,
    /// Items ever taken out.
    taken: u64,
    /// The last is told first.
    readers: Vec<Weak<dyn QueueReader>>,
}

impl SharedQueues {
    /// No queues.
    pub fn new(limits: SharedQueueLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Queues that there are.
    pub fn len(&self) -> usize {
        self.lock().queues.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items in all queues.
    pub fn items(&self) -> usize {
        self.lock().queues.values().map(|queue| queue.items.len()).sum()
    }

    /// Bytes of all items in all queues.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Removes the queues whose readers are gone, and what is in them.
    pub fn sweep(&self) {
        self.lock().sweep();
    }

    /// Opens the queue of that name, new or known, for a reader; `None` beyond the limits.
    pub(crate) fn register(
        &self,
        vm_id: &Arc<str>,
        name: &[u8],
        reader: &Arc<dyn QueueReader>,
    ) -> Option<QueueId> {
        let (id, has_items) = {
            let mut state = self.lock();
            let id = match state.find(vm_id, name) {
                Some(id) => id,
                None => state.add(&self.limits, vm_id, name)?,
            };
            (id, state.queues.get_mut(&id)?.read_by(reader))
        };
        if has_items {
            reader.notify(id);
        }
        Some(id)
    }

    /// The queue of that name, if there is one.
    pub(crate) fn resolve(&self, vm_id: &str, name: &[u8]) -> Option<QueueId> {
        self.lock().find(vm_id, name)
    }

    /// Puts an item at the end and tells the reader.
    pub(crate) fn enqueue(&self, id: QueueId, item: &[u8]) -> Result<(), EnqueueError> {
        if item.len() > self.limits.item_bytes_max {
            return Err(EnqueueError::TooLarge);
        }
        let item: Box<[u8]> = item.into();
        let reader = {
            let mut state = self.lock();
            let bytes = state.bytes + item.len();
            let queue = state.queues.get_mut(&id).ok_or(EnqueueError::NotFound)?;
            if queue.items.len() >= self.limits.items_max || bytes > self.limits.bytes_max {
                return Err(EnqueueError::Full);
            }
            let Some(reader) = queue.reader() else {
                state.sweep();
                return Err(EnqueueError::NotFound);
            };
            queue.items.push_back(item);
            state.bytes = bytes;
            reader
        };
        reader.notify(id);
        Ok(())
    }

    /// Takes out the first item; `Ok(None)` if there is none, `Err` if there is no such queue.
    pub(crate) fn dequeue(&self, id: QueueId) -> Result<Option<Box<[u8]>>, EnqueueError> {
        let mut state = self.lock();
        let queue = state.queues.get_mut(&id).ok_or(EnqueueError::NotFound)?;
        let Some(item) = queue.items.pop_front() else { return Ok(None) };
        queue.taken += 1;
        state.bytes -= item.len(); // counted when it came in
        Ok(Some(item))
    }

    /// How many items were ever taken out of a queue that there is.
    pub(crate) fn taken(&self, id: QueueId) -> Option<u64> {
        self.lock().queues.get(&id).map(|queue| queue.taken)
    }

    /// What a notice came to, if `before` items had been taken out before it.
    pub(crate) fn turn(&self, id: QueueId, before: u64) -> QueueTurn {
        match self.lock().queues.get(&id) {
            Some(queue) if queue.taken != before && !queue.items.is_empty() => QueueTurn::Again,
            _ => QueueTurn::Over,
        }
    }

    /// A poisoned lock is taken as it is: nothing under it stops half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, vm_id: &str, name: &[u8]) -> Option<QueueId> {
        self.ids.get(vm_id)?.get(name).copied()
    }

    fn add(&mut self, limits: &SharedQueueLimits, vm_id: &Arc<str>, name: &[u8]) -> Option<QueueId> {
        if self.queues.len() >= limits.queues_max {
            self.sweep();
        }
        if self.queues.len() >= limits.queues_max || name.len() > limits.name_bytes_max {
            return None;
        }
        let id = self.next_id();
        self.ids.entry(Arc::clone(vm_id)).or_default().insert(name.into(), id);
        let queue = Queue {
            vm_id: Arc::clone(vm_id),
            name: name.into(),
            items: VecDeque::new(),
            taken: 0,
            readers: Vec::new(),
        };
        self.queues.insert(id, queue);
        Some(id)
    }

    /// A number that no queue has; 0 is none.
    fn next_id(&mut self) -> QueueId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = QueueId::from_wire(self.last_id).filter(|id| !self.queues.contains_key(id)) {
                return id;
            }
        }
    }

    fn sweep(&mut self) {
        let Self { ids, queues, bytes, .. } = self;
        queues.retain(|_, queue| {
            if queue.reader().is_some() {
                return true;
            }
            *bytes -= queue.items.iter().map(|item| item.len()).sum::<usize>();
            if let Some(names) = ids.get_mut(&queue.vm_id) {
                names.remove(&queue.name);
                if names.is_empty() {
                    ids.remove(&queue.vm_id);
                }
            }
            false
        });
    }
}

impl Queue {
    /// Puts a reader in front; returns whether there is something to read.
    fn read_by(&mut self, reader: &Arc<dyn QueueReader>) -> bool {
        let is_other = |known: &Weak<dyn QueueReader>| {
            known.upgrade().is_some_and(|known| !std::ptr::addr_eq(Arc::as_ptr(&known), Arc::as_ptr(reader)))
        };
        self.readers.retain(is_other);
        self.readers.push(Arc::downgrade(reader));
        !self.items.is_empty()
    }

    /// The reader that is told, the dead ones before it forgotten.
    fn reader(&mut self) -> Option<Arc<dyn QueueReader>> {
        loop {
            if let Some(reader) = self.readers.last()?.upgrade() {
                return Some(reader);
            }
            self.readers.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Reader(Mutex<Vec<u32>>);

    impl QueueReader for Reader {
        fn notify(&self, queue: QueueId) {
            self.0.lock().unwrap().push(queue.get());
        }
    }

    impl Reader {
        fn take(&self) -> Vec<u32> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    fn reader() -> (Arc<Reader>, Arc<dyn QueueReader>) {
        let reader = Arc::new(Reader::default());
        (Arc::clone(&reader), reader)
    }

    fn small() -> SharedQueues {
        SharedQueues::new(SharedQueueLimits {
            queues_max: 2,
            items_max: 2,
            item_bytes_max: 8,
            bytes_max: 20,
            name_bytes_max: 8,
        })
    }

    fn text(queues: &SharedQueues, id: QueueId) -> Option<String> {
        queues.dequeue(id).unwrap().map(|item| String::from_utf8(item.into()).unwrap())
    }

    #[test]
    fn first_in_first_out_and_the_reader_is_told() {
        let queues = SharedQueues::default();
        let (seen, reader) = reader();
        let id = queues.register(&"vm".into(), b"q", &reader).unwrap();
        assert_eq!(queues.register(&"vm".into(), b"q", &reader), Some(id), "the same queue");
        assert_ne!(queues.register(&"other".into(), b"q", &reader), Some(id), "names are a VM's own");
        assert_eq!((queues.resolve("vm", b"q"), queues.resolve("vm", b"x")), (Some(id), None));
        queues.enqueue(id, b"one").unwrap();
        queues.enqueue(id, b"two").unwrap();
        assert_eq!((seen.take(), queues.bytes()), (vec![id.get(); 2], 6));
        assert_eq!((text(&queues, id).as_deref(), text(&queues, id).as_deref()), (Some("one"), Some("two")));
        assert_eq!((text(&queues, id), queues.bytes()), (None, 0));
    }

    #[test]
    fn the_last_reader_is_told_and_the_one_before_takes_its_place() {
        let queues = SharedQueues::default();
        let ((first_seen, first), (second_seen, second)) = (reader(), reader());
        let id = queues.register(&"vm".into(), b"q", &first).unwrap();
        queues.register(&"vm".into(), b"q", &second).unwrap();
        queues.enqueue(id, b"one").unwrap();
        assert_eq!((first_seen.take().len(), second_seen.take().len()), (0, 1));
        drop((second, second_seen));
        queues.enqueue(id, b"two").unwrap();
        assert_eq!(first_seen.take(), [id.get()]);
        // One that comes to a queue with items is told at once: a VM that was built again.
        queues.register(&"vm".into(), b"q", &first).unwrap();
        assert_eq!(first_seen.take(), [id.get()]);
    }

    #[test]
    fn a_queue_goes_with_its_last_reader() {
        let queues = SharedQueues::default();
        let (seen, reader) = reader();
        let id = queues.register(&"vm".into(), b"q", &reader).unwrap();
        queues.enqueue(id, b"left").unwrap();
        queues.sweep();
        assert_eq!(queues.len(), 1);
        drop((seen, reader));
        assert_eq!(queues.enqueue(id, b"x"), Err(EnqueueError::NotFound));
        assert_eq!((queues.is_empty(), queues.bytes(), queues.resolve("vm", b"q")), (true, 0, None));
        assert_eq!(queues.dequeue(id), Err(EnqueueError::NotFound));
    }

    #[test]
    fn limits_hold() {
        let queues = small();
        let (_seen, reader) = reader();
        let register = |name: &[u8]| queues.register(&"vm".into(), name, &reader);
        assert_eq!(register(b"name too long"), None);
        let (a, b) = (register(b"a").unwrap(), register(b"b").unwrap());
        assert_eq!(register(b"c"), None);
        assert_eq!(queues.enqueue(a, &[0; 9]), Err(EnqueueError::TooLarge));
        queues.enqueue(a, &[0; 8]).unwrap();
        queues.enqueue(a, &[0; 8]).unwrap();
        assert_eq!(queues.enqueue(a, b""), Err(EnqueueError::Full), "two items");
        assert_eq!(queues.enqueue(b, &[0; 5]), Err(EnqueueError::Full), "20 bytes");
        queues.enqueue(b, &[0; 4]).unwrap();
        assert!(queues.dequeue(a).unwrap().is_some());
        queues.enqueue(b, &[0; 8]).unwrap();
    }

    #[test]
    fn a_turn_goes_on_while_the_guest_takes() {
        let queues = SharedQueues::default();
        let (_seen, reader) = reader();
        let id = queues.register(&"vm".into(), b"q", &reader).unwrap();
        queues.enqueue(id, b"one").unwrap();
        queues.enqueue(id, b"two").unwrap();
        let before = queues.taken(id).unwrap();
        assert_eq!(queues.turn(id, before), QueueTurn::Over, "it took nothing");
        text(&queues, id).unwrap();
        assert_eq!(queues.turn(id, before), QueueTurn::Again);
        text(&queues, id).unwrap();
        assert_eq!(queues.turn(id, before), QueueTurn::Over, "it left nothing");
    }
}
