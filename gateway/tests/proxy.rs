//! Proxying over real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Gateway, Origin};

#[test]
fn a_request_passes() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let gateway = Gateway::start(&format!(
        "upstreams: {{ u: {{ endpoints: ['{}'] }} }}\nroutes: [{{ forward: {{ upstream: u }} }}]",
        origin.address()
    ));
    assert_eq!(gateway.get("/").text(), "ok");
    assert_eq!(gateway.stop().access_log.len(), 1);
}
