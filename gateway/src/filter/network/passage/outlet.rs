//! What comes out of a chain.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// What has passed every filter in one direction.
#[derive(Default)]
pub struct Outlet {
    bytes: VecDeque<Bytes>,
    has_ended: bool,
}

impl Outlet {
    /// The bytes to be written next, if any.
    pub fn front(&self) -> Option<&Bytes> {
        self.bytes.front()
    }

    /// So many bytes of the front were written.
    pub fn advance(&mut self, count: usize) {
        if let Some(front) = self.bytes.front_mut() {
            front.advance(count.min(front.len()));
            if front.is_empty() {
                self.bytes.pop_front();
            }
        }
    }

    /// Whether nothing follows what is here.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn push(&mut self, bytes: Bytes, is_last: bool) {
        if !bytes.is_empty() {
            self.bytes.push_back(bytes);
        }
        self.has_ended |= is_last;
    }
}
