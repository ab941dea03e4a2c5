//! One exchange: what filters see and change.
//!
//! Interior mutability throughout: host functions reach it through an `Rc` while a guest callback
//! runs. No borrow outlives a method, but for `map_get` and `body_read`, during which the guest's
//! allocator runs, which may do nothing but log.

use std::cell::{Cell, Ref, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
pub use tollgate_proxy_wasm::StreamSide as Side;
use tollgate_proxy_wasm::{BufferError, PropertyError};

use super::frozen::Frozen;
use super::run::Ended;
use super::signals::Signals;
use super::wasm::properties;
use crate::policy::route::Route;
use crate::upstream::Endpoints;

/// Index of a side in an array of two.
pub(super) trait SideIndex {
    fn index(self) -> usize;
}

impl SideIndex for Side {
    fn index(self) -> usize {
        match self {
            Side::Request => 0,
            Side::Response => 1,
        }
    }
}

/// The head of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Its method.
    pub method: Method,
    /// Its path, normalised, and query.
    pub target: PathAndQuery,
    /// Its fields, Host among them.
    pub headers: HeaderMap,
}

/// The head of a response.
#[derive(Debug)]
pub struct ResponseHead {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The client's address after the trusted-proxy rule.
    pub address: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// What it speaks.
    pub version: Version,
    /// The number of its connection, counted from 1 in each process.
    pub connection: u64,
}

/// What has become of an exchange so far.
#[derive(Debug, Default)]
pub struct Course {
    /// Bytes of the request's body that have come.
    pub received: Cell<u64>,
    /// Bytes of the response's body that were sent.
    pub sent: Cell<u64>,
    /// The status that was answered.
    pub status: Cell<Option<StatusCode>>,
    /// What went wrong in the gateway, in the word of the access log.
    pub error: Cell<Option<&'static str>>,
    /// Whether any filter has failed in it.
    pub has_trapped: Cell<bool>,
    /// The status in the response's trailers, if it is gRPC.
    pub(super) grpc_status: Cell<Option<u32>>,
    /// Why a filter ended it, if one did.
    pub(super) ended: RefCell<Option<Ended>>,
}

impl Course {
    /// Becomes what another is.
    pub(super) fn follow(&self, other: &Self) {
        self.received.set(other.received.get());
        self.sent.set(other.sent.get());
        self.status.set(other.status.get());
        self.error.set(other.error.get());
        self.grpc_status.set(other.grpc_status.get());
        self.ended.replace(other.ended.borrow().clone());
    }

    /// The response's trailers go out.
    pub fn note_trailers(&self, trailers: &HeaderMap) {
        self.grpc_status.set(grpc_status(trailers));
    }
}

/// The gRPC status that fields tell.
pub(super) fn grpc_status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// One exchange.
pub struct Exchange {
    /// Who asks.
    pub client: Client,
    /// Its name in logs, at the upstream, and in error answers.
    pub request_id: HeaderValue,
    /// When its head had arrived.
    pub started: Instant,
    /// Most bytes that may be held back, per filter and side.
    pub buffer_bytes_max: usize,
    /// To be read by `request()`: its fields may be put away.
    pub(super) request: RefCell<RequestHead>,
    /// Whether the request's head has been handed to the upstream.
    pub(super) request_sent: Cell<bool>,
    /// To be read by `response()`: its fields may be put away.
    pub(super) response: RefCell<Option<ResponseHead>>,
    pub(super) response_sent: Cell<bool>,
    /// The fields of a head that has been sent, until somebody reads them.
    pub(super) frozen: [Cell<Option<Frozen>>; 2],
    pub(super) trailers: [RefCell<Option<HeaderMap>>; 2],
    pub(super) bodies: [RefCell<Option<Body>>; 2],
    pub(super) properties: RefCell<Vec<Property>>,
    /// Whether the route is to be looked up again.
    pub(super) is_route_stale: Cell<bool>,
    pub(super) signals: Signals,
    /// What has become of it so far.
    pub course: Course,
    /// Facts for properties that only the spine knows.
    pub(super) route: RefCell<Option<Arc<Route>>>,
    pub(super) upstream_address: RefCell<Option<Arc<str>>>,
    /// The endpoints that a guest may choose from, and the index of the one it chose.
    pub(super) endpoints: RefCell<Option<Rc<dyn Endpoints>>>,
    pub(super) preferred: Cell<Option<usize>>,
}

impl Exchange {
    /// An exchange whose request has just arrived.
    pub fn new(
        client: Client,
        request_id: HeaderValue,
        head: RequestHead,
        started: Instant,
        buffer_bytes_max: usize,
    ) -> Self {
        Self {
            client,
            request_id,
            started,
            buffer_bytes_max,
            request: RefCell::new(head),
            request_sent: Cell::new(false),
            response: RefCell::default(),
            response_sent: Cell::new(false),
            frozen: Default::default(),
            trailers: Default::default(),
            bodies: Default::default(),
            properties: RefCell::default(),
            is_route_stale: Cell::new(false),
            signals: Signals::default(),
            course: Course::default(),
            route: RefCell::default(),
            upstream_address: RefCell::default(),
            endpoints: RefCell::default(),
            preferred: Cell::new(None),
        }
    }

