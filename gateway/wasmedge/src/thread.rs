//! Threads on which guest code may run.

use crate::harden::stack::{GuardedMemory, Prepared};
use std::any::Any;
use std::ffi::{CString, c_int, c_void};
use std::io;
use std::mem::{self, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::mpsc::{Receiver, channel};

/// The thread ended by a panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the thread panicked: {message}")]
pub struct Panicked {
    /// The panic's message, if it was a text.
    pub message: String,
}

/// A thread made by [`spawn_guarded`]. Dropping it without joining lets the thread run on; its
/// stack's memory is then never given back.
#[derive(Debug)]
pub struct GuardedThread {
    thread: libc::pthread_t,
    stack: mem::ManuallyDrop<Box<Stack>>,
    outcome: Receiver<Result<(), Panicked>>,
}

struct Stack(GuardedMemory);

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("bytes", &self.0.usable_len()).finish()
    }
}

/// Starts a thread for guest code: `stack_bytes` of stack (rounded up to 64 KiB; at least
/// 512 KiB, of which host functions keep 256 KiB for themselves) above a guard of 16 MiB, and an
/// alternate signal stack of 256 KiB. `name` shows in debuggers, cut to 15 bytes.
///
/// # Errors
/// What the system says when it has no memory, address space or threads left.
pub fn spawn_guarded<F>(name: &str, stack_bytes: usize, f: F) -> io::Result<GuardedThread>
where
    F: FnOnce() + Send + 'static,
{
    spawn(name, stack_bytes, Box::new(f))
}

/// Runs `f` on a guarded thread with [`DEFAULT_STACK`] and waits for it; for tools and tests.
///
/// # Errors
/// As [`spawn_guarded`]; a panic of `f` comes back as an error of kind `Other` with [`Panicked`]
/// inside.
pub fn run_guarded<T, F>(name: &str, f: F) -> io::Result<T>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    let mut result = None;
    let slot = &mut result;
    let scoped: Box<dyn FnOnce() + Send + '_> = Box::new(move || *slot = Some(f()));
    // SAFETY: the thread is joined before this function returns, so what `f` and `slot` borrow
    // outlives it. `spawn` either starts the thread or drops the closure.
    let lasting: Box<dyn FnOnce() + Send + 'static> = unsafe { mem::transmute(scoped) };
    spawn(name, DEFAULT_STACK, lasting)?.join().map_err(io::Error::other)?;
    result.ok_or_else(|| io::Error::other("the thread left no result"))
}

/// Stack of a thread that need not be spared: deep enough for recursive guests.
pub const DEFAULT_STACK: usize = 4 << 20;

/// Room for the trampolines' minimum and some guest frames.
const MINIMUM_STACK: usize = 512 << 10;

impl GuardedThread {
    /// Waits for the thread to end and gives its stack back.
    ///
    /// # Errors
    /// [`Panicked`] if its closure panicked, or if a thread tries to join itself.
    pub fn join(mut self) -> Result<(), Panicked> {
        // SAFETY: joined once: `self` is consumed, and nothing else has the handle.
        let code = unsafe { libc::pthread_join(self.thread, ptr::null_mut()) };
        if code != 0 {
            // A thread that joins itself would wait for ever; its stack stays.
            let message = io::Error::from_raw_os_error(code).to_string();
            return Err(Panicked { message: format!("cannot be joined: {message}") });
        }
        // SAFETY: dropped once, here; nothing runs on the stack any more.
        unsafe { mem::ManuallyDrop::drop(&mut self.stack) };
        // The thread sends before it ends; it cannot end without.
        self.outcome.recv().unwrap_or_else(|_| Err(Panicked { message: "no outcome".to_owned() }))
    }
}

struct Start {
    name: CString,
    stack: *const Stack,
    body: Box<dyn FnOnce() + Send>,
    outcome: std::sync::mpsc::Sender<Result<(), Panicked>>,
}

fn spawn(name: &str, stack_bytes: usize, body: Box<dyn FnOnce() + Send>) -> io::Result<GuardedThread> {
    let stack = Box::new(Stack(GuardedMemory::stack(stack_bytes.max(MINIMUM_STACK))?));
    let attributes = Attributes::new(&stack.0)?;
    let (sender, outcome) = channel();
    let start = Box::new(Start { name: short_name(name), stack: &*stack, body, outcome: sender });
    let start = Box::into_raw(start).cast();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: `enter` takes what it is given here; the stack outlives the thread, since only
    // `join` frees it.
    let code = unsafe { libc::pthread_create(thread.as_mut_ptr(), &attributes.0, enter, start) };
    if code != 0 {
        // SAFETY: no thread was made, so the box is still ours.
        drop(unsafe { Box::from_raw(start.cast::<Start>()) });
        return Err(io::Error::from_raw_os_error(code));
    }
    // SAFETY: written by the successful call.
    let thread = unsafe { thread.assume_init() };
    Ok(GuardedThread { thread, stack: mem::ManuallyDrop::new(stack), outcome })
}

extern "C" fn enter(start: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` passes a box of this type and gives it up.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    let Start { name, stack, body, outcome } = *start;
    // SAFETY: sets this thread's name; the text is zero-terminated.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
    // SAFETY: the box with the stack lives until the thread was joined.
    let prepared = Prepared::new(unsafe { &(*stack).0 });
    let result = match prepared {
        Ok(prepared) => {
            let result = catch_unwind(AssertUnwindSafe(body)).map_err(|panic| panicked(&*panic));
            drop(prepared);
            result
        }
        Err(error) => Err(Panicked { message: format!("no signal stack: {error}") }),
    };
    // Nobody listens when the handle was dropped.
    let _ = outcome.send(result);
    ptr::null_mut()
}

fn panicked(panic: &(dyn Any + Send)) -> Panicked {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Panicked { message: text.unwrap_or("no message").to_owned() }
}

fn short_name(name: &str) -> CString {
    let bytes: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
    CString::new(bytes).unwrap_or_default()
}

/// Attributes that put a thread on a stack of ours.
struct Attributes(libc::pthread_attr_t);

impl Attributes {
    fn new(stack: &GuardedMemory) -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises the structure; used only after it succeeded.
        check(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised above.
        let mut this = Self(unsafe { attributes.assume_init() });
        // SAFETY: the accessible part of a mapping that outlives the thread.
        check(unsafe { libc::pthread_attr_setstack(&mut this.0, stack.usable(), stack.usable_len()) })?;
        Ok(this)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::pthread_attr_destroy(&mut self.0) };
    }
}

fn check(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}
