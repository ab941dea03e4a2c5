//! Commands for a running gateway: `history`, `reload`, `rollback`, `rollout`, over its admin API; the way to it
//! for those of `explain`, `diff`, `shadow` and `filter record`.
//!
//! The gateway is found ([`find`]) by what the command line or `TOLLGATE_ADMIN` says, else by the notes that
//! running gateways of this user leave in their state folder, else at 127.0.0.1:9901.
//!
//! Limits: an answer of 64 MiB; as long as the admin API takes.

mod find;
mod history;
mod policy;
mod rollout;

use std::io::{self, Write};

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Exit;
use find::FindError;

pub(super) use find::{Address, Admin};
pub(super) use history::{Args as HistoryArgs, history};
pub(super) use policy::{ReloadArgs, RollbackArgs, reload, roll_back};
pub(super) use rollout::{Args as RolloutArgs, rollout};

const ANSWER_MAX: usize = 64 << 20;

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// As the admin API has it.
    Json,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Find(#[from] FindError),
    #[error("no gateway's admin API at {address}: {source}")]
    Connect { address: Address, source: io::Error },
    #[error("the exchange with the gateway at {address} failed: {source}")]
    Exchange { address: Address, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the gateway gave an answer that is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("{0}")]
    Runtime(#[from] io::Error),
}

/// What the admin API said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    fn json(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// An answer whose status says yes (200) or no (409 or 404 with a body): both go to standard output.
    pub(super) fn print_verdict(&self) -> Exit {
        let is_verdict = matches!(self.status, StatusCode::CONFLICT | StatusCode::NOT_FOUND);
        let text = String::from_utf8_lossy(&self.body);
        if self.status.is_success() || is_verdict && !text.is_empty() {
            out!("{text}");
            // There is nowhere to tell that it is closed.
            let _ = io::stdout().flush();
            return if self.status.is_success() { Exit::Done } else { Exit::Failed };
        }
        eprint!("{text}");
        match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => Exit::BadPolicy,
            // It was asked, and refused.
            StatusCode::FORBIDDEN => Exit::Failed,
            _ => Exit::CannotRun,
        }
    }

    /// As it is, to standard output if it is good and else to standard error.
    fn print(&self) -> Exit {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim_end();
        if self.status.is_success() {
            outln!("{text}");
            Exit::Done
        } else {
            eprintln!("{text}");
            Exit::Failed
        }
    }
}

/// Asks the admin API of the gateway that is meant, and waits for the whole answer.
pub(super) fn ask(
    admin: &Admin,
    method: Method,
    target: &str,
    format: Format,
    body: Bytes,
) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (address, response) = send(admin, method, target, format, body).await?;
        let (head, body) = response.into_parts();
        match Limited::new(body, ANSWER_MAX).collect().await {
            Ok(body) => Ok(Answer { status: head.status, body: body.to_bytes() }),
            Err(source) => Err(Failure::Exchange { address, source }),
        }
    })
}

/// Asks the admin API of the gateway that is meant; the body of the answer is still to be read.
pub(super) async fn send(
    admin: &Admin,
    method: Method,
    target: &str,
    format: Format,
    body: Bytes,
) -> Result<(Address, Response<Incoming>), Failure> {
    let address = find::find(admin)?;
    let connect = |source| Failure::Connect { address: address.clone(), source };
    let request = Request::builder()
        .method(method)
        .uri(target)
        // The admin API takes only local names, to keep web pages away.
        .header(HOST, "localhost")
        .header(ACCEPT, if format == Format::Json { "application/json" } else { "text/plain" })
        .body(Full::new(body));
    let exchanged = match (&address, request) {
        (_, Err(error)) => Err(error.into()),
        (Address::Tcp(at), Ok(request)) => {
            exchange(TcpStream::connect(at).await.map_err(connect)?, request).await
        }
        (Address::Unix(at), Ok(request)) => {
            exchange(UnixStream::connect(at).await.map_err(connect)?, request).await
        }
    };
    match exchanged {
        Ok(response) => Ok((address, response)),
        Err(source) => Err(Failure::Exchange { address, source }),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its errors reach the sender.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// Tells why there is no answer.
pub(super) fn failed(failure: &Failure) -> Exit {
    eprintln!("tollgate: {failure}");
    Exit::CannotRun
}
