//! Properties of a connection, encoded as those of an exchange are.

use super::connection::Connection;
use crate::filter::wasm::properties::find;

/// Passes a property to `f`.
pub(in crate::filter) fn read<R>(
    connection: &Connection,
    path: &[u8],
    f: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    if let Some(text) = text(connection, path) {
        return Some(f(text.as_bytes()));
    }
    if let Some(number) = number(connection, path) {
        return Some(f(&number.to_le_bytes()));
    }
    find(&connection.properties, path, f)
}

fn text(connection: &Connection, path: &[u8]) -> Option<String> {
    match path {
        b"source\0address" => Some(connection.peer.to_string()),
        b"destination\0address" => Some(connection.local.to_string()),
        b"upstream\0address" => connection.upstream_address.borrow().as_deref().map(str::to_owned),
        _ => None,
    }
}

fn number(connection: &Connection, path: &[u8]) -> Option<u64> {
    match path {
        b"connection\0id" => Some(connection.number),
        b"source\0port" => Some(connection.peer.port().into()),
        b"destination\0port" => Some(connection.local.port().into()),
        b"upstream\0port" => {
            connection.upstream_address.borrow().as_deref()?.rsplit_once(':')?.1.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request_id::RequestIds;

    #[test]
    fn addresses_are_text_and_numbers_eight_bytes() {
        let (peer, local) = ("192.0.2.7:4711".parse().unwrap(), "[2001:db8::1]:6000".parse().unwrap());
        let connection = Connection::new(RequestIds::new().next_id(), 3, peer, local, 1);
        let value = |path: &str| read(&connection, path.replace('.', "\0").as_bytes(), <[u8]>::to_vec);
        assert_eq!(value("source.address").unwrap(), b"192.0.2.7:4711");
        assert_eq!(value("source.port").unwrap(), 4711_u64.to_le_bytes());
        assert_eq!(value("destination.address").unwrap(), b"[2001:db8::1]:6000");
        assert_eq!(value("connection.id").unwrap(), 3_u64.to_le_bytes());
        assert_eq!(
            (value("upstream.address"), value("upstream.port"), value("request.path")),
            (None, None, None)
        );
        connection.set_upstream_address("[::1]:5432".into());
        assert_eq!(value("upstream.address").unwrap(), b"[::1]:5432");
        assert_eq!(value("upstream.port").unwrap(), 5432_u64.to_le_bytes());
    }
}
