//! The host's functions (Proxy-Wasm ABI 0.2.1), and the guest's part of handing bytes over.
//!
//! The host returns bytes by calling [`proxy_on_memory_allocate`] and writing there. All such bytes go to
//! one buffer that is kept from call to call: no callback allocates for what a script copies anyway. So a slice
//! that a function here passes on is good until the next call of the host; closures that take one only
//! copy it.

mod host;

use std::cell::UnsafeCell;

/// A status that is not OK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(u32);

impl Status {
    /// An argument is not what it should be.
    pub const BAD_ARGUMENT: Self = Self(2);
    /// The value has another version, or there is one.
    pub const CAS_MISMATCH: Self = Self(8);
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            1 => "not found",
            2 => "not accepted",
            7 => "empty",
            8 => "changed meanwhile",
            10 => "refused by the gateway",
            _ => "not possible",
        })
    }
}

/// Levels of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// For whoever looks for a mistake.
    Debug = 1,
    /// For whoever wants to know.
    Info = 2,
    /// Something is not as it should be.
    Warn = 3,
    /// Something has failed.
    Error = 4,
}

/// The maps of an exchange and of a call's answer.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    /// Of the request.
    Request = 0,
    /// Of the response.
    Response = 2,
    /// Of the answer to a call.
    CallResponse = 6,
}

/// The buffers.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Buffer {
    /// The request's body, as far as it is held.
    RequestBody = 0,
    /// The response's body, as far as it is held.
    ResponseBody = 1,
    /// The body of the answer to a call.
    CallResponse = 4,
    /// The plugin's configuration.
    Configuration = 7,
}

/// The two sides of an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// The request.
    Request = 0,
    /// The response.
    Response = 1,
}

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Metric {
    /// It only grows.
    Counter = 0,
    /// It has a value.
    Gauge = 1,
    /// It has observations.
    Histogram = 2,
}

fn status(code: u32) -> Result<(), Status> {
    if code == 0 { Ok(()) } else { Err(Status(code)) }
}

// --- bytes that the host returns

/// Kept between callbacks; a larger buffer is given back.
const KEPT: usize = 64 << 10;

struct Returned(UnsafeCell<Vec<u64>>);

// SAFETY: a guest has one thread.
unsafe impl Sync for Returned {}

static RETURNED: Returned = Returned(UnsafeCell::new(Vec::new()));

/// Room for bytes that the host returns. What the last call returned is overwritten.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    // SAFETY: nobody holds a reference to the vector itself: it is only reached here and in `trim`.
    let buffer = unsafe { &mut *RETURNED.0.get() };
    let words = size.div_ceil(8).max(1);
    if words > buffer.capacity() && buffer.try_reserve_exact(words).is_err() {
        return std::ptr::null_mut();
    }
    buffer.as_mut_ptr().cast()
}

/// Gives a large buffer back. Between callbacks only.
pub fn trim() {
    // SAFETY: as above, and no slice of it is in use between callbacks.
    let buffer = unsafe { &mut *RETURNED.0.get() };
    if buffer.capacity() * 8 > KEPT {
        *buffer = Vec::new();
    }
}

/// Runs a call that returns bytes, and passes them to `f`.
fn returned<R>(
    call: impl FnOnce(*mut *const u8, *mut usize) -> u32,
    f: impl FnOnce(&[u8]) -> R,
) -> Result<R, Status> {
    let (mut bytes, mut len) = (std::ptr::null(), 0);
    status(call(&mut bytes, &mut len))?;
    if bytes.is_null() || len == 0 {
        return Ok(f(&[]));
    }
    // SAFETY: the host wrote `len` bytes where it was given room for them.
    Ok(f(unsafe { std::slice::from_raw_parts(bytes, len) }))
}

// --- log, time, timer

/// A line of log.
pub fn log(level: Level, text: &[u8]) {
    // SAFETY: the host reads the slice.
    unsafe { host::proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// Whether lines of this level go anywhere.
pub fn wants_log(level: Level) -> bool {
    let mut least = 0;
    // SAFETY: the host writes the number.
    unsafe { host::proxy_get_log_level(&mut least) };
    level as u32 >= least
}

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    let mut time = 0;
    // SAFETY: the host writes the number.
    unsafe { host::proxy_get_current_time_nanoseconds(&mut time) };
    time
}

/// Has `on_tick` called this often; 0 for never.
pub fn set_tick(milliseconds: u32) {
    // SAFETY: a plain call.
    unsafe { host::proxy_set_tick_period_milliseconds(milliseconds) };
}

/// Fills `bytes` with what nobody can guess; false if the host has none.
pub fn random(bytes: &mut [u8]) -> bool {
    // SAFETY: the host writes into the slice.
    unsafe { host::random_get(bytes.as_mut_ptr(), bytes.len()) == 0 }
}

// --- the exchange

/// Makes the following calls act on this context; false if it has ended.
pub fn set_context(context: u32) -> bool {
    // SAFETY: a plain call.
    unsafe { host::proxy_set_effective_context(context) == 0 }
}

/// Passes the first value of a header, or `None`, to `f`.
pub fn header<R>(map: Map, name: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> R {
    let (mut bytes, mut len) = (std::ptr::null(), 0);
    // SAFETY: the host reads the name and writes the result.
    let code = unsafe {
        host::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), &mut bytes, &mut len)
    };
    match code {
        0 if bytes.is_null() || len == 0 => f(Some(&[])),
        // SAFETY: the host wrote `len` bytes where it was given room for them.
        0 => f(Some(unsafe { std::slice::from_raw_parts(bytes, len) })),
        _ => f(None),
    }
}

