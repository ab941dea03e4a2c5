//! An HTTP exchange in memory, with the rules a gateway would have.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use tollgate_proxy_wasm::{
    BufferError, LocalResponse, MapError, MapType, Pair, PropertyError, Refusal, Stream, StreamKind,
    StreamSide,
};

pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// An answer of the guest's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub details: Vec<u8>,
    pub body: Vec<u8>,
    pub headers: Pairs,
    pub grpc_status: Option<i32>,
}

#[derive(Default)]
pub struct Exchange {
    pub request_headers: RefCell<Pairs>,
    pub response_headers: RefCell<Pairs>,
    pub request_trailers: RefCell<Pairs>,
    pub response_trailers: RefCell<Pairs>,
    pub request_body: RefCell<Vec<u8>>,
    pub response_body: RefCell<Vec<u8>>,
    pub properties: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    pub answer: RefCell<Option<Answer>>,
    pub resumed: RefCell<Vec<StreamSide>>,
    pub closed: RefCell<Vec<StreamSide>>,
    pub route_clearings: Cell<u32>,
    pub refusals: RefCell<Vec<Refusal>>,
    pub kind: Cell<StreamKind>,
    /// Endpoints that the request may be sent to, and which of them comes first.
    pub upstream_hosts: RefCell<Vec<(&'static str, bool)>>,
    pub first_upstream_host: RefCell<Vec<u8>>,
    /// Whether the response has begun: before, its maps are not there.
    pub responding: Cell<bool>,
}

impl Exchange {
    pub fn request(headers: &[(&str, &str)]) -> std::rc::Rc<Self> {
        let exchange = Self { request_headers: RefCell::new(pairs(headers)), ..Self::default() };
        let path = headers.iter().find(|(name, _)| *name == ":path").map_or("/", |(_, path)| path);
        exchange.put_property(b"request\0path", path.as_bytes());
        exchange.put_property(b"source\0address", b"192.0.2.7:4711");
        std::rc::Rc::new(exchange)
    }

    /// A TCP connection, with these bytes to see in either direction.
    pub fn connection(downstream: &[u8], upstream: &[u8]) -> std::rc::Rc<Self> {
        let connection = Self::default();
        connection.kind.set(StreamKind::Tcp);
        connection.request_body.replace(downstream.to_vec());
        connection.response_body.replace(upstream.to_vec());
        connection.responding.set(true);
        std::rc::Rc::new(connection)
    }

    pub fn respond(&self, headers: &[(&str, &str)]) {
        *self.response_headers.borrow_mut() = pairs(headers);
        self.responding.set(true);
    }

    pub fn put_property(&self, path: &[u8], value: &[u8]) {
        self.properties.borrow_mut().insert(path.to_vec(), value.to_vec());
    }

