//! How many bytes of requests a VM has under way. The number of its calls alone would not bound them: each
//! may be as large as its filter is allowed.

use std::cell::Cell;
use std::rc::Rc;

use tollgate_proxy_wasm::{HttpCall, Pair};

/// What a VM may have under way. One request alone may be larger, if its filter is allowed that.
const BYTES_MAX: usize = 16 << 20;
/// What a request or a message takes beside its bytes, roughly.
const ITEM_BYTES: usize = 128;
/// What a field takes beside its text.
const FIELD_BYTES: usize = 32;

/// The bytes under way.
#[derive(Default)]
pub(super) struct Load(Rc<Cell<usize>>);

/// Those of one request; not under way any more when it is dropped.
pub(in crate::filter::wasm) struct Share {
    load: Rc<Cell<usize>>,
    bytes: usize,
}

impl Load {
    /// Takes a request or a message in; `None` if too much is under way already.
    pub(super) fn take(&self, bytes: usize) -> Option<Share> {
        let bytes = bytes.saturating_add(ITEM_BYTES);
        let before = self.0.get();
        let after = before.saturating_add(bytes);
        if before > 0 && after > BYTES_MAX {
            return None;
        }
        self.0.set(after);
        Some(Share { load: Rc::clone(&self.0), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.set(self.load.get().saturating_sub(self.bytes));
    }
}

/// What an HTTP request takes, roughly.
pub(in crate::filter::wasm) fn bytes_of(call: &HttpCall<'_>) -> usize {
    call.body.len() + bytes_of_fields(call.headers) + bytes_of_fields(call.trailers)
}

/// What fields take, roughly.
pub(in crate::filter::wasm) fn bytes_of_fields(fields: &[Pair<'_>]) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len() + FIELD_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_makes_room() {
        let load = Load::default();
        let first = load.take(BYTES_MAX - 2 * ITEM_BYTES).unwrap();
        let second = load.take(0).unwrap();
        assert!(load.take(0).is_none(), "an empty one takes room as well");
        drop(first);
        assert!(load.take(BYTES_MAX).is_none(), "the second is under way");
        drop(second);
        assert!(load.take(BYTES_MAX + 1).is_some(), "one alone");
    }
}
