//! `base64.encode(bytes)`, `base64.decode(text)`, the same with `_url`; `hex.encode`, `hex.decode`;
//! `url.escape`, `url.unescape`, `url.parameters(query)`. What cannot be decoded is nil.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::set_global;
use crate::lua::{Lua, Returns, functions};
use crate::query;

/// All that RFC 3986 does not call unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 4);
    functions!(lua,
        "encode" => encode_base64,
        "decode" => decode_base64,
        "encode_url" => encode_base64_url,
        "decode_url" => decode_base64_url,
    );
    set_global(lua, "base64");
    lua.push_table(0, 2);
    functions!(lua, "encode" => encode_hex, "decode" => decode_hex);
    set_global(lua, "hex");
    lua.push_table(0, 3);
    functions!(lua, "escape" => escape, "unescape" => unescape, "parameters" => parameters);
    set_global(lua, "url");
}

fn encode_base64(lua: &Lua) -> Returns {
    lua.push_owned(STANDARD.encode(lua.check_bytes(1)));
    Ok(1)
}

fn encode_base64_url(lua: &Lua) -> Returns {
    lua.push_owned(URL_SAFE_NO_PAD.encode(lua.check_bytes(1)));
    Ok(1)
}

fn decode_base64(lua: &Lua) -> Returns {
    decoded(lua, STANDARD.decode(lua.check_bytes(1)).ok())
}

/// With or without padding.
fn decode_base64_url(lua: &Lua) -> Returns {
    let text = lua.check_bytes(1);
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |at| at + 1);
    decoded(lua, URL_SAFE_NO_PAD.decode(&text[..end]).ok())
}

fn decoded(lua: &Lua, bytes: Option<Vec<u8>>) -> Returns {
    match bytes {
        Some(bytes) => lua.push_owned(bytes),
        None => lua.push_nil(),
    }
    Ok(1)
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]).collect()
}

fn encode_hex(lua: &Lua) -> Returns {
    lua.push_owned(hex(lua.check_bytes(1)));
    Ok(1)
}

fn decode_hex(lua: &Lua) -> Returns {
    let text = lua.check_bytes(1);
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = text.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    decoded(lua, bytes.collect())
}

fn escape(lua: &Lua) -> Returns {
    let text: String = percent_encode(lua.check_bytes(1), ESCAPED).collect();
    lua.push_owned(text);
    Ok(1)
}

fn unescape(lua: &Lua) -> Returns {
    let text = query::decode(lua.check_bytes(1)).into_owned();
    lua.push_owned(text);
    Ok(1)
}

/// A list of `{name, value}`, in order, repeated ones included.
fn parameters(lua: &Lua) -> Returns {
    let pushed = lua.protect(&mut {
        let text = lua.check_bytes(1);
        move |lua: &Lua| {
            lua.push_table(0, 0);
            for (n, (name, value)) in (1..).zip(query::parameters(text)) {
                lua.push_table(2, 0);
                lua.push(&name);
                lua.set_index(-2, 1);
                lua.push(&value);
                lua.set_index(-2, 2);
                lua.set_index(-2, n);
            }
        }
    });
    if !pushed {
        return Ok(lua.throw_top());
    }
    Ok(1)
}
