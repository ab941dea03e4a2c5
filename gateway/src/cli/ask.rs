//! One question to the admin API of a running gateway.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest answer.
const ANSWER_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no gateway's admin API at {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("the exchange with the gateway failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the gateway's answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the command line makes no request: {0}")]
    Request(#[from] http::Error),
    #[error("{0}")]
    Runtime(io::Error),
}

/// Sends a request without a body, and gives the answer, in JSON where the gateway has it.
pub(super) fn ask(address: SocketAddr, method: Method, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(AskError::Runtime)?.block_on(exchange(address, method, path))
}

async fn exchange(address: SocketAddr, method: Method, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let stream = TcpStream::connect(address).await.map_err(|source| AskError::Connect { address, source })?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its errors reach the sender.
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, address.to_string());
    let request = request.header(ACCEPT, "application/json").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(AskError::Body)?;
    Ok((status, body.to_bytes()))
}
