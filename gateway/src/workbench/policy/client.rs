//! The client of a case: one request on a connection of its own.

use std::io;
use std::time::Duration;

use http::{HeaderMap, Request as HttpRequest, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::super::exchange::Received;
use super::super::pieces::Pieces;
use super::gateway::Gateway;
use crate::policy::cases::Request;

/// What the client got.
pub(super) enum Heard {
    /// A whole response.
    Response(Box<Received>),
    /// The connection was cut before the end of one.
    Cut,
    /// Nothing, or not all of it, in the time that it had.
    Nothing,
}

/// Makes the request and waits for the response, `limit` at most. Its connection is closed then.
///
/// # Errors
/// If there are no sockets.
pub(super) async fn ask(gateway: &Gateway, request: &Request, limit: Duration) -> io::Result<Heard> {
    let stream = gateway.connect(request.client).await?;
    Ok(match tokio::time::timeout(limit, exchange(stream, request)).await {
        Ok(Ok(received)) => Heard::Response(Box::new(received)),
        Ok(Err(_)) => Heard::Cut,
        Err(_) => Heard::Nothing,
    })
}

async fn exchange(stream: TcpStream, request: &Request) -> hyper::Result<Received> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(message(request)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers: Option<HeaderMap> = body.trailers().cloned();
        let (status, headers) = (head.status, head.headers);
        Ok::<_, hyper::Error>(Received { status, headers, body: body.to_bytes(), trailers })
    };
    // Both go on here, so that the connection closes when this is dropped.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        received = &mut exchange => received,
        _ = &mut connection => exchange.await,
    }
}

fn message(request: &Request) -> HttpRequest<Pieces> {
    let mut message = HttpRequest::new(Pieces::new(&request.body, request.trailers.as_ref()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = Uri::from(request.target.clone());
    *message.headers_mut() = request.headers.clone();
    message
}
