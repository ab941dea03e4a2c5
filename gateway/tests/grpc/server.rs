//! A gRPC server, frame by frame.

use bytes::{BufMut, Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::support::Http2Exchange;

/// A message with its prefix.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// The head of an answer.
pub(crate) fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").header("x-init", "hi").body(()).unwrap()
}

pub(crate) fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = fields.iter();
    fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// The trailers of success, with one of our own.
pub(crate) fn well() -> HeaderMap {
    fields(&[("grpc-status", "0"), ("x-trail", "bye")])
}

/// One whole answer.
pub(crate) fn answer(exchange: &mut Http2Exchange, body: impl Into<Bytes>, trailers: HeaderMap) {
    exchange.respond(head(), body, Some(trailers));
}

/// The messages of the client, one by one.
pub(crate) struct Messages(Vec<u8>);

impl Messages {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// The next message; `None` after the last, an error if the client resets the stream.
    pub(crate) async fn next(&mut self, exchange: &mut Http2Exchange) -> Result<Option<Vec<u8>>, h2::Error> {
        let body = exchange.request.body_mut();
        loop {
            if let Some((prefix, rest)) = self.0.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                if rest.len() >= length {
                    let message = rest[..length].to_vec();
                    self.0.drain(..5 + length);
                    return Ok(Some(message));
                }
            }
            let Some(piece) = body.data().await.transpose()? else {
                assert!(self.0.is_empty(), "the client ended within a message");
                return Ok(None);
            };
            body.flow_control().release_capacity(piece.len()).unwrap();
            self.0.extend_from_slice(&piece);
        }
    }
}

/// Answers each message with itself, until the client has ended.
pub(crate) async fn echo(mut exchange: Http2Exchange) {
    let mut stream = exchange.respond.send_response(head(), false).unwrap();
    let mut messages = Messages::new();
    while let Ok(Some(message)) = messages.next(&mut exchange).await {
        stream.send_data(frame(&message), false).unwrap();
    }
    // The client may be gone.
    let _ = stream.send_trailers(well());
}

/// Waits until the client has reset the stream.
pub(crate) async fn reset(stream: &mut SendStream<Bytes>) -> Reason {
    std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap()
}
