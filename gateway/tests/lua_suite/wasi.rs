//! WASI as far as Lua's libraries need it: files in memory in one folder, the clock, output.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_wasmedge::{Caller, Linker, Trap};

const MODULE: &str = "wasi_snapshot_preview1";
/// The folder, after the three standard streams.
const FOLDER: u32 = 3;

/// The environment: one of the tests reads it.
const VARIABLE: &[u8] = b"PATH=/\0";

/// Numbers of errors.
const ACCESS: u32 = 2;
const BAD_DESCRIPTOR: u32 = 8;
const EXISTS: u32 = 20;
const INVALID: u32 = 28;
const NO_ENTRY: u32 = 44;
const NOT_SUPPORTED: u32 = 52;
const NO_SEEK: u32 = 70;

/// Flags of opening.
const CREATE: u32 = 1;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;
/// Flag of a descriptor.
const APPEND: u32 = 1;
/// The right to write.
const WRITE: u64 = 1 << 6;

type Content = Rc<RefCell<Vec<u8>>>;
type Call<'c> = Caller<'c, System>;
type Answer = Result<u32, Trap>;

/// What the guest can reach.
#[derive(Default)]
pub(crate) struct System {
    files: RefCell<BTreeMap<Vec<u8>, Content>>,
    open: RefCell<BTreeMap<u32, Open>>,
    errors: RefCell<Vec<u8>>,
}

struct Open {
    content: Content,
    at: usize,
    writes: bool,
    appends: bool,
}

impl System {
    /// Puts a file into the folder.
    pub(crate) fn add(&mut self, name: &str, content: Vec<u8>) {
        self.files.get_mut().insert(name.into(), Rc::new(RefCell::new(content)));
    }

    /// What was written to standard error.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors.borrow()).into_owned()
    }

    /// A descriptor of the file; `flags` are those of opening.
    fn open(&self, name: Vec<u8>, flags: u32, rights: u64, descriptor_flags: u32) -> Result<u32, u32> {
        let mut files = self.files.borrow_mut();
        let writes = rights & WRITE != 0;
        let content = match files.get(&name) {
            Some(_) if flags & EXCLUSIVE != 0 => return Err(EXISTS),
            Some(content) => Rc::clone(content),
            None if flags & CREATE != 0 && !name.contains(&b'/') => Rc::clone(files.entry(name).or_default()),
            None => return Err(NO_ENTRY),
        };
        if flags & TRUNCATE != 0 {
            content.borrow_mut().clear();
        }
        let mut open = self.open.borrow_mut();
        let descriptor = (FOLDER + 1..).find(|number| !open.contains_key(number)).ok_or(INVALID)?;
        let appends = descriptor_flags & APPEND != 0;
        open.insert(descriptor, Open { content, at: 0, writes, appends });
        Ok(descriptor)
    }

    fn rename(&self, from: &[u8], to: Vec<u8>) -> u32 {
        let mut files = self.files.borrow_mut();
        let Some(content) = files.remove(from) else { return NO_ENTRY };
        files.insert(to, content);
        0
    }
}

