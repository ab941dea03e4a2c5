//! Compiling a script, and where in its line it is wrong: Lua tells the line alone.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use super::{Lua, RawState, ffi};
use crate::place::Mistake;

/// Hands a source over byte by byte, so that it is known how far the compiler has read.
struct Reader<'s> {
    source: &'s [u8],
    read: usize,
    /// It asked for more than there is.
    is_over: bool,
}

impl Lua {
    /// Like [`Lua::load`] for a script: the error names the column as well, `file:line:column: …`.
    pub(crate) fn load_script(self, source: &[u8], name: &CStr) -> bool {
        if self.load(source, name) {
            return true;
        }
        let Some(text) = self.bytes(-1).map(<[u8]>::to_vec) else { return false };
        let mut reader = Reader { source, read: 0, is_over: false };
        // SAFETY: see the module; the reader lives until the call returns. What it pushes, the same
        // error once more, is popped.
        unsafe {
            ffi::lua_load(self.0, read, ptr::from_mut(&mut reader).cast(), name.as_ptr(), c"t".as_ptr());
        }
        self.pop(1);
        let mistake = Mistake { source, read: reader.read, at_end: reader.is_over };
        let file = name.to_bytes().strip_prefix(b"@").unwrap_or_default();
        if let Some(placed) = mistake.with_column(file, &text) {
            self.pop(1);
            self.push_owned(placed);
        }
        false
    }
}

/// `lua_Reader`.
unsafe extern "C-unwind" fn read(_: *mut RawState, reader: *mut c_void, size: *mut usize) -> *const c_char {
    // SAFETY: called by `lua_load` above, with the reader it was given.
    let (reader, size) = unsafe { (&mut *reader.cast::<Reader<'_>>(), &mut *size) };
    match reader.source.get(reader.read) {
        Some(byte) => {
            reader.read += 1;
            *size = 1;
            ptr::from_ref(byte).cast()
        }
        None => {
            reader.is_over = true;
            *size = 0;
            ptr::null()
        }
    }
}
