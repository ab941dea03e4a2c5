//! A reverse proxy on Pingora as its guide shows one: the peer of `bench/run` that is a framework.
//!
//! Usage: `pingora-proxy LISTEN UPSTREAM THREADS [headers]`, addresses as `ip:port`. With `headers` it
//! applies the header policy of the load tests: reads two things of the request, sets one header on
//! each side.

use async_trait::async_trait;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

struct Proxy {
    upstream: String,
    edits: bool,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _context: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _context: &mut (),
    ) -> Result<()> {
        if self.edits {
            let agent = session.get_header("user-agent").map_or(&b""[..], |value| value.as_bytes());
            let mut value = agent.to_vec();
            value.push(b' ');
            value.extend_from_slice(session.req_header().uri.path().as_bytes());
            request.insert_header("x-edge", value)?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _context: &mut (),
    ) -> Result<()> {
        if self.edits {
            response.insert_header("x-policy", "edge")?;
        }
        Ok(())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, threads, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: pingora-proxy LISTEN UPSTREAM THREADS [headers]");
        std::process::exit(64);
    };
    let Ok(threads) = threads.parse() else {
        eprintln!("pingora-proxy: THREADS is a number");
        std::process::exit(64);
    };
    let conf = ServerConf { threads, upstream_keepalive_pool_size: 16384, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = Proxy { upstream: upstream.clone(), edits: rest.iter().any(|word| word == "headers") };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}
