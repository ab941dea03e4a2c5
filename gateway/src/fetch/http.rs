//! Requests with limits: time, redirects, bytes.
//!
//! A proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`) is used, but not to reach this machine. A
//! redirect is followed without credentials.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::Uri;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error};

use crate::policy::remote::is_loopback;

/// A request, its redirects and its answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// All requests of a client.
const TIMEOUT_OF_ALL: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REDIRECTS_MAX: u32 = 5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the server answered {0}")]
    Status(u16),
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("it took longer than {} s", .0.as_secs())]
    Late(Duration),
    #[error("the host is not known")]
    Host,
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Connect,
    #[error("more than {REDIRECTS_MAX} redirects")]
    Redirects,
    #[error("there are no certificates to trust: install ca-certificates, or name a file in SSL_CERT_FILE")]
    NoRoots,
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Other(String),
}

/// A client that trusts the certificates of the system, or those in `SSL_CERT_FILE`.
#[derive(Debug)]
pub(super) struct Http {
    agent: Agent,
    has_roots: bool,
    end: Instant,
}

/// An answer whose body was not read.
pub(super) type Response = ureq::http::Response<Body>;

impl Http {
    /// Loads the certificates.
    pub(super) fn new() -> Self {
        let roots = rustls_native_certs::load_native_certs();
        for error in &roots.errors {
            tracing::warn!(%error, "certificates not loaded");
        }
        let roots: Vec<_> = roots.certs.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS_MAX)
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            // Few requests are made, and one on a connection that is being closed would fail.
            .max_idle_connections(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .tls_config(tls)
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .build();
        let end = Instant::now() + TIMEOUT_OF_ALL;
        Self { agent: config.new_agent(), has_roots: !roots.is_empty(), end }
    }

    /// The answer, whatever its status.
    pub(super) fn get(
        &self,
        url: &str,
        accept: &str,
        authorization: Option<&str>,
    ) -> Result<Response, HttpError> {
        if url.starts_with("https:") && !self.has_roots {
            return Err(HttpError::NoRoots);
        }
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HttpError::Late(TIMEOUT_OF_ALL));
        }
        let mut request = self.agent.get(url).header("accept", accept);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let config = request.config().timeout_global(Some(left.min(TIMEOUT)));
        let is_here = url.parse::<Uri>().is_ok_and(|url| url.host().is_some_and(is_loopback));
        let config = if is_here { config.proxy(None) } else { config };
        config.build().call().map_err(failed)
    }
}

/// The body of an answer that is one, at most `max` bytes.
pub(super) fn body(mut response: Response, max: u64) -> Result<Vec<u8>, HttpError> {
    if !response.status().is_success() {
        return Err(HttpError::Status(response.status().as_u16()));
    }
    response.body_mut().with_config().limit(max).read_to_vec().map_err(|error| match error {
        Error::BodyExceedsLimit(_) => HttpError::TooLarge(max),
        other => failed(other),
    })
}

/// What went wrong, without the address: its query may be a secret.
fn failed(error: Error) -> HttpError {
    match error {
        Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => HttpError::Connect,
        Error::Timeout(_) => HttpError::Late(TIMEOUT),
        Error::HostNotFound => HttpError::Host,
        Error::TooManyRedirects => HttpError::Redirects,
        Error::Io(error) => match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
            Some(error) => HttpError::Tls(error.clone()),
            None => HttpError::Io(error),
        },
        Error::Rustls(error) => HttpError::Tls(error),
        Error::BadUri(_) => HttpError::Other("it was redirected to something that is no URL".to_owned()),
        other => HttpError::Other(other.to_string()),
    }
}