    /// When its head had arrived, by the wall clock.
    pub fn time(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.started.elapsed()).unwrap_or(now)
    }

    /// The request's head.
    pub fn request(&self) -> Ref<'_, RequestHead> {
        if let Some(fields) = self.frozen[Side::Request.index()].take() {
            self.request.borrow_mut().headers = fields.thaw();
        }
        self.request.borrow()
    }

    /// The request's method, without a look at its fields.
    pub fn method(&self) -> Ref<'_, Method> {
        Ref::map(self.request.borrow(), |head| &head.method)
    }

    /// Changes the request's head, which has not been sent.
    pub fn with_request<R>(&self, f: impl FnOnce(&mut RequestHead) -> R) -> R {
        f(&mut self.request.borrow_mut())
    }

    /// The head to send; from now on guests may read it and no more. `keep`: whether anybody reads it.
    pub fn send_request(&self, keep: bool) -> RequestHead {
        self.request_sent.set(true);
        let mut head = self.request.borrow_mut();
        let headers = self.take_fields(Side::Request, &mut head.headers, keep);
        RequestHead { method: head.method.clone(), target: head.target.clone(), headers }
    }

    /// Fields that go out; with `keep` they can still be read here.
    fn take_fields(&self, side: Side, fields: &mut HeaderMap, keep: bool) -> HeaderMap {
        if keep {
            self.frozen[side.index()].set(Some(Frozen::of(fields)));
        }
        std::mem::take(fields)
    }

    /// The response's head has arrived.
    pub fn set_response(&self, head: ResponseHead) {
        self.frozen[Side::Response.index()].take();
        self.response.replace(Some(head));
    }

    /// Puts a head back in the place of the one that is there, as if nothing had been done to it.
    pub(super) fn restore_request(&self, head: RequestHead) {
        self.request.replace(head);
    }

    /// The response's head, if it has arrived.
    pub(super) fn response(&self) -> Ref<'_, Option<ResponseHead>> {
        if let Some(fields) = self.frozen[Side::Response.index()].take()
            && let Some(head) = &mut *self.response.borrow_mut()
        {
            head.headers = fields.thaw();
        }
        self.response.borrow()
    }

    /// Changes the response's head, if there is one and it has not been sent.
    pub fn with_response<R>(&self, f: impl FnOnce(&mut ResponseHead) -> R) -> Option<R> {
        self.response.borrow_mut().as_mut().map(f)
    }

    /// The head to send to the client.
    pub fn send_response(&self, keep: bool) -> Option<ResponseHead> {
        self.response_sent.set(true);
        let mut slot = self.response.borrow_mut();
        if !keep {
            return slot.take();
        }
        slot.as_mut().map(|head| {
            let headers = self.take_fields(Side::Response, &mut head.headers, true);
            ResponseHead { status: head.status, headers }
        })
    }

    /// A filter asks for the route to be looked up again.
    pub(super) fn clear_route(&self) {
        self.is_route_stale.set(true);
    }

    /// Whether a filter asked for that since this was last asked.
    pub fn take_stale_route(&self) -> bool {
        self.is_route_stale.take()
    }

    /// Tells the route, for properties.
    pub fn set_route(&self, route: Arc<Route>) {
        self.route.replace(Some(route));
    }

    /// Tells the endpoints of the route's upstream, for guests that choose among them.
    pub fn set_endpoints(&self, endpoints: Rc<dyn Endpoints>) {
        self.preferred.set(None);
        self.endpoints.replace(Some(endpoints));
    }

    /// The endpoint that a guest chose, by its index in the policy.
    pub fn preferred_endpoint(&self) -> Option<usize> {
        self.preferred.get()
    }

    /// Names the endpoint that answers, for properties.
    pub fn set_upstream_address(&self, address: Arc<str>) {
        self.upstream_address.replace(Some(address));
    }

    /// A property as a guest would read it; `path` has its segments separated by NUL.
    pub fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        properties::read(self, path, <[u8]>::to_vec)
    }

    /// Sets a property as a guest would.
    ///
    /// # Errors
    /// If the gateway owns it, or there are too many.
    pub fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), PropertyError> {
        properties::write(self, path, value)
    }

    pub(super) fn body(&self, side: Side) -> &RefCell<Option<Body>> {
        &self.bodies[side.index()]
    }

    pub(super) fn trailers(&self, side: Side) -> &RefCell<Option<HeaderMap>> {
        &self.trailers[side.index()]
    }
}

/// A property that a guest has set.
#[derive(Clone)]
pub(super) struct Property {
    /// Its name in the filter state.
    pub(super) key: Box<[u8]>,
    pub(super) value: Box<[u8]>,
}

/// The body bytes that a callback sees: what was held back and what has just come.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    /// How long the guest may make it, if it is not longer already.
    max: usize,
}

impl Body {
    pub(super) fn new(bytes: Bytes, max: usize) -> Self {
        Self { bytes, max }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Replaces `size` bytes at `start`, both clamped.
    pub(super) fn splice(&mut self, start: usize, size: usize, data: &[u8]) -> Result<(), BufferError> {
        let before = &self.bytes;
        let start = start.min(before.len());
        let end = start.saturating_add(size).min(before.len());
        let len = before.len() - (end - start) + data.len();
        if len > self.max.max(before.len()) {
            return Err(BufferError::TooLarge);
        }
        let mut spliced = BytesMut::with_capacity(len);
        spliced.extend_from_slice(&before[..start]);
        spliced.extend_from_slice(data);
        spliced.extend_from_slice(&before[end..]);
        self.bytes = spliced.freeze();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splices_are_clamped_and_limited() {
        let spliced = |start, size, data: &[u8]| {
            let mut body = Body::new(Bytes::from_static(b"0123456789"), 12);
            body.splice(start, size, data).map(|()| body.into_bytes())
        };
        assert_eq!(spliced(0, 0, b"ab").unwrap(), "ab0123456789");
        assert_eq!(spliced(0, usize::MAX, b"x").unwrap(), "x");
        assert_eq!(spliced(99, usize::MAX, b"x").unwrap(), "0123456789x");
        assert_eq!(spliced(2, 3, b"--").unwrap(), "01--56789");
        assert_eq!(spliced(0, 0, b"abc"), Err(BufferError::TooLarge));
    }
}
