//! `hash.sha256(bytes)`, `hash.sha1`, `hash.sha512`, `hash.md5`, `hash.hmac_sha256(key, bytes)`,
//! `hash.hmac_sha1`, `hash.equal(a, b)`, `random_bytes(n)`.
//!
//! Digests are lower-case hexadecimal, or the bytes themselves with `"raw"` as the last argument. `equal`
//! takes as long for texts that differ in the first byte as in the last.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{codec, set_global};
use crate::abi;
use crate::lua::{Lua, Returns, functions, wrap};

/// Bytes of one `random_bytes`.
const RANDOM_MAX: usize = 4096;

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 7);
    functions!(lua,
        "sha256" => sha256,
        "sha512" => sha512,
        "sha1" => sha1,
        "md5" => md5,
        "hmac_sha256" => hmac_sha256,
        "hmac_sha1" => hmac_sha1,
        "equal" => equal,
    );
    set_global(lua, "hash");
    lua.push_function(wrap(random_bytes));
    set_global(lua, "random_bytes");
}

fn sha256(lua: &Lua) -> Returns {
    let digest = Sha256::digest(lua.check_bytes(1));
    push(lua, &digest, 2)
}

fn sha512(lua: &Lua) -> Returns {
    let digest = Sha512::digest(lua.check_bytes(1));
    push(lua, &digest, 2)
}

fn sha1(lua: &Lua) -> Returns {
    let digest = Sha1::digest(lua.check_bytes(1));
    push(lua, &digest, 2)
}

fn md5(lua: &Lua) -> Returns {
    let digest = Md5::digest(lua.check_bytes(1));
    push(lua, &digest, 2)
}

fn hmac_sha256(lua: &Lua) -> Returns {
    let (key, bytes) = (lua.check_bytes(1), lua.check_bytes(2));
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(bytes);
    push(lua, &mac.finalize().into_bytes(), 3)
}

fn hmac_sha1(lua: &Lua) -> Returns {
    let (key, bytes) = (lua.check_bytes(1), lua.check_bytes(2));
    let mut mac = Hmac::<Sha1>::new_from_slice(key)?;
    mac.update(bytes);
    push(lua, &mac.finalize().into_bytes(), 3)
}

fn push(lua: &Lua, digest: &[u8], form: i32) -> Returns {
    match lua.bytes(form) {
        None if lua.is_absent(form) => lua.push_owned(codec::hex(digest)),
        Some(b"raw") => lua.push(digest),
        _ => return Err("a digest is hexadecimal, or \"raw\"".into()),
    }
    Ok(1)
}

fn equal(lua: &Lua) -> Returns {
    let (left, right) = (lua.check_bytes(1), lua.check_bytes(2));
    let differs = left.iter().zip(right).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    lua.push_boolean(differs == 0 && left.len() == right.len());
    Ok(1)
}

fn random_bytes(lua: &Lua) -> Returns {
    let count = usize::try_from(lua.check_integer(1)).ok().filter(|count| *count <= RANDOM_MAX);
    let count = count.ok_or("`random_bytes` gives 0 to 4096 bytes")?;
    let mut bytes = [0; RANDOM_MAX];
    if !abi::random(&mut bytes[..count]) {
        return Err("the gateway has no random bytes".into());
    }
    lua.push(&bytes[..count]);
    Ok(1)
}