impl Open {
    fn read(&mut self, len: usize) -> Vec<u8> {
        let content = self.content.borrow();
        let rest = content.get(self.at..).unwrap_or_default();
        let bytes = rest[..len.min(rest.len())].to_vec();
        self.at += bytes.len();
        bytes
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut content = self.content.borrow_mut();
        if self.appends {
            self.at = content.len();
        }
        let end = self.at + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    fn seek(&mut self, offset: i64, whence: u32) -> Result<u64, u32> {
        let base = match whence {
            0 => 0,
            1 => self.at,
            2 => self.content.borrow().len(),
            _ => return Err(INVALID),
        };
        let base = i64::try_from(base).map_err(|_| INVALID)?;
        let at = base.checked_add(offset).and_then(|at| usize::try_from(at).ok()).ok_or(INVALID)?;
        self.at = at;
        Ok(at as u64)
    }
}

/// The functions that the guest imports.
pub(crate) fn linker() -> Linker<System> {
    let mut linker = Linker::new();
    linker
        .func(MODULE, "fd_prestat_get", preopened)
        .func(MODULE, "fd_prestat_dir_name", preopened_name)
        .func(MODULE, "path_open", path_open)
        .func(MODULE, "path_unlink_file", path_unlink)
        .func(MODULE, "path_rename", path_rename)
        .func(MODULE, "path_remove_directory", |_: &mut Call<'_>, (_, _, _): (u32, u32, u32)| Ok(NO_ENTRY))
        .func(MODULE, "fd_read", fd_read)
        .func(MODULE, "fd_write", fd_write)
        .func(MODULE, "fd_seek", fd_seek)
        .func(MODULE, "fd_close", fd_close)
        .func(MODULE, "fd_fdstat_get", fd_stat)
        .func(MODULE, "fd_fdstat_set_flags", |_: &mut Call<'_>, (_, _): (u32, u32)| Ok(NOT_SUPPORTED))
        .func(MODULE, "fd_renumber", fd_renumber)
        .func(MODULE, "clock_time_get", clock)
        .func(MODULE, "random_get", random)
        .func(MODULE, "environ_sizes_get", environment_size)
        .func(MODULE, "environ_get", environment)
        .func(MODULE, "proc_exit", |_: &mut Call<'_>, _: u32| -> Result<(), Trap> {
            Err(Trap::Host("the interpreter called exit"))
        });
    linker
}

fn preopened(caller: &mut Call<'_>, (descriptor, to): (u32, u32)) -> Answer {
    if descriptor != FOLDER {
        return Ok(BAD_DESCRIPTOR);
    }
    caller.write_u32(to, 0).ok_or(Trap::OutOfBounds)?;
    caller.write_u32(to + 4, 1).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

fn preopened_name(caller: &mut Call<'_>, (_, to, _): (u32, u32, u32)) -> Answer {
    caller.write(to, b"/").ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

type PathOpen = (u32, u32, u32, u32, u32, u64, u64, u32, u32);

fn path_open(
    caller: &mut Call<'_>,
    (_, _, name, len, flags, rights, _, descriptor_flags, to): PathOpen,
) -> Answer {
    let name = path(caller, name, len)?;
    match caller.state().open(name, flags, rights, descriptor_flags) {
        Ok(descriptor) => caller.write_u32(to, descriptor).ok_or(Trap::OutOfBounds).map(|()| 0),
        Err(error) => Ok(error),
    }
}

fn path_unlink(caller: &mut Call<'_>, (_, name, len): (u32, u32, u32)) -> Answer {
    let name = path(caller, name, len)?;
    let removed = caller.state().files.borrow_mut().remove(&name);
    Ok(if removed.is_some() { 0 } else { NO_ENTRY })
}

type PathRename = (u32, u32, u32, u32, u32, u32);

fn path_rename(caller: &mut Call<'_>, (_, from, from_len, _, to, to_len): PathRename) -> Answer {
    let (from, to) = (path(caller, from, from_len)?, path(caller, to, to_len)?);
    Ok(caller.state().rename(&from, to))
}

fn path(caller: &Call<'_>, at: u32, len: u32) -> Result<Vec<u8>, Trap> {
    let name = caller.read(at, len).ok_or(Trap::OutOfBounds)?;
    Ok(name.strip_prefix(b"./").unwrap_or(name).to_vec())
}

/// The places and lengths that a list of buffers names.
fn buffers(caller: &Call<'_>, list: u32, count: u32) -> Result<Vec<(u32, u32)>, Trap> {
    let at = |index: u32| {
        let entry = list.checked_add(index.checked_mul(8)?)?;
        Some((caller.read_u32(entry)?, caller.read_u32(entry.checked_add(4)?)?))
    };
    (0..count).map(|index| at(index).ok_or(Trap::OutOfBounds)).collect()
}

fn fd_read(caller: &mut Call<'_>, (descriptor, list, count, to): (u32, u32, u32, u32)) -> Answer {
    let mut total = 0;
    for (at, len) in buffers(caller, list, count)? {
        let bytes = match caller.state().open.borrow_mut().get_mut(&descriptor) {
            Some(open) => open.read(len as usize),
            None if descriptor == 0 => Vec::new(),
            None => return Ok(BAD_DESCRIPTOR),
        };
        caller.write(at, &bytes).ok_or(Trap::OutOfBounds)?;
        total += bytes.len() as u32;
    }
    caller.write_u32(to, total).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

fn fd_write(caller: &mut Call<'_>, (descriptor, list, count, to): (u32, u32, u32, u32)) -> Answer {
    let mut total = 0;
    for (at, len) in buffers(caller, list, count)? {
        let bytes = caller.read(at, len).ok_or(Trap::OutOfBounds)?;
        match caller.state().open.borrow_mut().get_mut(&descriptor) {
            Some(open) if open.writes => open.write(bytes),
            Some(_) => return Ok(ACCESS),
            None if descriptor == 1 => {}
            None if descriptor == 2 => caller.state().errors.borrow_mut().extend_from_slice(bytes),
            None => return Ok(BAD_DESCRIPTOR),
        }
        total += len;
    }
    caller.write_u32(to, total).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

fn fd_seek(caller: &mut Call<'_>, (descriptor, offset, whence, to): (u32, i64, u32, u32)) -> Answer {
    let sought = match caller.state().open.borrow_mut().get_mut(&descriptor) {
        Some(open) => open.seek(offset, whence),
        None => Err(if descriptor < FOLDER { NO_SEEK } else { BAD_DESCRIPTOR }),
    };
    match sought {
        Ok(at) => caller.write_u64(to, at).ok_or(Trap::OutOfBounds).map(|()| 0),
        Err(error) => Ok(error),
    }
}

fn fd_close(caller: &mut Call<'_>, descriptor: u32) -> Answer {
    let closed = caller.state().open.borrow_mut().remove(&descriptor);
    Ok(if closed.is_some() || descriptor < FOLDER { 0 } else { BAD_DESCRIPTOR })
}

fn fd_renumber(caller: &mut Call<'_>, (from, to): (u32, u32)) -> Answer {
    let mut open = caller.state().open.borrow_mut();
    let Some(moved) = open.remove(&from) else { return Ok(BAD_DESCRIPTOR) };
    open.insert(to, moved);
    Ok(0)
}

/// What kind of thing a descriptor is, with all rights.
fn fd_stat(caller: &mut Call<'_>, (descriptor, to): (u32, u32)) -> Answer {
    let kind = match descriptor {
        0..FOLDER => 2,
        FOLDER => 3,
        _ if caller.state().open.borrow().contains_key(&descriptor) => 4,
        _ => return Ok(BAD_DESCRIPTOR),
    };
    let mut stat = [0; 24];
    stat[0] = kind;
    stat[8..].fill(0xff);
    caller.write(to, &stat).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

fn clock(caller: &mut Call<'_>, (_, _, to): (u32, u64, u32)) -> Answer {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    caller.write_u64(to, now.as_nanos() as u64).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

/// Always the same.
fn random(caller: &mut Call<'_>, (to, len): (u32, u32)) -> Answer {
    caller.write(to, &vec![7; len as usize]).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

fn environment_size(caller: &mut Call<'_>, (count, bytes): (u32, u32)) -> Answer {
    caller.write_u32(count, 1).ok_or(Trap::OutOfBounds)?;
    caller.write_u32(bytes, VARIABLE.len() as u32).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}

fn environment(caller: &mut Call<'_>, (list, bytes): (u32, u32)) -> Answer {
    caller.write_u32(list, bytes).ok_or(Trap::OutOfBounds)?;
    caller.write(bytes, VARIABLE).ok_or(Trap::OutOfBounds)?;
    Ok(0)
}
