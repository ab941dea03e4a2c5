//! The connections of one endpoint.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::super::RequestStream;
use super::super::error::SendError;
use super::connection::{SharedConnection, StreamLease};

/// The connections of one endpoint, and who makes the next one.
pub(in super::super) struct SharedConnections<B: RequestStream> {
    open: RefCell<Vec<Rc<SharedConnection<B>>>>,
    /// Held by the one that connects.
    dialling: Mutex<()>,
    /// Attempts so far, and how the last one failed, for those that waited for it.
    attempts: Cell<u64>,
    last_failure: RefCell<Option<SendError>>,
}

impl<B: RequestStream> Default for SharedConnections<B> {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            dialling: Mutex::new(()),
            attempts: Cell::new(0),
            last_failure: RefCell::default(),
        }
    }
}

/// What a request gets that needs a connection.
pub(super) enum Turn<'a, B: RequestStream> {
    /// A place on one that is open.
    Place(StreamLease<B>),
    /// The right to make one.
    Dial(MutexGuard<'a, ()>),
}

impl<B: RequestStream> SharedConnections<B> {
    /// A place on the first connection that has room; else the right to connect, once nobody else is
    /// at it.
    ///
    /// # Errors
    /// The failure of the attempt that this one waited for.
    pub(super) async fn turn(&self) -> Result<Turn<'_, B>, SendError> {
        if let Some(place) = self.place() {
            return Ok(Turn::Place(place));
        }
        let attempts = self.attempts.get();
        let dialling = self.dialling.lock().await;
        if let Some(place) = self.place() {
            return Ok(Turn::Place(place));
        }
        if attempts != self.attempts.get()
            && let Some(failure) = self.last_failure.borrow().as_ref().and_then(repeated)
        {
            return Err(failure);
        }
        Ok(Turn::Dial(dialling))
    }

    fn place(&self) -> Option<StreamLease<B>> {
        let open = self.open.borrow();
        open.iter().find(|connection| connection.has_room()).map(StreamLease::on)
    }

    /// An attempt went well: a place on the new connection.
    pub(super) fn add(&self, connection: Rc<SharedConnection<B>>) -> StreamLease<B> {
        self.attempts.set(self.attempts.get() + 1);
        self.last_failure.take();
        let lease = StreamLease::on(&connection);
        let mut open = self.open.borrow_mut();
        open.retain(|connection| connection.is_open());
        open.push(connection);
        lease
    }

    /// An attempt failed.
    pub(super) fn failed(&self, error: &SendError) {
        self.attempts.set(self.attempts.get() + 1);
        *self.last_failure.borrow_mut() = repeated(error);
    }

    /// Closes connections that have been idle for too long, are more than `idle_max`, or take no more
    /// streams; what still runs on those goes on.
    pub(in super::super) fn sweep(&self, now: Instant, idle_timeout: Duration, idle_max: usize) {
        let mut idle = 0;
        self.open.borrow_mut().retain(|connection| {
            let fresh = match connection.idle_since() {
                None => true,
                Some(since) => {
                    idle += 1;
                    now.duration_since(since) < idle_timeout && idle <= idle_max
                }
            };
            fresh && connection.is_open()
        });
    }

    /// How many connections wait for a request.
    pub(in super::super) fn idle(&self) -> usize {
        let is_idle = |connection: &&Rc<SharedConnection<B>>| connection.idle_since().is_some();
        self.open.borrow().iter().filter(is_idle).count()
    }
}

/// The same failure for another request; `None`: it should see for itself.
fn repeated(error: &SendError) -> Option<SendError> {
    let again = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
    match error {
        SendError::Dns { endpoint, source } => {
            Some(SendError::Dns { endpoint: endpoint.clone(), source: again(source) })
        }
        SendError::Connect { endpoint, source } => {
            Some(SendError::Connect { endpoint: endpoint.clone(), source: again(source) })
        }
        SendError::ConnectTimeout { endpoint, after } => {
            Some(SendError::ConnectTimeout { endpoint: endpoint.clone(), after: *after })
        }
        SendError::Protocol { endpoint, .. } => {
            Some(SendError::Protocol { endpoint: endpoint.clone(), source: None })
        }
        SendError::ResponseTimeout { .. }
        | SendError::Closed { .. }
        | SendError::Reset { .. }
        | SendError::RequestBody { .. } => None,
    }
}
