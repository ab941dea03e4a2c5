//! Keeps web pages away from an API that has no password.
//!
//! A page that an operator reads can make their browser send requests to a loopback address.
//! * By DNS rebinding it can even read the answers, because its own name then stands for 127.0.0.1.
//!   But the browser sends that name as `Host`, so on a loopback listener only IP addresses and
//!   `localhost` are taken.
//! * Without that it can still send a POST. But every browser then adds `Origin`, and no operator's
//!   tool does, so whatever changes something is refused with one.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri};

/// Which values of `Host` are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Addresses and `localhost`: for a loopback listener.
    Local,
    /// Likewise, for a Unix socket, which the gateway's user alone reaches.
    Socket,
    /// All: for a listener that other machines reach, by names that they know and we do not.
    Any,
}

impl Hosts {
    /// The rule for a listener on this address.
    pub(super) fn for_listener(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() { Self::Local } else { Self::Any }
    }
}

/// Refuses what only a browser would send on a page's behalf.
pub(super) async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match check(hosts, request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
    }
}

fn check(hosts: Hosts, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    if hosts != Hosts::Any && !names_this_machine(uri, headers) {
        return Err("the Host header must be an IP address or localhost\n");
    }
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && headers.contains_key(ORIGIN) {
        return Err("requests from web pages are refused: there is an Origin header\n");
    }
    Ok(())
}

/// Whether there is a host, in the headers or in the target, and every one given is local.
fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let in_headers = headers.get_all(HOST).iter().map(|value| value.to_str().ok()?.parse::<Authority>().ok());
    let mut given = in_headers.chain(uri.authority().cloned().map(Some)).peekable();
    given.peek().is_some() && given.all(|host| host.is_some_and(|host| is_local(host.host())))
}

fn is_local(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn allowed(
        hosts: Hosts,
        method: Method,
        uri: &'static str,
        fields: &[(http::HeaderName, &'static str)],
    ) -> bool {
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let headers = fields.fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        });
        check(hosts, &method, &Uri::from_static(uri), &headers).is_ok()
    }

    #[test]
    fn a_loopback_listener_takes_addresses_and_localhost() {
        let host = |value| allowed(Hosts::Local, Method::GET, "/status", &[(HOST, value)]);
        for good in
            ["127.0.0.1", "127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost", "LocalHost:80", "192.0.2.1"]
        {
            assert!(host(good), "{good}");
        }
        for bad in ["rebind.example", "localhost.example:9901", "127.0.0.1.example", "", "a b", "localhost."]
        {
            assert!(!host(bad), "{bad}");
        }
    }

    #[test]
    fn every_host_given_counts_and_one_must_be() {
        let local = |uri, fields: &[_]| allowed(Hosts::Local, Method::GET, uri, fields);
        assert!(!local("/status", &[]));
        assert!(!local("/status", &[(HOST, "127.0.0.1"), (HOST, "rebind.example")]));
        assert!(!local("http://rebind.example/status", &[(HOST, "127.0.0.1")]));
        assert!(local("http://127.0.0.1/status", &[(HOST, "127.0.0.1")]));
    }

    #[test]
    fn other_listeners_take_any_host_and_none_takes_a_page_that_posts() {
        assert_eq!(Hosts::for_listener([127, 0, 0, 9].into()), Hosts::Local);
        assert_eq!(Hosts::for_listener("::ffff:127.0.0.1".parse().unwrap()), Hosts::Local);
        assert_eq!(Hosts::for_listener([0, 0, 0, 0].into()), Hosts::Any);
        assert!(allowed(Hosts::Any, Method::GET, "/metrics", &[(HOST, "tollgate.mesh:9901")]));
        for hosts in [Hosts::Any, Hosts::Local] {
            let from_page = [(HOST, "127.0.0.1"), (ORIGIN, "http://127.0.0.1")];
            assert!(allowed(hosts, Method::GET, "/status", &from_page));
            assert!(!allowed(hosts, Method::POST, "/policy/reload", &from_page));
        }
    }
}