/// Passes the serialised map to `f`.
pub fn headers<R>(map: Map, f: impl FnOnce(&[u8]) -> R) -> Result<R, Status> {
    // SAFETY: the host writes the result.
    returned(|bytes, len| unsafe { host::proxy_get_header_map_pairs(map as u32, bytes, len) }, f)
}

/// Replaces all values of a header.
pub fn set_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads both.
    status(unsafe {
        host::proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Adds a value to a header.
pub fn add_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads both.
    status(unsafe {
        host::proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Removes all values of a header.
pub fn remove_header(map: Map, name: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads the name.
    status(unsafe { host::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// Passes a buffer's bytes to `f`.
pub fn buffer<R>(buffer: Buffer, f: impl FnOnce(&[u8]) -> R) -> Result<R, Status> {
    // SAFETY: the host writes the result.
    let call =
        |bytes, len| unsafe { host::proxy_get_buffer_bytes(buffer as u32, 0, usize::MAX >> 1, bytes, len) };
    returned(call, f)
}

/// Replaces a buffer's bytes.
pub fn set_buffer(buffer: Buffer, bytes: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads the slice.
    status(unsafe {
        host::proxy_set_buffer_bytes(buffer as u32, 0, usize::MAX >> 1, bytes.as_ptr(), bytes.len())
    })
}

/// Passes a property to `f`; the path's segments are separated by NUL.
pub fn property<R>(path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<R, Status> {
    // SAFETY: the host reads the path and writes the result.
    returned(|bytes, len| unsafe { host::proxy_get_property(path.as_ptr(), path.len(), bytes, len) }, f)
}

/// Sets a property.
pub fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads both.
    status(unsafe { host::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// Lets a paused side go on.
pub fn resume(side: Side) {
    // SAFETY: a plain call.
    unsafe { host::proxy_continue_stream(side as u32) };
}

/// Answers instead of the upstream. `headers` is a serialised map.
pub fn respond(code: u32, details: &[u8], headers: &[u8], body: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads the slices.
    status(unsafe {
        host::proxy_send_local_response(
            code,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

/// Sends a request to an upstream and returns the number that its answer will have.
pub fn http_call(upstream: &[u8], headers: &[u8], body: &[u8], timeout_ms: u32) -> Result<u32, Status> {
    let mut token = 0;
    // SAFETY: the host reads the slices and writes the number.
    status(unsafe {
        host::proxy_http_call(
            upstream.as_ptr(),
            upstream.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            std::ptr::null(),
            0,
            timeout_ms,
            &mut token,
        )
    })?;
    Ok(token)
}

// --- what is shared

/// Passes a shared value and its version to `f`.
pub fn shared<R>(key: &[u8], f: impl FnOnce(&[u8], u32) -> R) -> Result<R, Status> {
    let mut cas = 0;
    let (mut bytes, mut len) = (std::ptr::null(), 0);
    // SAFETY: the host reads the key and writes the results.
    let code =
        unsafe { host::proxy_get_shared_data(key.as_ptr(), key.len(), &mut bytes, &mut len, &mut cas) };
    status(code)?;
    if bytes.is_null() || len == 0 {
        return Ok(f(&[], cas));
    }
    // SAFETY: the host wrote `len` bytes where it was given room for them.
    Ok(f(unsafe { std::slice::from_raw_parts(bytes, len) }, cas))
}

/// Stores a shared value; if `cas` is not 0, only over that version.
pub fn set_shared(key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: the host reads both.
    status(unsafe { host::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// Defines a metric, or finds it.
pub fn define_metric(kind: Metric, name: &[u8]) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes the number.
    status(unsafe { host::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) })?;
    Ok(id)
}

/// Adds to a metric.
pub fn increment_metric(id: u32, by: i64) -> Result<(), Status> {
    // SAFETY: a plain call.
    status(unsafe { host::proxy_increment_metric(id, by) })
}

/// Sets a gauge, or adds an observation to a histogram.
pub fn record_metric(id: u32, value: u64) -> Result<(), Status> {
    // SAFETY: a plain call.
    status(unsafe { host::proxy_record_metric(id, value) })
}

/// Reads a metric.
pub fn metric(id: u32) -> Result<u64, Status> {
    let mut value = 0;
    // SAFETY: the host writes the number.
    status(unsafe { host::proxy_get_metric(id, &mut value) })?;
    Ok(value)
}

/// Calls a function of this gateway's own and passes its result to `f`.
pub fn foreign<R>(name: &str, argument: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<R, Status> {
    let call = |bytes, len| {
        // SAFETY: the host reads both slices and writes the result.
        unsafe {
            host::proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                argument.as_ptr(),
                argument.len(),
                bytes,
                len,
            )
        }
    };
    returned(call, f)
}
