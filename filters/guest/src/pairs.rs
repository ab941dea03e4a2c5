//! Maps as the ABI serialises them: a count, then the lengths of all names and values, then these, each
//! followed by a zero byte; numbers are 32 bits, little-endian.

/// Serialises pairs; an empty map is no bytes at all.
pub fn encode(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    let mut out = Vec::with_capacity(bytes + 4);
    number(&mut out, pairs.len());
    for (name, value) in pairs {
        number(&mut out, name.len());
        number(&mut out, value.len());
    }
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(part);
        out.push(0);
    }
    out
}

fn number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

/// The pairs of a serialised map; ends early where it is malformed.
pub fn decode(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let count = read(bytes, 0).unwrap_or(0);
    let mut at = 4_usize.saturating_add(count.saturating_mul(8));
    (0..count).map_while(move |index| {
        let name = take(bytes, &mut at, read(bytes, 4 + index * 8)?)?;
        let value = take(bytes, &mut at, read(bytes, 8 + index * 8)?)?;
        Some((name, value))
    })
}

fn read(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(number.try_into().ok()?)).ok()
}

fn take<'b>(bytes: &'b [u8], at: &mut usize, len: usize) -> Option<&'b [u8]> {
    let end = at.checked_add(len)?;
    let part = bytes.get(*at..end)?;
    *at = end + 1;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let pairs = vec![(b"a".to_vec(), b"".to_vec()), (b"name".to_vec(), b"value\xff".to_vec())];
        let bytes = encode(&pairs);
        let decoded: Vec<_> = decode(&bytes).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        assert_eq!(decoded, pairs);
        assert!(encode(&[]).is_empty());
        assert_eq!(decode(&[]).count(), 0);
    }

    #[test]
    fn malformed_maps_end_early() {
        let whole = encode(&[(b"abc".to_vec(), b"def".to_vec()), (b"g".to_vec(), b"h".to_vec())]);
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).count() <= 2, "{len}");
        }
        assert_eq!(decode(&[255, 255, 255, 255, 1, 0, 0, 0]).count(), 0);
    }
}
