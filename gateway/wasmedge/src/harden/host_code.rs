//! Which addresses hold host code: everything that was loaded before the first guest.

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Executable ranges `[start, end)`, sorted.
static RANGES: OnceLock<Vec<(usize, usize)>> = OnceLock::new();

/// Notes the executable segments of the process as it is now.
pub(crate) fn learn() {
    RANGES.get_or_init(|| {
        let mut ranges = Vec::new();
        // SAFETY: the callback gets the vector it expects, and it outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut ranges).cast()) };
        ranges.sort_unstable();
        ranges
    });
}

/// Whether `address` is host code. Safe in a signal handler: takes no lock, allocates nothing.
pub(crate) fn contains(address: usize) -> bool {
    let Some(ranges) = RANGES.get() else { return true };
    let after = ranges.partition_point(|(start, _)| *start <= address);
    after > 0 && address < ranges[after - 1].1
}

/// Whether the dynamic loader has the object at `path` mapped: the sign that its native code is
/// in use, since WasmEdge closes the object again when it falls back to interpreting.
pub(crate) fn is_mapped(path: &Path) -> bool {
    find_mapped(|mapped| mapped == path).is_some()
}

/// The first object that the dynamic loader has mapped and that is `wanted`, by the path it was found at.
pub(crate) fn find_mapped(wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut search = Search { wanted: &wanted, found: None };
    // SAFETY: the callback gets the search it expects, and it outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(compare), (&raw mut search).cast()) };
    search.found
}

struct Search<'a> {
    /// Must not panic: it is called from C.
    wanted: &'a dyn Fn(&Path) -> bool,
    found: Option<PathBuf>,
}

unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: `learn` passes a vector of this type; the loader passes a valid entry, whose
    // headers are as many as it says.
    let (ranges, info, headers) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (&mut *data.cast::<Vec<(usize, usize)>>(), info, headers)
    };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            ranges.push((start, start.wrapping_add(header.p_memsz as usize)));
        }
    }
    0
}

unsafe extern "C" fn compare(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: `find_mapped` passes a search; the loader passes a valid entry.
    let (search, name) = unsafe { (&mut *data.cast::<Search<'_>>(), (*info).dlpi_name) };
    if !name.is_null() && search.found.is_none() {
        // SAFETY: the loader's names are zero-terminated.
        let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()));
        search.found = (search.wanted)(path).then(|| path.to_owned());
    }
    c_int::from(search.found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_function_is_host_code_and_the_heap_is_not() {
        learn();
        let heap = Box::new(0_u8);
        assert!(contains(this_function_is_host_code_and_the_heap_is_not as fn() as usize));
        assert!(!contains(std::ptr::from_ref(&*heap).addr()));
    }
}
