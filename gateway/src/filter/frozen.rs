//! Header fields put away: one allocation, cheap to make and to drop, thawed when somebody looks.
//!
//! A head that goes out takes its fields along, and a guest may still read them afterwards. Hardly any
//! does, so what stays behind is not a second map but the bytes to make one of.

use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The fields of a head: for each the lengths of its name and value, then both.
#[derive(Debug)]
pub(super) struct Frozen {
    bytes: Bytes,
    fields: usize,
}

/// Two lengths of four bytes each. No head is near 4 GiB: `header_bytes` ends at 1 MiB.
const LENGTHS: usize = 8;

impl Frozen {
    /// Copies the fields of `map`.
    pub(super) fn of(map: &HeaderMap) -> Self {
        let size = map.iter().map(|(name, value)| LENGTHS + name.as_str().len() + value.len()).sum();
        let mut bytes = Vec::with_capacity(size);
        for (name, value) in map {
            bytes.put_u32_ne(name.as_str().len() as u32);
            bytes.put_u32_ne(value.len() as u32);
            bytes.put_slice(name.as_str().as_bytes());
            bytes.put_slice(value.as_bytes());
        }
        Self { bytes: bytes.into(), fields: map.len() }
    }

    /// The map again: its values share the bytes.
    pub(super) fn thaw(mut self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.fields);
        while let Some((name, value)) = self.next() {
            // Both came out of a map, so both are valid.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(&name), HeaderValue::from_maybe_shared(value))
            {
                map.append(name, value);
            }
        }
        map
    }

    fn next(&mut self) -> Option<(Bytes, Bytes)> {
        let (name, rest) = self.bytes.split_first_chunk()?;
        let (value, _) = rest.split_first_chunk()?;
        let (name, value) = (u32::from_ne_bytes(*name) as usize, u32::from_ne_bytes(*value) as usize);
        let mut field = self.bytes.split_to(LENGTHS + name + value).split_off(LENGTHS);
        Some((field.split_to(name), field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thawed_fields_are_those_that_were_put_away() {
        let mut map = HeaderMap::new();
        assert_eq!(Frozen::of(&map).thaw(), map);
        for (name, value) in [("host", "shop.test"), ("cookie", "a=1"), ("x-empty", ""), ("cookie", "b=2")] {
            map.append(name, HeaderValue::from_static(value));
        }
        map.append("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_eq!(Frozen::of(&map).thaw(), map);
    }
}
