//! What a script does that asks another server, in whatever language it is written: `http_call`.
//!
//! Each language has scripts of its own for these; what comes of them is the same.

use super::script::{ONE_WORKER, policy_over};
use super::{Gate, Gateway, Next, Origin, get, response};

/// A language of scripts.
pub struct Language {
    /// Has its interpreter compiled.
    pub ready: fn(),
    /// A script within the policy, with further keys, each with a comma in front.
    pub inline: fn(&str, &str) -> String,
}

impl Language {
    /// A script `ask` before `origin`, which may call the upstream `auth` at `server`. `more` are further
    /// keys of the filter, each with a comma in front.
    pub fn start(&self, origin: &Origin, server: &str, script: &str, more: &str) -> Gateway {
        (self.ready)();
        let upstreams = format!(
            "upstreams: {{ u: {{ endpoints: ['{}'] }}, auth: {{ endpoints: ['{server}'] }} }}\n",
            origin.address()
        );
        let filter = (self.inline)(script, &format!(", allow: {{ upstreams: [auth] }}{more}"));
        Gateway::start_with(&policy_over(&upstreams, &[("ask", filter)]), &ONE_WORKER)
    }

    pub fn begin(&self, origin: &Origin, auth: &Origin, script: &str) -> Gateway {
        self.start(origin, &auth.address().to_string(), script, "")
    }

    /// The script calls `auth` with no more than its name, and puts `204||` of the answer into `x-answer`.
    pub fn leaves_out_what_has_a_default(&self, script: &str) {
        let origin = Origin::echo();
        let auth = Origin::answering("HTTP/1.1 204 Any\r\n\r\n");
        let gateway = self.begin(&origin, &auth, script);
        assert_eq!(gateway.get("/any").status(), 200, "{:#?}", gateway.log());
        assert_eq!(origin.request().header("x-answer"), Some("204||"));
        let asked = auth.request();
        assert_eq!((asked.method(), asked.target(), asked.header("host")), ("GET", "/", Some("auth")));
        assert!(asked.body.is_empty());
    }

    /// The script asks for its path and `/first`, then for the answer and `/second`; the last answer is in
    /// `x-answer`.
    pub fn asks_twice(&self, script: &str) {
        let (origin, auth) = (Origin::echo(), telling_targets());
        let gateway = self.begin(&origin, &auth, script);
        let mut client = gateway.client();
        for path in ["/a", "/b"] {
            assert_eq!(client.ask(get(path, &[])).status(), 200, "{:#?}", gateway.log());
            let told = origin.requests().last().unwrap().header("x-answer").map(str::to_owned);
            assert_eq!(told, Some(format!("{path}/first/second")));
        }
        let asked: Vec<_> = auth.requests().iter().map(|request| request.target().to_owned()).collect();
        assert_eq!(asked, ["/a/first", "/a/first/second", "/b/first", "/b/first/second"]);
    }

    /// The script asks for its path and puts the answer into `x-answer`, but for `/free`. While requests wait,
    /// the same script serves others; each goes on with what is its own.
    pub fn serves_others_while_it_waits(&self, script: &str) {
        let gate = Gate::new();
        let (origin, auth) = (Origin::echo(), telling_targets_behind(&gate));
        let gateway = self.begin(&origin, &auth, script);
        let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(get(&format!("/{number}"), &[]));
        }
        auth.wait_for_requests(8);
        assert_eq!((gateway.get("/free").status(), origin.requests().len()), (200, 1));
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response().status(), 200, "{:#?}", gateway.log());
        }
        let waited = &origin.requests()[1..];
        assert!(waited.iter().all(|request| request.header("x-answer") == Some(request.target())));
    }

    /// The script passes `authorization` on, and answers as it is told.
    pub fn denies(&self, script: &str) {
        let (origin, auth) = (Origin::echo(), Origin::answering(response(401, &[], b"who are you")));
        let gateway = self.begin(&origin, &auth, script);
        let answer = gateway.ask(get("/", &[("authorization", "Bearer x")]));
        assert_eq!((answer.status(), answer.text()), (401, "who are you"));
        assert_eq!(auth.request().header("authorization"), Some("Bearer x"));
        assert_eq!(origin.requests().len(), 0);
        let log = gateway.stop().access_log;
        assert_eq!((&log[0]["ended_by"]["filter"], &log[0]["status"]), (&"ask".into(), &401.into()));
    }
}

/// Answers each request with its target.
pub fn telling_targets() -> Origin {
    let gate = Gate::new();
    gate.open();
    telling_targets_behind(&gate)
}

/// The same, once `gate` is open.
pub fn telling_targets_behind(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |exchange| {
        exchange.read_body()?;
        gate.pass();
        let target = exchange.request.target().to_owned();
        exchange.wire.send(response(200, &[], target.as_bytes()))?;
        Ok(Next::Keep)
    })
}
