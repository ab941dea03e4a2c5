//! The place of one filter in one TCP connection, and the stream that is either that or an exchange.

use std::rc::Rc;

use tollgate_proxy_wasm::{
    BufferError, GuestFault, LocalResponse, MapError, MapType, Pair, PropertyError, Refusal, Stream,
    StreamKind, StreamSide,
};

use super::properties;
use super::seat::Seat;
use crate::filter::network::{self, Connection};

/// A filter's place in a connection.
pub struct NetworkSeat {
    connection: Rc<Connection>,
    position: usize,
}

/// What a context of a guest belongs to.
pub enum GuestStream {
    /// An HTTP exchange.
    Http(Seat),
    /// A TCP connection.
    Tcp(NetworkSeat),
}

impl NetworkSeat {
    /// The seat of the filter at `position` of the chain.
    pub fn new(connection: Rc<Connection>, position: usize) -> Self {
        Self { connection, position }
    }
}

impl GuestStream {
    /// Its name in logs.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Http(seat) => seat.exchange.request_id.to_str().unwrap_or_default(),
            Self::Tcp(seat) => seat.connection.id.as_str(),
        }
    }
}

impl GuestStream {
    /// The guest has failed, as it says. A connection is closed for it, whatever `on_failure` says: there
    /// is nothing yet that interprets scripts for connections.
    pub(super) fn fail(&self, fault: GuestFault) {
        match self {
            Self::Http(seat) => seat.fail(fault),
            Self::Tcp(seat) => seat.connection.signals.close(seat.position, fault.reason.into()),
        }
    }
}

impl From<Seat> for GuestStream {
    fn from(seat: Seat) -> Self {
        Self::Http(seat)
    }
}

impl From<NetworkSeat> for GuestStream {
    fn from(seat: NetworkSeat) -> Self {
        Self::Tcp(seat)
    }
}

impl Stream for NetworkSeat {
    fn kind(&self) -> StreamKind {
        StreamKind::Tcp
    }

    fn map_pairs(&self, _: MapType, _: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        false
    }

    fn map_get<R>(&self, _: MapType, _: &[u8], _: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
        None
    }

    fn map_set(&self, _: MapType, _: &[u8], _: &[u8]) -> Result<(), MapError> {
        Err(MapError::Unavailable)
    }

    fn map_add(&self, _: MapType, _: &[u8], _: &[u8]) -> Result<(), MapError> {
        Err(MapError::Unavailable)
    }

    fn map_remove(&self, _: MapType, _: &[u8]) -> Result<(), MapError> {
        Err(MapError::Unavailable)
    }

    fn map_replace_all(&self, _: MapType, _: &[Pair<'_>]) -> Result<(), MapError> {
        Err(MapError::Unavailable)
    }

    fn body_len(&self, side: StreamSide) -> Option<usize> {
        self.connection.data(side).borrow().as_ref().map(|data| data.bytes().len())
    }

    fn body_read<R>(
        &self,
        side: StreamSide,
        start: usize,
        max: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let data = self.connection.data(side).borrow();
        let bytes = data.as_ref()?.bytes();
        let start = start.min(bytes.len());
        let end = start.saturating_add(max).min(bytes.len());
        Some(f(&bytes[start..end]))
    }

    fn body_splice(
        &self,
        side: StreamSide,
        start: usize,
        size: usize,
        data: &[u8],
    ) -> Result<(), BufferError> {
        let mut slot = self.connection.data(side).borrow_mut();
        let bytes = slot.as_mut().ok_or(BufferError::Unavailable)?;
        bytes.splice(start, size, data)
    }

    fn property<R>(&self, path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        network::read_property(&self.connection, path, f)
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), PropertyError> {
        properties::store(&self.connection.properties, path, value)
    }

    /// A connection has no route.
    fn clear_route_cache(&self) {}

    /// A guest does not choose the endpoint of a connection.
    fn upstream_hosts(&self, _: &mut dyn FnMut(&[u8], bool)) -> bool {
        false
    }

    fn override_upstream_host(&self, _: &[u8]) -> bool {
        false
    }

    /// There is no way to say it on a TCP connection. A guest that answers in the upstream's place does
    /// not want the upstream reached, so the connection is closed.
    fn local_response(&self, response: LocalResponse<'_>) {
        let reason = match response.details {
            [] => format!("answered {}", response.status),
            details => String::from_utf8_lossy(details).into_owned(),
        };
        self.connection.signals.close(self.position, reason);
    }

    fn resume(&self, side: StreamSide) {
        self.connection.signals.resume(self.position, side);
    }

    fn close(&self, side: StreamSide) {
        let reason = match side {
            StreamSide::Request => "closed the downstream connection",
            StreamSide::Response => "closed the upstream connection",
        };
        self.connection.signals.close(self.position, reason.to_owned());
    }

    fn refuse(&self, refusal: Refusal) {
        self.connection.signals.refuse(self.position, refusal);
    }
}

/// Calls a method on whichever it is.
macro_rules! either {
    ($stream:expr, $seat:ident => $call:expr) => {
        match $stream {
            GuestStream::Http($seat) => $call,
            GuestStream::Tcp($seat) => $call,
        }
    };
}

impl Stream for GuestStream {
    fn kind(&self) -> StreamKind {
        either!(self, seat => seat.kind())
    }

    fn map_pairs(&self, map: MapType, f: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        either!(self, seat => seat.map_pairs(map, f))
    }

    fn map_get<R>(&self, map: MapType, name: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
        either!(self, seat => seat.map_get(map, name, f))
    }

    fn map_set(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError> {
        either!(self, seat => seat.map_set(map, name, value))
    }

    fn map_add(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError> {
        either!(self, seat => seat.map_add(map, name, value))
    }

    fn map_remove(&self, map: MapType, name: &[u8]) -> Result<(), MapError> {
        either!(self, seat => seat.map_remove(map, name))
    }

    fn map_replace_all(&self, map: MapType, pairs: &[Pair<'_>]) -> Result<(), MapError> {
        either!(self, seat => seat.map_replace_all(map, pairs))
    }

    fn body_len(&self, side: StreamSide) -> Option<usize> {
        either!(self, seat => seat.body_len(side))
    }

    fn body_read<R>(
        &self,
        side: StreamSide,
        start: usize,
        max: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        either!(self, seat => seat.body_read(side, start, max, f))
    }

    fn body_splice(
        &self,
        side: StreamSide,
        start: usize,
        size: usize,
        data: &[u8],
    ) -> Result<(), BufferError> {
        either!(self, seat => seat.body_splice(side, start, size, data))
    }

    fn property<R>(&self, path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        either!(self, seat => seat.property(path, f))
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), PropertyError> {
        either!(self, seat => seat.set_property(path, value))
    }

    fn clear_route_cache(&self) {
        either!(self, seat => seat.clear_route_cache());
    }

    fn upstream_hosts(&self, f: &mut dyn FnMut(&[u8], bool)) -> bool {
        either!(self, seat => seat.upstream_hosts(f))
    }

    fn override_upstream_host(&self, address: &[u8]) -> bool {
        either!(self, seat => seat.override_upstream_host(address))
    }

    fn local_response(&self, response: LocalResponse<'_>) {
        either!(self, seat => seat.local_response(response));
    }

    fn resume(&self, side: StreamSide) {
        either!(self, seat => seat.resume(side));
    }

    fn close(&self, side: StreamSide) {
        either!(self, seat => seat.close(side));
    }

    fn refuse(&self, refusal: Refusal) {
        either!(self, seat => seat.refuse(refusal));
    }
}
