//! `tollgate upstream`: a small server to send requests to, for the demo and for trying policies.
//!
//! It is no part of the gateway and shares nothing with it: one thread, plain hyper.
//!
//! Limits: 60 s of waiting and 1 GiB of body for those who ask for them; request bodies are read to
//! their end and counted, not kept.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::{Exit, lifetime};

/// Run a small server to send requests to.
///
/// Every path answers with JSON that says what arrived: method, path and headers. Some do more:
/// `/slow?ms=N` waits first, `/status/N` answers with that status, `/bytes/N` sends a body of that
/// length, and `/card` sends a payment card number (a test number), which a filter should redact.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address and port.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// What it calls itself in its answers.
    #[arg(long, default_value = "demo")]
    name: String,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

const WAIT_MAX: Duration = Duration::from_secs(60);
const BYTES_MAX: u64 = 1 << 30;
/// Sent over and over for `/bytes/N`.
const BLOCK: &[u8] = &[b'x'; 16 << 10];

type Body = BoxBody<Bytes, Infallible>;

pub(super) fn run(args: &Args) -> Exit {
    if args.end_with_parent {
        lifetime::end_with_parent();
    }
    lifetime::raise_open_files();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime: {error}")),
    };
    let local = LocalSet::new();
    match runtime.block_on(local.run_until(serve(args))) {
        Ok(()) => Exit::Done,
        Err(error) => failed(&format!("cannot serve on {}: {error}", args.listen)),
    }
}

fn failed(why: &str) -> Exit {
    eprintln!("tollgate upstream: {why}");
    Exit::Internal
}

async fn serve(args: &Args) -> std::io::Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    eprintln!("upstream `{}` listens on {}", args.name, listener.local_addr()?);
    let name: Rc<str> = args.name.as_str().into();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::task::spawn_local(connection(stream, Rc::clone(&name)))),
                // No descriptors left, as a rule: some will be given back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            _ = terminate.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn connection(stream: TcpStream, name: Rc<str>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let name = Rc::clone(&name);
        async move { Ok::<_, Infallible>(answer(request, &name).await) }
    });
    // A peer that goes away is none of this server's business.
    let _ =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, name: &str) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let mut received = 0;
    while let Some(Ok(frame)) = body.frame().await {
        received += frame.data_ref().map_or(0, Bytes::len);
    }
    let path = head.uri.path();
    let mut response = match Special::of(path, head.uri.query()) {
        Some(Special::Slow(wait)) => {
            tokio::time::sleep(wait).await;
            echo(&head, received, name)
        }
        Some(Special::Status(status)) => text(status, "text/plain", format!("{status}\n")),
        Some(Special::Bytes(count)) => bytes(count),
        Some(Special::Card) => {
            text(StatusCode::OK, "text/plain", "paid with 4111 1111 1111 1111\n".to_owned())
        }
        None => echo(&head, received, name),
    };
    response.headers_mut().insert(SERVER, HeaderValue::from_static("tollgate-upstream"));
    response
}

/// What some paths do.
#[derive(Debug, PartialEq, Eq)]
enum Special {
    Slow(Duration),
    Status(StatusCode),
    Bytes(u64),
    Card,
}

impl Special {
    /// `None` for an ordinary path, or one with a number out of range.
    fn of(path: &str, query: Option<&str>) -> Option<Self> {
        let mut segments = path.trim_start_matches('/').split('/');
        let special = match (segments.next()?, segments.next()) {
            ("slow", None) => {
                let ms = query?.split('&').find_map(|pair| pair.strip_prefix("ms="))?.parse().ok()?;
                Self::Slow(Duration::from_millis(ms).min(WAIT_MAX))
            }
            ("status", Some(status)) => {
                // Below 200 is not an answer, and beyond 599 no status of HTTP.
                Self::Status(
                    status
                        .parse()
                        .ok()
                        .filter(|status: &StatusCode| (200..600).contains(&status.as_u16()))?,
                )
            }
            ("bytes", Some(count)) => Self::Bytes(count.parse().ok().filter(|count| *count <= BYTES_MAX)?),
            ("card", None) => Self::Card,
            _ => return None,
        };
        segments.next().is_none().then_some(special)
    }
}

fn echo(head: &http::request::Parts, body_bytes: usize, name: &str) -> Response<Body> {
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match headers.get_mut(name.as_str()) {
            Some(Value::String(values)) => *values = format!("{values}, {value}"),
            _ => drop(headers.insert(name.to_string(), value.into())),
        }
    }
    let seen = json!({
        "upstream": name,
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
        "body_bytes": body_bytes,
        "headers": headers,
    });
    text(StatusCode::OK, "application/json", format!("{seen:#}\n"))
}

fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn bytes(count: u64) -> Response<Body> {
    let mut response = Response::new(Blocks { left: count }.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// So many bytes that mean nothing.
struct Blocks {
    left: u64,
}

impl http_body::Body for Blocks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(self.left).map_or(BLOCK.len(), |left| left.min(BLOCK.len()));
        self.left -= size as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLOCK[..size])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Body as _;

    use super::*;

    #[test]
    fn special_paths() {
        let slow = |ms| Some(Special::Slow(Duration::from_millis(ms)));
        assert_eq!(Special::of("/slow", Some("a=1&ms=20")), slow(20));
        assert_eq!(Special::of("/slow", Some("ms=999999999")), slow(60_000));
        assert_eq!(Special::of("/status/404", None), Some(Special::Status(StatusCode::NOT_FOUND)));
        assert_eq!(Special::of("/bytes/12", None), Some(Special::Bytes(12)));
        assert_eq!(Special::of("/card", None), Some(Special::Card));
    }

    #[test]
    fn anything_else_is_an_echo() {
        for path in
            ["/", "/slow", "/status/100", "/status/999", "/status/x", "/bytes/-1", "/card/2", "/bytes/1/2"]
        {
            assert_eq!(Special::of(path, None), None, "{path}");
        }
        assert_eq!(Special::of("/bytes/99999999999", None), None, "beyond a GiB");
    }

    #[tokio::test]
    async fn a_body_has_the_length_that_was_asked_for() {
        for count in [0, 1, BLOCK.len() as u64, 3 * BLOCK.len() as u64 + 5] {
            let body = bytes(count).into_body();
            assert_eq!(body.size_hint().exact(), Some(count));
            assert_eq!(body.collect().await.unwrap().to_bytes().len() as u64, count);
        }
    }
}
