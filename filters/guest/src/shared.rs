//! Data that all workers share, as scripts name it: by a space and a key in it. Values are [`crate::stored`].

use crate::abi::{self, Status};
use crate::stored::{self, Stored};

/// Bytes of a key of the host's.
pub const KEY_MAX: usize = 1024;
/// The gateway's own functions (`gateway/proxy-wasm/src/host/foreign`).
const DELETE: &str = "tollgate_shared_data_delete";
const SET_TTL: &str = "tollgate_shared_data_set_ttl";
const INCREMENT: &str = "tollgate_shared_data_increment";
/// A version that no value has: with it only a key that is not there can be written.
const ABSENT: u32 = u32::MAX;

/// A key of the host's, on the stack: nothing to drop.
pub struct Key {
    bytes: [u8; KEY_MAX],
    len: usize,
}

/// A key, with its space's name, is longer than [`KEY_MAX`].
#[derive(Debug)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a key has at most {KEY_MAX} bytes, its space's name included")
    }
}

impl std::error::Error for TooLong {}

impl Key {
    /// A key in a space. `kind` keeps the spaces of filters (`f`) apart from those that scripts name (`s`).
    ///
    /// # Errors
    /// If it is too long.
    pub fn new(kind: &[u8], space: &[u8], key: &[u8]) -> Result<Self, TooLong> {
        let mut bytes = [0; KEY_MAX];
        let mut len = 0;
        for part in [kind, space, b"\0", key] {
            bytes.get_mut(len..len + part.len()).ok_or(TooLong)?.copy_from_slice(part);
            len += part.len();
        }
        Ok(Self { bytes, len })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Passes the value to `f`.
///
/// # Errors
/// If there is none.
pub fn get<R>(key: &Key, f: impl FnOnce(Stored<'_>) -> R) -> Result<R, Status> {
    abi::shared(key.bytes(), |bytes, _| f(stored::decode(bytes)))
}

/// Stores a value that lives for so many milliseconds; 0 for ever.
///
/// # Errors
/// If there is no room.
pub fn set(key: &Key, value: &Stored<'_>, milliseconds: u64) -> Result<(), Status> {
    write(key, value, milliseconds, 0)
}

/// Stores a value if there is none, in one step for all workers. Whether it did.
///
/// # Errors
/// If there is no room.
pub fn add(key: &Key, value: &Stored<'_>, milliseconds: u64) -> Result<bool, Status> {
    match write(key, value, milliseconds, ABSENT) {
        Ok(()) => Ok(true),
        Err(Status::CAS_MISMATCH) => Ok(false),
        Err(status) => Err(status),
    }
}

fn write(key: &Key, value: &Stored<'_>, milliseconds: u64, version: u32) -> Result<(), Status> {
    abi::set_shared(key.bytes(), &stored::encode(value), version)?;
    if milliseconds > 0 {
        // It fails if another worker has deleted the key meanwhile: then there is nothing to end.
        let _ = with_numbers([milliseconds], key, |argument| abi::foreign(SET_TTL, argument, |_| ()));
    }
    Ok(())
}

/// Adds a whole number in one step for all workers and returns what it became. A key that is not there
/// counts from 0 and lives for so many milliseconds (0 for ever); another keeps its time.
///
/// # Errors
/// [`Status::BAD_ARGUMENT`] if the value is no whole number; another if there is no room.
pub fn increment(key: &Key, by: i64, milliseconds: u64) -> Result<i64, Status> {
    with_numbers([by.cast_unsigned(), milliseconds], key, |argument| {
        abi::foreign(INCREMENT, argument, |sum| sum.try_into().map_or(0, i64::from_le_bytes))
    })
}

/// Deletes a key. One that is not there is as good as deleted.
pub fn delete(key: &Key) {
    let _ = abi::foreign(DELETE, key.bytes(), |_| ());
}

/// A time to live in milliseconds. `None` if it is no positive number of seconds; beyond a thousand years
/// there is no difference to for ever.
pub fn lifetime(seconds: f64) -> Option<u64> {
    (seconds > 0.0 && seconds < 3.2e10).then(|| (seconds * 1000.0).ceil() as u64)
}

/// Calls `f` with numbers and the key behind them, as the gateway's functions take them.
fn with_numbers<const N: usize, R>(numbers: [u64; N], key: &Key, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut bytes = [0; KEY_MAX + 16];
    let (places, rest) = bytes.split_at_mut(8 * N);
    for (place, number) in places.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    rest[..key.len].copy_from_slice(key.bytes());
    f(&bytes[..8 * N + key.len])
}
