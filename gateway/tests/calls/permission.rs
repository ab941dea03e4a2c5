//! Which servers a filter may call.

use crate::guests::{Ask, PLAIN, asking};
use crate::support::{Origin, response};
use crate::{policy, start};

/// BAD_ARGUMENT, as the guest turns it into a status.
const BAD_ARGUMENT: u16 = 502;

#[test]
fn only_what_the_policy_lists() {
    let (origin, auth) = (Origin::echo(), Origin::echo());
    for (upstream, list) in [("u", "upstreams"), ("nobody", "upstreams"), ("127.0.0.1:80", "hosts")] {
        let ask = Ask { upstream, ..Ask::default() };
        let gateway = start(&policy(&asking(&ask, 0), &origin, &auth.address().to_string(), ""));
        for _ in 0..2 {
            assert_eq!(gateway.get("/").status(), BAD_ARGUMENT, "{upstream}");
        }
        let help = format!("add it to `allow.{list}` of filters.ask");
        let log = gateway.stop().log;
        assert_eq!(log.iter().filter(|line| line.contains(&help)).count(), 1, "{}", log.join("\n"));
    }
    assert_eq!((origin.requests().len(), auth.requests().len()), (0, 0));
}

#[test]
fn a_host_by_its_name_and_port() {
    let origin = Origin::echo();
    let auth = Origin::answering(response(200, &[], b"host"));
    let port = auth.address().port();
    let upper = format!("LocalHost:{port}");
    for name in [format!("127.0.0.1:{port}"), upper] {
        let module = asking(&Ask { upstream: &name, ..Ask::default() }, 0);
        let policy = format!(
            "upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
             filters: {{ ask: {{ wasm: {{ module: '{}', allow: {{ hosts: ['{}'] }} }} }} }}\n\
             routes: [{{ filters: [ask], forward: {{ upstream: u }} }}]\n",
            origin.address(),
            module.display(),
            name.to_ascii_lowercase(),
        );
        let gateway = start(&policy);
        assert_eq!(gateway.get("/").status(), 200, "{name}");
        gateway.stop();
    }
    assert!(origin.requests().iter().all(|request| request.header("x-answer") == Some("host")));
}

#[test]
fn a_request_that_http_does_not_allow() {
    let (origin, auth) = (Origin::echo(), Origin::echo());
    let without_path = [PLAIN[0], PLAIN[2]];
    let with_forged = [&PLAIN[..], &[("x-a", "1\r\nx-b: 2")]].concat();
    let connect = [(":method", "CONNECT"), PLAIN[1], PLAIN[2]];
    for headers in [&without_path[..], &with_forged, &connect, &[]] {
        let module = asking(&Ask { headers, ..Ask::default() }, 0);
        let gateway = start(&policy(&module, &origin, &auth.address().to_string(), ""));
        assert_eq!(gateway.get("/").status(), BAD_ARGUMENT, "{headers:?}");
        gateway.stop();
    }
    assert_eq!(auth.requests().len(), 0);
}
