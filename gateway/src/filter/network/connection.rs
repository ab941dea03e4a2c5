//! One TCP connection: what network filters see and change.
//!
//! Interior mutability throughout, for the reason that `exchange` gives.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::signals::Signals;
use crate::filter::exchange::{Body, Property, Side, SideIndex};
use crate::filter::wasm::Waiting;
use crate::http::request_id::RequestId;

/// One connection.
pub struct Connection {
    /// Its name in logs.
    pub id: RequestId,
    /// Its number, of this process.
    pub number: u64,
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// When it was accepted.
    pub started: Instant,
    /// Most bytes that may be held back, per filter and direction.
    pub buffer_bytes_max: usize,
    pub(in crate::filter) data: [RefCell<Option<Body>>; 2],
    pub(in crate::filter) properties: RefCell<Vec<Property>>,
    pub(in crate::filter) signals: Signals,
    pub(super) upstream_address: RefCell<Option<Arc<str>>>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(
        id: RequestId,
        number: u64,
        peer: SocketAddr,
        local: SocketAddr,
        buffer_bytes_max: usize,
    ) -> Self {
        Self {
            id,
            number,
            peer,
            local,
            started: Instant::now(),
            buffer_bytes_max,
            data: Default::default(),
            properties: RefCell::default(),
            signals: Signals::default(),
            upstream_address: RefCell::default(),
        }
    }

    /// Names the endpoint that it goes to, for properties.
    pub fn set_upstream_address(&self, address: Arc<str>) {
        self.upstream_address.replace(Some(address));
    }

    pub(in crate::filter) fn data(&self, side: Side) -> &RefCell<Option<Body>> {
        &self.data[side.index()]
    }

    pub(super) fn show(&self, side: Side, bytes: Bytes) {
        self.data(side).replace(Some(Body::new(bytes, self.buffer_bytes_max)));
    }

    pub(super) fn take(&self, side: Side) -> Bytes {
        self.data(side).take().map(Body::into_bytes).unwrap_or_default()
    }
}

impl Waiting for Connection {
    fn wake(&self) {
        self.signals.wake();
    }
}
