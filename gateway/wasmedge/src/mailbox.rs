//! The host's side of the mailbox: a second memory that the pass adds to a module, which the guest's own
//! code cannot name. [`crate::meter`] says what is put there and why; this is how it is read.
//!
//! It holds one answer of the host, for code of the pass to fetch, and changes of header maps that the
//! guest was told are done, for the host to do before anything that could tell the difference: the next call
//! of a host function, or the end of the guest's call.

use std::cell::Cell;
use std::ptr;

/// Where things are, in bytes; one page in all. Numbers are little-endian and 32 bits wide.
pub(crate) mod layout {
    /// [`EXPECTED`] while a function is called whose answer may be put here, then its length.
    pub(crate) const ANSWER_LEN: u32 = 0;
    /// Not 0 while the guest's allocator runs for an answer, which is no time to post changes.
    pub(crate) const ALLOCATING: u32 = 4;
    /// Not 0: changes may be posted. Written by the host.
    pub(crate) const IS_OPEN: u32 = 8;
    /// Bytes of changes that have been posted.
    pub(crate) const POSTED_LEN: u32 = 12;
    /// The answer.
    pub(crate) const ANSWER: u32 = 16;
    /// The longest answer; longer ones go the long way.
    pub(crate) const ANSWER_MAX: u32 = 32 * 1024 - ANSWER;
    /// The changes, one behind another: [`HEAD`] bytes of edit and map, length of the name, length of the value;
    /// name; value.
    pub(crate) const POSTED: u32 = 32 * 1024;
    /// Bytes of changes at most.
    pub(crate) const POSTED_MAX: u32 = 32 * 1024;
    /// Bytes before a name.
    pub(crate) const HEAD: u32 = 12;
    /// Names and values of this length or more are not posted: what is copied for free must be little.
    pub(crate) const POSTED_PIECE: u32 = 4096;
    /// An answer may be put here. Longer than any.
    pub(crate) const EXPECTED: u32 = u32::MAX;
    /// The edit is in the upper half, the map in the lower.
    pub(crate) const EDIT_SHIFT: u32 = 16;
}
use layout::{
    ALLOCATING, ANSWER, ANSWER_LEN, ANSWER_MAX, EDIT_SHIFT, EXPECTED, HEAD, IS_OPEN, POSTED, POSTED_LEN,
    POSTED_MAX,
};

/// How a header map is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// `proxy_add_header_map_value`
    Add,
    /// `proxy_replace_header_map_value`
    Replace,
    /// `proxy_remove_header_map_value`
    Remove,
}

impl Edit {
    pub(crate) const fn to_wire(self) -> u32 {
        match self {
            Self::Add => 0,
            Self::Replace => 1,
            Self::Remove => 2,
        }
    }

    const fn from_wire(wire: u32) -> Option<Self> {
        match wire {
            0 => Some(Self::Add),
            1 => Some(Self::Replace),
            2 => Some(Self::Remove),
            _ => None,
        }
    }
}

/// A change of a header map that was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posted<'a> {
    /// How.
    pub edit: Edit,
    /// Which map, as the guest said it; below 4.
    pub map: u32,
    /// The header's name.
    pub name: &'a [u8],
    /// Its value; empty for [`Edit::Remove`].
    pub value: &'a [u8],
}

/// The mailbox of an instance, or none.
pub(crate) struct Mailbox {
    /// The page, which lives as long as the instance and never moves; null without one.
    base: Cell<*mut u8>,
}

impl Mailbox {
    pub(crate) const fn none() -> Self {
        Self { base: Cell::new(ptr::null_mut()) }
    }

    /// # Safety
    /// `base` must be null or point to a page of 64 KiB that lives as long as calls are made here, and that
    /// nobody uses but the pass's code, which never runs during one of them.
    pub(crate) unsafe fn bind(&self, base: *mut u8) {
        self.base.set(base);
    }

    /// Lets changes be posted, from now on.
    pub(crate) fn open(&self) {
        self.put(IS_OPEN, 1);
    }

    /// A call has failed, and with it whatever waited for an answer.
    pub(crate) fn expect_nothing(&self) {
        self.put(ANSWER_LEN, 0);
        self.put(ALLOCATING, 0);
    }

    /// Whether the guest's allocator runs.
    #[inline]
    pub(crate) fn is_allocating(&self) -> bool {
        self.get(ALLOCATING) != 0
    }

    /// Says whether the guest's allocator runs, and returns what was said before.
    #[inline]
    pub(crate) fn set_allocating(&self, is_allocating: bool) -> bool {
        let before = self.is_allocating();
        self.put(ALLOCATING, is_allocating.into());
        before
    }

