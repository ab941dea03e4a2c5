//! The wire form of header maps.
//!
//! `u32 n`, then n × (`u32 name length`, `u32 value length`), then n × (name, `00`, value, `00`), all
//! little-endian; a name that occurs twice is two pairs. An empty map travels to the guest as a null
//! pointer, because the Rust SDK slices four bytes out of anything else; from the guest an empty
//! blob and the single `00` of the specification both mean the empty map.
//!
//! Limits: 1 MiB and 1024 pairs per blob. What does not parse is an error, never the empty map: the
//! C++ host's silent reading would drop every header of a request.

use crate::limits::{PAIRS_BYTES_MAX, PAIRS_MAX};

/// A name and a value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Why a guest's blob was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PairsError {
    #[error("the map exceeds {PAIRS_MAX} pairs or {PAIRS_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the map's lengths and terminators do not fit its bytes")]
    Malformed,
}

/// Writes the map that `visit` walks over into `out`, which is cleared first, and returns whether the
/// map was there. `visit` runs twice, once for the lengths and once for the bytes; it returns false
/// if there is no such map. An empty map leaves `out` empty.
pub fn encode(out: &mut Vec<u8>, visit: impl Fn(&mut dyn FnMut(&[u8], &[u8])) -> bool) -> bool {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    let mut count: u32 = 0;
    let available = visit(&mut |name, value| {
        count = count.saturating_add(1);
        out.extend_from_slice(&length(name));
        out.extend_from_slice(&length(value));
    });
    if count == 0 {
        out.clear();
        return available;
    }
    visit(&mut |name, value| {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    });
    out[..4].copy_from_slice(&count.to_le_bytes());
    available
}

/// The size of what [`encode`] would write.
pub(crate) fn encoded_len(visit: impl Fn(&mut dyn FnMut(&[u8], &[u8])) -> bool) -> usize {
    let mut bytes = 0usize;
    visit(&mut |name, value| bytes += 10 + name.len() + value.len());
    if bytes == 0 { 0 } else { bytes + 4 }
}

/// Reads a guest's blob. Bytes behind the last pair are ignored, as every host does.
pub(crate) fn decode(blob: &[u8]) -> Result<Vec<Pair<'_>>, PairsError> {
    if blob.is_empty() || blob == [0] {
        return Ok(Vec::new());
    }
    if blob.len() > PAIRS_BYTES_MAX {
        return Err(PairsError::TooLarge);
    }
    let (count, rest) = take_u32(blob)?;
    if count > PAIRS_MAX {
        return Err(PairsError::TooLarge);
    }
    let (mut lengths, mut bytes) = rest.split_at_checked(count * 8).ok_or(PairsError::Malformed)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_len, after_name) = take_u32(lengths)?;
        let (value_len, after_value) = take_u32(after_name)?;
        let (name, after) = take_terminated(bytes, name_len)?;
        let (value, after) = take_terminated(after, value_len)?;
        pairs.push((name, value));
        (lengths, bytes) = (after_value, after);
    }
    Ok(pairs)
}

/// Lengths beyond 32 bits cannot occur: the gateway limits a map long before.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn take_u32(bytes: &[u8]) -> Result<(usize, &[u8]), PairsError> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(PairsError::Malformed)?;
    Ok((u32::from_le_bytes(*head) as usize, rest))
}

fn take_terminated(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), PairsError> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or(PairsError::Malformed)?;
    match rest.split_first() {
        Some((0, rest)) => Ok((taken, rest)),
        _ => Err(PairsError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        let visit = |f: &mut dyn FnMut(&[u8], &[u8])| {
            pairs.iter().for_each(|(name, value)| f(name, value));
            true
        };
        assert!(encode(&mut out, visit));
        assert_eq!(out.len(), encoded_len(visit));
        out
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(pairs: Vec<(Vec<u8>, Vec<u8>)>) {
            let blob = encoded(&pairs);
            let decoded: Vec<_> = decode(&blob).unwrap().iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(decoded, pairs);
        }

        #[test]
        fn any_bytes_decode_or_fail_within_bounds(blob: Vec<u8>) {
            if let Ok(pairs) = decode(&blob) {
                let bytes: usize = pairs.iter().map(|(n, v)| n.len() + v.len()).sum();
                prop_assert!(bytes <= blob.len());
            }
        }

        #[test]
        fn a_damaged_blob_never_grows(pairs: Vec<(Vec<u8>, Vec<u8>)>, at: usize, byte: u8) {
            let mut blob = encoded(&pairs);
            if !blob.is_empty() {
                let at = at % blob.len();
                blob[at] = byte;
            }
            if let Ok(decoded) = decode(&blob) {
                prop_assert!(decoded.len() <= blob.len() / 10);
            }
        }
    }

    #[test]
    fn layout_is_the_specification_s() {
        let blob = encoded(&[(b"a".to_vec(), b"bc".to_vec())]);
        assert_eq!(blob, [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, b'a', 0, b'b', b'c', 0]);
    }

    #[test]
    fn empty_forms() {
        assert_eq!(encoded(&[]), Vec::<u8>::new());
        for blob in [&[][..], &[0], &[0, 0, 0, 0]] {
            assert_eq!(decode(blob), Ok(Vec::new()));
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(decode(&[1, 0, 0]), Err(PairsError::Malformed));
        assert_eq!(decode(&[1, 0, 0, 0]), Err(PairsError::Malformed));
        assert_eq!(decode(&[0xff; 4]), Err(PairsError::TooLarge));
        let unterminated = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'a', 1, b'b', 0];
        assert_eq!(decode(&unterminated), Err(PairsError::Malformed));
        let long = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, b'a', 0];
        assert_eq!(decode(&long), Err(PairsError::Malformed));
        assert_eq!(decode(&vec![0; PAIRS_BYTES_MAX + 1]), Err(PairsError::TooLarge));
    }
}
