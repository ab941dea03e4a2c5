//! `hash.sha256(data)`, `hash.hmac_sha256(key, data)`: lower-case hexadecimal; `hash.equal(a, b)`, which takes as long
//! for texts that differ in the first byte as in the last. All take text or bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::Value;

use super::need_octets;

#[starlark_module]
pub(super) fn hash(builder: &mut GlobalsBuilder) {
    fn sha256<'v>(#[starlark(require = pos)] data: Value<'v>) -> anyhow::Result<String> {
        Ok(hex(&Sha256::digest(need_octets(data)?)))
    }

    fn hmac_sha256<'v>(
        #[starlark(require = pos)] key: Value<'v>,
        #[starlark(require = pos)] data: Value<'v>,
    ) -> anyhow::Result<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(need_octets(key)?)?;
        mac.update(need_octets(data)?);
        Ok(hex(&mac.finalize().into_bytes()))
    }

    fn equal<'v>(
        #[starlark(require = pos)] left: Value<'v>,
        #[starlark(require = pos)] right: Value<'v>,
    ) -> anyhow::Result<bool> {
        let (left, right) = (need_octets(left)?, need_octets(right)?);
        let differs = left.iter().zip(right).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
        Ok(differs == 0 && left.len() == right.len())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
