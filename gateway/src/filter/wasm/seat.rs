//! The place of one filter in one exchange: `tollgate_proxy_wasm::Stream` over an [`Exchange`].

use std::rc::Rc;

use http::{HeaderMap, HeaderValue};
use tollgate_proxy_wasm::{
    BufferError, GuestFault, LocalResponse, MapError, MapType, Pair, PropertyError, Refusal, Stream,
    StreamSide,
};

use super::properties;
use crate::filter::edit::{self, Write};
use crate::filter::exchange::{Exchange, ResponseHead};
use crate::filter::reply::Reply;
use crate::filter::signals::Fault;

/// A filter's place in an exchange.
pub struct Seat {
    pub(super) exchange: Rc<Exchange>,
    position: usize,
}

impl Seat {
    /// The seat of the filter at `position` of the chain.
    pub fn new(exchange: Rc<Exchange>, position: usize) -> Self {
        Self { exchange, position }
    }

    fn edited<E>(&self, result: Result<(), E>) -> Result<(), E> {
        result.inspect(|()| self.exchange.signals.edited())
    }

    /// The guest has failed in this exchange, as it says.
    pub(super) fn fail(&self, fault: GuestFault) {
        self.exchange.signals.fail(self.position, Fault::Told(fault));
    }

    fn write(&self, map: MapType, how: Write, name: &[u8], value: &[u8]) -> Result<(), MapError> {
        let exchange = &*self.exchange;
        match map {
            MapType::RequestHeaders if exchange.request_sent.get() => Err(MapError::Unavailable),
            MapType::RequestHeaders => {
                exchange.with_request(|head| edit::write_request(head, how, name, value))
            }
            MapType::ResponseHeaders => {
                self.with_response(|head| edit::write_response(head, how, name, value))
            }
            MapType::RequestTrailers => {
                self.with_trailers(StreamSide::Request, |map| edit::write_field(map, how, name, value))
            }
            MapType::ResponseTrailers => {
                self.with_trailers(StreamSide::Response, |map| edit::write_field(map, how, name, value))
            }
        }
    }

    fn with_response(
        &self,
        f: impl FnOnce(&mut ResponseHead) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        if self.exchange.response_sent.get() {
            return Err(MapError::Unavailable);
        }
        self.exchange.with_response(f).unwrap_or(Err(MapError::Unavailable))
    }

    fn with_trailers(
        &self,
        side: StreamSide,
        f: impl FnOnce(&mut HeaderMap) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        self.exchange.trailers(side).borrow_mut().as_mut().map_or(Err(MapError::Unavailable), f)
    }

    fn replace(&self, map: MapType, pairs: &[Pair<'_>]) -> Result<(), MapError> {
        let host = self.exchange.request().headers.get(http::header::HOST).cloned();
        match map {
            MapType::RequestHeaders => self.exchange.with_request(|head| {
                head.headers.clear();
                if let Some(host) = host {
                    head.headers.insert(http::header::HOST, host);
                }
                pairs.iter().try_for_each(|(name, value)| edit::write_request(head, Write::Add, name, value))
            }),
            MapType::ResponseHeaders => self.with_response(|head| {
                head.headers.clear();
                pairs.iter().try_for_each(|(name, value)| edit::write_response(head, Write::Add, name, value))
            }),
            MapType::RequestTrailers | MapType::ResponseTrailers => {
                self.with_trailers(side_of(map), |trailers| {
                    trailers.clear();
                    pairs
                        .iter()
                        .try_for_each(|(name, value)| edit::write_field(trailers, Write::Add, name, value))
                })
            }
        }
    }

    /// A copy of a map, to be put back if a replacement fails half-way.
    fn restore_on_error(
        &self,
        map: MapType,
        f: impl FnOnce() -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        let exchange = &*self.exchange;
        match map {
            MapType::RequestHeaders if exchange.request_sent.get() => Err(MapError::Unavailable),
            MapType::RequestHeaders => {
                let before = exchange.request().clone();
                f().inspect_err(|_| exchange.restore_request(before))
            }
            MapType::ResponseHeaders => {
                let before = exchange.with_response(|head| ResponseHead {
                    status: head.status,
                    headers: head.headers.clone(),
                });
                f().inspect_err(|_| {
                    if let Some(before) = before {
                        exchange.set_response(before);
                    }
                })
            }
            MapType::RequestTrailers | MapType::ResponseTrailers => {
                let before = exchange.trailers(side_of(map)).borrow().clone();
                f().inspect_err(|_| {
                    exchange.trailers(side_of(map)).replace(before);
                })
            }
        }
    }
}

impl Stream for Seat {
    fn map_pairs(&self, map: MapType, f: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        walk(&self.exchange, map, f)
    }

    fn map_get<R>(&self, map: MapType, name: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
        match map {
            MapType::RequestHeaders => {
                let head = self.exchange.request();
                Some(match name {
                    [b':', ..] => f(edit::request_pseudo(&head, name)),
                    _ => f(edit::field(&head.headers, name)),
                })
            }
            MapType::ResponseHeaders => {
                let head = self.exchange.response();
                let head = head.as_ref()?;
                Some(match name {
                    b":status" => f(Some(head.status.as_str().as_bytes())),
                    _ => f(edit::field(&head.headers, name)),
                })
            }
            MapType::RequestTrailers | MapType::ResponseTrailers => {
                let trailers = self.exchange.trailers(side_of(map)).borrow();
                trailers.as_ref().map(|map| f(edit::field(map, name)))
            }
        }
    }

