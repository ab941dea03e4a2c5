//! One HTTP/1.1 connection to an endpoint, driven by whoever uses it.
//!
//! hyper gives two halves: a sender for requests and a driver that does the I/O, meant to run as
//! a task. Here both stay together, and every wait first drives, then looks at the result. What
//! the driver waits for (the socket, the client's body, the timer) wakes through the connection's
//! own waker; what the two halves tell each other needs no waking, as they are polled in turn.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection as Driver, SendRequest};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::RequestStream;
use super::waker::ConnectionWaker;
use super::wire::{Exchange, Recording, RequestBody, Upload, Wire};
use crate::deadline::Deadline;

/// Bytes of a response head, and of a read from the upstream.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection.
pub(super) struct Connection<B: RequestStream> {
    sender: SendRequest<RequestBody<B>>,
    driver: Option<Driver<Wire, RequestBody<B>>>,
    exchange: Rc<Exchange>,
    waker: ConnectionWaker,
    deadline: Deadline,
    /// When it was put into the pool.
    pub(super) idle_since: Instant,
}

/// Why an exchange failed.
pub(super) enum Failure<B> {
    /// The response did not come in time.
    Timeout,
    /// The connection was closed before hyper took the request, which is given back.
    NotTaken(Box<Request<RequestBody<B>>>, hyper::Error),
    /// Anything else; with the written request, if it was to be remembered.
    Broken(hyper::Error, Option<Vec<u8>>),
}

/// Whether a connection can carry another exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It can.
    Ready,
    /// It is closed or still busy with the last one, and must be dropped.
    Spent,
}

impl<B: RequestStream> Connection<B> {
    /// Makes an HTTP/1.1 connection of a stream.
    pub(super) async fn open(stream: TcpStream) -> hyper::Result<Box<Self>> {
        let exchange = Rc::new(Exchange::default());
        let wire = Wire::new(stream, Rc::clone(&exchange));
        let (sender, driver) = Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .handshake(wire)
            .await?;
        Ok(Box::new(Self {
            sender,
            driver: Some(driver),
            exchange,
            waker: ConnectionWaker::new(),
            deadline: Deadline::default(),
            idle_since: Instant::now(),
        }))
    }

    /// Sends a request and waits for the head of the response, at most for `timeout` from when all
    /// of the request is handed to the socket. Dropping the future closes the
    /// connection; so does any failure.
    pub(super) async fn exchange(
        mut self: Box<Self>,
        mut request: Box<Request<RequestBody<B>>>,
        recording: Recording,
        timeout: Duration,
    ) -> Result<(Response<Incoming>, Box<Self>), Failure<B>> {
        self.exchange.begin(recording);
        request.body_mut().tie_to(&self.exchange);
        // The receiving end is polled without a waker and must not be told to wait for budget.
        let mut response = pin!(tokio::task::unconstrained(self.sender.try_send_request(*request)));
        let result = poll_fn(|cx| self.poll_response(cx, response.as_mut(), timeout)).await;
        self.deadline.clear();
        result.map(|response| (response, self))
    }

    fn poll_response(
        &mut self,
        cx: &Context<'_>,
        response: Pin<
            &mut impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody<B>>>>>,
        >,
        timeout: Duration,
    ) -> Poll<Result<Response<Incoming>, Failure<B>>> {
        self.waker.aim(cx.waker());
        self.drive();
        match response.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                Some(mut request) => {
                    request.body_mut().untie();
                    Failure::NotTaken(Box::new(request), error.into_error())
                }
                None => Failure::Broken(error.into_error(), self.exchange.take_record()),
            })),
            Poll::Pending => {
                // The time runs from the end of the request.
                if self.exchange.upload() == Upload::Done && !self.deadline.is_set() {
                    self.deadline.set(Instant::now() + timeout);
                }
                self.deadline.poll(&mut self.waker.context()).map(|()| Err(Failure::Timeout))
            }
        }
    }

    /// Polls a response body that this connection feeds.
    pub(super) fn poll_body<T>(
        &mut self,
        cx: &Context<'_>,
        mut body: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.waker.aim(cx.waker());
        let mut nobody = Context::from_waker(Waker::noop());
        // This asks the driver for more, which would wake us for what is done right below.
        let ready = self.waker.muted(|| body(&mut nobody));
        if ready.is_ready() {
            return ready;
        }
        self.drive();
        self.waker.muted(|| body(&mut nobody))
    }

    /// Does what I/O can be done. A driver that has ended is dropped, which closes the socket and
    /// tells whoever still waits for it.
    fn drive(&mut self) {
        if let Some(driver) = &mut self.driver {
            // An error reaches the one who waits for the response or the body as well.
            if Pin::new(driver).poll(&mut self.waker.context()).is_ready() {
                self.driver = None;
            }
        }
    }

    /// Drives the connection to its end, for an upload that outlasts the head of its response.
    pub(super) async fn run(mut self: Box<Self>) {
        poll_fn(|cx| {
            self.waker.aim(cx.waker());
            self.drive();
            if self.driver.is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// How far the request body is.
    pub(super) fn upload(&self) -> Upload {
        self.exchange.upload()
    }

    /// Looks whether the connection is open and between two exchanges, and lets go of the task
    /// that used it.
    pub(super) fn settle(&mut self) -> Readiness {
        self.waker.aim_at_nobody();
        if !self.sender.is_ready() {
            self.drive();
        }
        self.readiness()
    }

    /// Looks at an idle connection: the upstream may have closed it.
    pub(super) fn check(&mut self) -> Readiness {
        self.drive();
        self.readiness()
    }

    fn readiness(&self) -> Readiness {
        match self.driver.is_some() && self.sender.is_ready() {
            true => Readiness::Ready,
            false => Readiness::Spent,
        }
    }
}
