//! Messages on the wire: a flag, the length in four bytes, the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Flag and length.
pub(super) const PREFIX_BYTES: usize = 5;

/// A message with its prefix; `None` if its length cannot be told in four bytes.
pub(in crate::filter::wasm) fn framed(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Some(frame.freeze())
}

/// Why there is no message in what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameError {
    /// Larger than the limit.
    TooLarge,
    /// The flag says that it is compressed, which we never say that we take, or is none that gRPC knows.
    Compressed,
}

/// The messages in the pieces of a body.
#[derive(Debug)]
pub(super) struct Frames {
    input: BytesMut,
    message_bytes_max: usize,
}

impl Frames {
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self { input: BytesMut::new(), message_bytes_max }
    }

    /// Takes a piece.
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
    }

    /// The next message, if it is all there. One that is too large is known by its prefix.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some((prefix, rest)) = self.input.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [flag, length @ ..] = *prefix;
        if flag != 0 {
            return Err(FrameError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| FrameError::TooLarge)?;
        if length > self.message_bytes_max {
            return Err(FrameError::TooLarge);
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.input.advance(PREFIX_BYTES);
        Ok(Some(self.input.split_to(length).freeze()))
    }

    /// Whether nothing of a further message is there.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_and_flags() {
        let frames = |bytes: &[u8]| {
            let mut frames = Frames::new(4);
            frames.add(bytes);
            frames.next()
        };
        assert_eq!(frames(b""), Ok(None));
        assert_eq!(frames(b"\0\0\0\0"), Ok(None));
        assert_eq!(frames(b"\0\0\0\0\0"), Ok(Some(Bytes::new())));
        assert_eq!(frames(b"\0\0\0\0\x04fou"), Ok(None));
        assert_eq!(frames(b"\0\0\0\0\x05"), Err(FrameError::TooLarge));
        assert_eq!(frames(b"\0\xff\xff\xff\xff"), Err(FrameError::TooLarge));
        assert_eq!(frames(b"\x01\0\0\0\x01x"), Err(FrameError::Compressed));
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
            step in 1_usize..9,
        ) {
            let wire: Vec<u8> = messages.iter().flat_map(|message| framed(message).unwrap()).collect();
            let mut frames = Frames::new(20);
            let mut found = Vec::new();
            for piece in wire.chunks(step) {
                frames.add(piece);
                while let Some(message) = frames.next().unwrap() {
                    found.push(message.to_vec());
                }
            }
            prop_assert!(frames.is_empty());
            prop_assert_eq!(found, messages);
        }
    }
}
