//! Copies of an exchange, for filters in shadow: what they do to theirs reaches nobody.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::exchange::{Course, Exchange, ResponseHead, Side};
use super::signals::Signals;

impl Exchange {
    /// The exchange as it is when its request arrives at a filter.
    pub(crate) fn copy(&self) -> Rc<Self> {
        Rc::new(Self {
            client: self.client,
            request_id: self.request_id.clone(),
            started: self.started,
            buffer_bytes_max: self.buffer_bytes_max,
            request: RefCell::new(self.request().clone()),
            request_sent: Cell::new(false),
            response: RefCell::default(),
            response_sent: Cell::new(false),
            frozen: Default::default(),
            trailers: Default::default(),
            bodies: Default::default(),
            properties: RefCell::new(self.properties.borrow().clone()),
            is_route_stale: Cell::new(false),
            signals: Signals::default(),
            course: Course::default(),
            route: RefCell::new(self.route.borrow().clone()),
            upstream_address: RefCell::new(self.upstream_address.borrow().clone()),
            endpoints: RefCell::new(self.endpoints.borrow().clone()),
            preferred: Cell::new(None),
        })
    }

    /// The response has come to the filter: a copy learns what has come since the request. Properties
    /// that its filter has set stay as they are.
    pub(super) fn follow(&self, original: &Self) {
        self.request_sent.set(true);
        self.response.replace(
            original
                .with_response(|head| ResponseHead { status: head.status, headers: head.headers.clone() }),
        );
        self.upstream_address.replace(original.upstream_address.borrow().clone());
        self.course.follow(&original.course);
        let mut properties = self.properties.borrow_mut();
        for property in original.properties.borrow().iter() {
            if properties.iter().all(|known| known.key != property.key) {
                properties.push(property.clone());
            }
        }
    }

    /// The head of `side` would have gone by now.
    pub(super) fn head_sent(&self, side: Side) {
        match side {
            Side::Request => self.request_sent.set(true),
            Side::Response => self.response_sent.set(true),
        }
    }
}
