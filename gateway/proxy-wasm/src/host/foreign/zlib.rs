//! Compression by zlib's format (RFC 1950).

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use tollgate_wasmedge::Caller;

use super::Outcome;
use crate::abi::status::Status;
use crate::environment::Environment;
use crate::host::State;
use crate::limits::{FOREIGN_BYTES_MAX, UNCOMPRESSED_BYTES_MAX};

/// What a byte costs, in units of about a nanosecond.
const COMPRESS_UNITS: u64 = 30;
const UNCOMPRESS_UNITS: u64 = 4;

/// The bytes as a zlib stream, at zlib's default level.
pub(super) fn compress<E: Environment>(caller: &Caller<'_, State<E>>, bytes: &[u8]) -> Outcome {
    if bytes.len() > FOREIGN_BYTES_MAX {
        return Err(Status::BadArgument);
    }
    caller.charge(bytes.len() as u64 * COMPRESS_UNITS);
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2 + 64), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|_| Status::SerializationFailure)
}

/// The content of a zlib stream, which must be whole; no more is unpacked than the limit.
pub(super) fn uncompress<E: Environment>(caller: &Caller<'_, State<E>>, stream: &[u8]) -> Outcome {
    if stream.len() > FOREIGN_BYTES_MAX {
        return Err(Status::BadArgument);
    }
    let mut content = Vec::with_capacity(stream.len() * 2);
    let mut decoder = ZlibDecoder::new(stream).take(UNCOMPRESSED_BYTES_MAX as u64 + 1);
    let read = decoder.read_to_end(&mut content);
    caller.charge(content.len() as u64 * UNCOMPRESS_UNITS);
    match read {
        Ok(_) if content.len() <= UNCOMPRESSED_BYTES_MAX => Ok(content),
        Ok(_) | Err(_) => Err(Status::SerializationFailure),
    }
}