    /// Leaves `bytes` for the pass's code, if that is who called, and returns whether it is. Otherwise
    /// nothing is expected any more: the caller answers by itself.
    #[inline]
    pub(crate) fn answer(&self, bytes: &[u8]) -> bool {
        if self.get(ANSWER_LEN) != EXPECTED {
            return false;
        }
        let Some(len) = u32::try_from(bytes.len()).ok().filter(|len| *len <= ANSWER_MAX) else {
            self.put(ANSWER_LEN, 0);
            return false;
        };
        // SAFETY: the page is there, since a number was read from it; `ANSWER` and `ANSWER_MAX` are within it;
        // `bytes` is the host's or another memory's.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.get().add(ANSWER as usize), bytes.len())
        };
        self.put(ANSWER_LEN, len);
        true
    }

    /// Whether there are changes to be done.
    #[inline]
    pub(crate) fn has_posted(&self) -> bool {
        self.get(POSTED_LEN) != 0
    }

    /// Takes all changes out, in the order in which they were posted. `f` must not call the guest.
    pub(crate) fn take_posted(&self, mut f: impl FnMut(Posted<'_>)) {
        let len = self.get(POSTED_LEN).min(POSTED_MAX);
        self.put(POSTED_LEN, 0);
        if len == 0 {
            return;
        }
        // SAFETY: the page is there, and the changes are within it. Only the pass's code writes to it, and no
        // guest code runs before `f` has returned: calling it takes the exclusive reference that the callers
        // of this hold.
        let mut rest =
            unsafe { std::slice::from_raw_parts(self.base.get().add(POSTED as usize), len as usize) };
        while let Some((posted, behind)) = split(rest) {
            f(posted);
            rest = behind;
        }
        debug_assert!(rest.is_empty(), "only the pass writes here");
    }

    /// The number at `offset`, or 0 without a mailbox.
    #[inline]
    fn get(&self, offset: u32) -> u32 {
        let base = self.base.get();
        if base.is_null() {
            return 0;
        }
        // SAFETY: `bind` promises the page; all offsets are within it and aligned.
        unsafe { base.add(offset as usize).cast::<u32>().read() }
    }

    fn put(&self, offset: u32, value: u32) {
        let base = self.base.get();
        if !base.is_null() {
            // SAFETY: as in `get`.
            unsafe { base.add(offset as usize).cast::<u32>().write(value) };
        }
    }
}

/// The first change of `bytes`, and what comes behind it.
fn split(bytes: &[u8]) -> Option<(Posted<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD as usize)?;
    let number = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (kind, name, value) = (number(0)?, number(4)? as usize, number(8)? as usize);
    let (name, rest) = rest.split_at_checked(name)?;
    let (value, rest) = rest.split_at_checked(value)?;
    let map = kind & ((1 << EDIT_SHIFT) - 1);
    Some((Posted { edit: Edit::from_wire(kind >> EDIT_SHIFT)?, map, name, value }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(edit: Edit, map: u32, name: &[u8], value: &[u8]) -> Vec<u8> {
        let numbers = [edit.to_wire() << EDIT_SHIFT | map, name.len() as u32, value.len() as u32];
        let head = numbers.into_iter().flat_map(u32::to_le_bytes);
        head.chain(name.iter().copied()).chain(value.iter().copied()).collect()
    }

    /// A page, and what was put there.
    fn page() -> (Vec<u32>, Mailbox) {
        let mut page = vec![0_u32; 64 * 1024 / 4];
        let mailbox = Mailbox::none();
        // SAFETY: the page is returned with it, and used by nobody else.
        unsafe { mailbox.bind(page.as_mut_ptr().cast()) };
        (page, mailbox)
    }

    #[test]
    fn changes_come_out_in_order_and_once() {
        let (_page, mailbox) = page();
        let mut bytes = change(Edit::Add, 0, b"a", b"1");
        bytes.extend(change(Edit::Remove, 2, b"server", b""));
        bytes.extend(change(Edit::Replace, 3, b"bc", b"23"));
        // SAFETY: within the page.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), mailbox.base.get().add(POSTED as usize), bytes.len())
        };
        mailbox.put(POSTED_LEN, bytes.len() as u32);
        assert!(mailbox.has_posted());
        let mut seen = Vec::new();
        mailbox.take_posted(|one| seen.push((one.edit, one.map, one.name.to_vec(), one.value.to_vec())));
        assert_eq!(
            seen,
            [
                (Edit::Add, 0, b"a".to_vec(), b"1".to_vec()),
                (Edit::Remove, 2, b"server".to_vec(), Vec::new()),
                (Edit::Replace, 3, b"bc".to_vec(), b"23".to_vec()),
            ]
        );
        assert!(!mailbox.has_posted());
        mailbox.take_posted(|_| panic!("taken already"));
    }

    #[test]
    fn an_answer_is_left_only_for_who_expects_one_that_fits() {
        let (_page, mailbox) = page();
        assert!(!mailbox.answer(b"nobody asked"));
        mailbox.put(ANSWER_LEN, EXPECTED);
        assert!(!mailbox.answer(&vec![0; ANSWER_MAX as usize + 1]));
        assert!(!mailbox.answer(b"it is not expected any more"));
        mailbox.put(ANSWER_LEN, EXPECTED);
        assert!(mailbox.answer(b"yes"));
        assert_eq!(mailbox.get(ANSWER_LEN), 3);
    }

    #[test]
    fn without_one_nothing_is_left_or_taken() {
        let mailbox = Mailbox::none();
        mailbox.open();
        assert!(!mailbox.answer(b"x") && !mailbox.has_posted() && !mailbox.is_allocating());
        mailbox.take_posted(|_| panic!("there is nothing"));
    }
}