    fn map_set(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError> {
        self.edited(self.write(map, Write::Set, name, value))
    }

    fn map_add(&self, map: MapType, name: &[u8], value: &[u8]) -> Result<(), MapError> {
        self.edited(self.write(map, Write::Add, name, value))
    }

    fn map_remove(&self, map: MapType, name: &[u8]) -> Result<(), MapError> {
        self.edited(match map {
            MapType::RequestHeaders if self.exchange.request_sent.get() => Err(MapError::Unavailable),
            MapType::RequestHeaders => {
                self.exchange.with_request(|head| edit::remove(&mut head.headers, name))
            }
            MapType::ResponseHeaders => self.with_response(|head| edit::remove(&mut head.headers, name)),
            MapType::RequestTrailers | MapType::ResponseTrailers => {
                self.with_trailers(side_of(map), |map| edit::remove(map, name))
            }
        })
    }

    fn map_replace_all(&self, map: MapType, pairs: &[Pair<'_>]) -> Result<(), MapError> {
        self.edited(self.restore_on_error(map, || self.replace(map, pairs)))
    }

    fn body_len(&self, side: StreamSide) -> Option<usize> {
        self.exchange.body(side).borrow().as_ref().map(|body| body.bytes().len())
    }

    fn body_read<R>(
        &self,
        side: StreamSide,
        start: usize,
        max: usize,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let body = self.exchange.body(side).borrow();
        let bytes = body.as_ref()?.bytes();
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
        let mut body = self.exchange.body(side).borrow_mut();
        let body = body.as_mut().ok_or(BufferError::Unavailable)?;
        self.edited(body.splice(start, size, data))
    }

    fn property<R>(&self, path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        properties::read(&self.exchange, path, f)
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), PropertyError> {
        self.edited(properties::write(&self.exchange, path, value))
    }

    fn clear_route_cache(&self) {
        self.exchange.clear_route();
    }

    fn upstream_hosts(&self, f: &mut dyn FnMut(&[u8], bool)) -> bool {
        let endpoints = self.exchange.endpoints.borrow();
        let Some(endpoints) = &*endpoints else { return false };
        endpoints.each(&mut |name, is_paused| f(name.text().as_bytes(), !is_paused));
        true
    }

    fn override_upstream_host(&self, address: &[u8]) -> bool {
        let endpoints = self.exchange.endpoints.borrow();
        let (mut index, mut found) = (0, None);
        endpoints.iter().for_each(|endpoints| {
            endpoints.each(&mut |name, _| {
                if name.text().as_bytes() == address {
                    found = found.or(Some(index));
                }
                index += 1;
            });
        });
        if found.is_some() {
            self.exchange.preferred.set(found);
        }
        found.is_some()
    }

    fn local_response(&self, response: LocalResponse<'_>) {
        match self.exchange.response_sent.get() {
            false => self.exchange.signals.reply(self.position, Reply::from_guest(&response)),
            // The head is out: all that can be done is to keep the rest from following it.
            true => self.exchange.signals.close(self.position),
        }
    }

    fn resume(&self, side: StreamSide) {
        self.exchange.signals.resume(self.position, side);
    }

    fn close(&self, _: StreamSide) {
        self.exchange.signals.close(self.position);
    }

    fn refuse(&self, refusal: Refusal) {
        self.exchange.signals.fail(self.position, Fault::Refused(refusal));
    }
}

/// Walks over a map of an exchange; whether it is there.
pub(super) fn walk(exchange: &Exchange, map: MapType, f: &mut dyn FnMut(&[u8], &[u8])) -> bool {
    match map {
        MapType::RequestHeaders => {
            let head = exchange.request();
            for name in edit::REQUEST_PSEUDO {
                f(name, edit::request_pseudo(&head, name).unwrap_or_default());
            }
            each(&head.headers, f);
            true
        }
        MapType::ResponseHeaders => {
            let head = exchange.response();
            let Some(head) = &*head else { return false };
            f(b":status", head.status.as_str().as_bytes());
            each(&head.headers, f);
            true
        }
        MapType::RequestTrailers | MapType::ResponseTrailers => {
            let trailers = exchange.trailers(side_of(map)).borrow();
            trailers.as_ref().map(|map| each(map, f)).is_some()
        }
    }
}

fn side_of(map: MapType) -> StreamSide {
    match map {
        MapType::RequestHeaders | MapType::RequestTrailers => StreamSide::Request,
        MapType::ResponseHeaders | MapType::ResponseTrailers => StreamSide::Response,
    }
}

/// All fields but Host, which is `:authority`.
fn each(map: &HeaderMap<HeaderValue>, f: &mut dyn FnMut(&[u8], &[u8])) {
    for (name, value) in map.iter().filter(|(name, _)| **name != http::header::HOST) {
        f(name.as_str().as_bytes(), value.as_bytes());
    }
}
