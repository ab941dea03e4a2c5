//! The body that the client sends, which may be let go of before its end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Version;
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::worker::ConnectionState;

/// A request body as it comes. Dropped before its end, it leaves the rest to the connection.
pub(super) struct ClientBody {
    /// None once it has been dropped.
    incoming: Option<Incoming>,
    /// Whose rest it is; none if there is no body.
    connection: Option<Rc<ConnectionState>>,
    /// Whose body it is, on that connection.
    request: u64,
    /// Whether the client sends it, rather than waits to be told so.
    is_coming: bool,
    /// Whether another request may come behind it.
    is_kept: bool,
}

impl ClientBody {
    pub(super) fn new(incoming: Incoming, parts: &Parts, connection: &Rc<ConnectionState>) -> Self {
        let has_body = !incoming.is_end_stream();
        if has_body {
            connection.begin_body();
        }
        Self {
            incoming: Some(incoming),
            connection: has_body.then(|| Rc::clone(connection)),
            request: connection.request(),
            is_coming: has_body && !parts.headers.contains_key(EXPECT),
            is_kept: has_body && is_kept(parts),
        }
    }
}

/// Of HTTP/1.0 no connection is, which costs a client that asked for it a new one.
fn is_kept(parts: &Parts) -> bool {
    let options = parts.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = options.flat_map(|value| value.split(','));
    parts.version == Version::HTTP_11 && !options.any(|option| option.trim().eq_ignore_ascii_case("close"))
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // hyper tells a client that waits to go on.
        self.is_coming = true;
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let (Some(connection), Some(incoming)) = (&self.connection, self.incoming.take()) else { return };
        if incoming.is_end_stream() {
            connection.end_body(self.request);
        } else {
            connection.leave_unread(self.request, (self.is_coming && self.is_kept).then_some(incoming));
        }
    }
}