    /// The values of a header, as text.
    pub fn header(&self, map: MapType, name: &str) -> Vec<String> {
        let map = self.map(map).unwrap().borrow();
        let of_name = map.iter().filter(|(known, _)| known == name.as_bytes());
        of_name.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    fn map(&self, map: MapType) -> Result<&RefCell<Pairs>, MapError> {
        match map {
            _ if self.kind.get() == StreamKind::Tcp => Err(MapError::Unavailable),
            MapType::RequestHeaders => Ok(&self.request_headers),
            MapType::RequestTrailers => Ok(&self.request_trailers),
            MapType::ResponseHeaders | MapType::ResponseTrailers if !self.responding.get() => {
                Err(MapError::Unavailable)
            }
            MapType::ResponseHeaders => Ok(&self.response_headers),
            MapType::ResponseTrailers => Ok(&self.response_trailers),
        }
    }

    fn body(&self, side: StreamSide) -> Option<&RefCell<Vec<u8>>> {
        match side {
            StreamSide::Request => Some(&self.request_body),
            StreamSide::Response => self.responding.get().then_some(&self.response_body),
        }
    }
}

pub fn pairs(headers: &[(&str, &str)]) -> Pairs {
    headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn valid(name: &[u8], value: &[u8]) -> Result<Vec<u8>, MapError> {
    if name.is_empty() || name.iter().any(|byte| *byte <= b' ') {
        return Err(MapError::BadName);
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(MapError::BadValue);
    }
    Ok(name.to_ascii_lowercase())
}

impl Stream for Exchange {
    fn kind(&self) -> StreamKind {
        self.kind.get()
    }

    fn map_pairs(&self, map: MapType, f: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        let Ok(map) = self.map(map) else { return false };
        map.borrow().iter().for_each(|(name, value)| f(name, value));
        true
    }

    fn map_get<R>(&self, map: MapType, name: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
        let map = self.map(map).ok()?.borrow();
        let found = map.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        Some(f(found.map(|(_, value)| value.as_slice())))
    }

    fn map_set(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError> {
        let name = valid(name, value)?;
        let mut map = self.map(map)?.borrow_mut();
        match map.iter().position(|(known, _)| *known == name) {
            Some(first) => {
                map[first].1 = value.to_vec();
                let mut index = 0;
                map.retain(|(known, _)| {
                    index += 1;
                    *known != name || index - 1 == first
                });
            }
            None => map.push((name, value.to_vec())),
        }
        Ok(())
    }

    fn map_add(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError> {
        let name = valid(name, value)?;
        self.map(map)?.borrow_mut().push((name, value.to_vec()));
        Ok(())
    }

    fn map_remove(&self, map: MapType, name: &[u8]) -> Result<(), MapError> {
        self.map(map)?.borrow_mut().retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        Ok(())
    }

    fn map_replace_all(&self, map: MapType, pairs: &[Pair<'_>]) -> Result<(), MapError> {
        let new: Result<Pairs, MapError> =
            pairs.iter().map(|(name, value)| Ok((valid(name, value)?, value.to_vec()))).collect();
        *self.map(map)?.borrow_mut() = new?;
        Ok(())
    }

    fn body_len(&self, side: StreamSide) -> Option<usize> {
        self.body(side).map(|body| body.borrow().len())
    }

    fn body_read<R>(
        &self,
        side: StreamSide,
        start: usize,
        max: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let body = self.body(side)?.borrow();
        let rest = body.get(start..).unwrap_or_default();
        Some(f(&rest[..rest.len().min(max)]))
    }

    fn body_splice(
        &self,
        side: StreamSide,
        start: usize,
        size: usize,
        data: &[u8],
    ) -> Result<(), BufferError> {
        let mut body = self.body(side).ok_or(BufferError::Unavailable)?.borrow_mut();
        let start = start.min(body.len());
        let end = start.saturating_add(size).min(body.len());
        body.splice(start..end, data.iter().copied());
        Ok(())
    }

    fn property<R>(&self, path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.properties.borrow().get(path).map(|value| f(value))
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), PropertyError> {
        if path.starts_with(b"request\0") {
            return Err(PropertyError::ReadOnly);
        }
        self.put_property(path, value);
        Ok(())
    }

    fn clear_route_cache(&self) {
        self.route_clearings.set(self.route_clearings.get() + 1);
    }

    fn upstream_hosts(&self, f: &mut dyn FnMut(&[u8], bool)) -> bool {
        let hosts = self.upstream_hosts.borrow();
        hosts.iter().for_each(|(address, is_healthy)| f(address.as_bytes(), *is_healthy));
        !hosts.is_empty()
    }

    fn override_upstream_host(&self, address: &[u8]) -> bool {
        let is_known = self.upstream_hosts.borrow().iter().any(|(known, _)| known.as_bytes() == address);
        if is_known {
            self.first_upstream_host.replace(address.to_vec());
        }
        is_known
    }

    fn local_response(&self, response: LocalResponse<'_>) {
        self.answer.borrow_mut().get_or_insert_with(|| Answer {
            status: response.status,
            details: response.details.to_vec(),
            body: response.body.to_vec(),
            headers: response.headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect(),
            grpc_status: response.grpc_status,
        });
    }

    fn resume(&self, side: StreamSide) {
        self.resumed.borrow_mut().push(side);
    }

    fn close(&self, side: StreamSide) {
        self.closed.borrow_mut().push(side);
    }

    fn refuse(&self, refusal: Refusal) {
        self.refusals.borrow_mut().push(refusal);
    }
}
