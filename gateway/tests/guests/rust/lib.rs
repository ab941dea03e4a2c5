//! The filter of ../README.md on the published Rust SDK, unmodified: 0.2.5, 0.2.0 or 0.1.4,
//! as the package says that builds it. What differs in 0.1.4 is marked `abi_0_1_0`.

use std::collections::HashMap;
use std::time::Duration;

use log::{error, info};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType, Status};

const TICK: Duration = Duration::from_millis(20);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(not(feature = "abi_0_1_0"))]
proxy_wasm::main! {{ register(); }}

/// The old SDK has no macro for it, and its hosts ran `_start`.
#[cfg(feature = "abi_0_1_0")]
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    register();
}

fn register() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}

#[derive(Clone, Default)]
struct Options {
    tag: String,
    deny: Option<String>,
    auth: Option<String>,
    requests: u32,
}

#[derive(Default)]
struct Plugin {
    options: Options,
}

struct Stream {
    options: Options,
}

impl Options {
    fn parse(text: &str) -> Option<Self> {
        let mut options: HashMap<_, _> = text.split(';').filter_map(|part| part.split_once('=')).collect();
        let mut take = |name| options.remove(name).map(str::to_owned);
        Some(Self { tag: take("tag")?, deny: take("deny"), auth: take("auth"), requests: 0 })
    }
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _size: usize) -> bool {
        #[cfg(feature = "abi_0_1_0")]
        let configuration = self.get_configuration();
        #[cfg(not(feature = "abi_0_1_0"))]
        let configuration = self.get_plugin_configuration();
        let configuration = configuration.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(options) = configuration.as_deref().and_then(Options::parse) else {
            error!("the configuration has no tag");
            return false;
        };
        self.options = options;
        self.options.requests = hostcalls::define_metric(MetricType::Counter, "guest_requests").unwrap();
        self.set_tick_period(TICK);
        println!("configured {}", self.options.tag); // by WASI
        true
    }

    fn on_tick(&mut self) {
        if count_up(self, "ticks") == 1 {
            info!("first tick");
        }
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { options: self.options.clone() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Counts up in the shared data and returns the new count.
fn count_up(context: &(impl Context + ?Sized), key: &str) -> u64 {
    loop {
        let (old, cas) = context.get_shared_data(key);
        let old = old.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok());
        let count = old.unwrap_or(0) + 1;
        match context.set_shared_data(key, Some(count.to_string().as_bytes()), cas) {
            Ok(()) => return count,
            Err(Status::CasMismatch) => {}
            Err(status) => panic!("{status:?}"),
        }
    }
}

impl Stream {
    fn mark(&self) {
        hostcalls::increment_metric(self.options.requests, 1).unwrap();
        let requests = hostcalls::get_metric(self.options.requests).unwrap();
        self.set_http_request_header("x-guest", Some(&self.options.tag));
        self.add_http_request_header("x-added", "1");
        self.add_http_request_header("x-added", "2");
        self.set_http_request_header("x-debug", None);
        self.set_http_request_header("content-length", None);
        self.set_http_request_header("x-hits", Some(&count_up(self, "hits").to_string()));
        self.set_http_request_header("x-count", Some(&requests.to_string()));
        if let Some(client) = self.get_property(vec!["source", "address"]) {
            self.set_http_request_header("x-client", Some(&String::from_utf8_lossy(&client)));
        }
    }

    fn answer(&self, status: u32, body: &str) {
        self.send_http_response(status, vec![("x-denied-by", "rust")], Some(body.as_bytes()));
    }

    fn request_headers(&mut self) -> Action {
        self.mark();
        let path = self.get_http_request_header(":path").unwrap_or_default();
        if self.options.deny.as_ref() == Some(&path) {
            self.answer(403, "denied\n");
            return Action::Pause;
        }
        assert!(path != "/crash", "asked to crash");
        let Some(upstream) = self.options.auth.as_deref().filter(|_| path == "/auth") else {
            return Action::Continue;
        };
        let headers = vec![(":method", "GET"), (":path", "/check"), (":authority", "auth.example")];
        if self.dispatch_http_call(upstream, headers, None, vec![], CALL_TIMEOUT).is_err() {
            self.answer(500, "no call\n");
        }
        Action::Pause
    }

    fn response_headers(&mut self) -> Action {
        self.set_http_response_header("x-guest", Some(&self.options.tag));
        self.set_http_response_header("server", None);
        self.set_http_response_header("content-length", None);
        Action::Continue
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _call: u32, _headers: usize, size: usize, _trailers: usize) {
        if self.get_http_call_response_header(":status").as_deref() != Some("200") {
            return self.answer(401, "who?\n");
        }
        let body = self.get_http_call_response_body(0, size).unwrap_or_default();
        self.set_http_request_header("x-auth", Some(&String::from_utf8_lossy(&body)));
        self.resume_http_request();
    }
}

impl HttpContext for Stream {
    #[cfg(feature = "abi_0_1_0")]
    fn on_http_request_headers(&mut self, _count: usize) -> Action {
        self.request_headers()
    }

    #[cfg(not(feature = "abi_0_1_0"))]
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.request_headers()
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !end_of_stream {
            return Action::Pause;
        }
        let body = self.get_http_request_body(0, size).unwrap_or_default();
        self.set_http_request_body(0, size, &body.to_ascii_uppercase());
        Action::Continue
    }

    #[cfg(feature = "abi_0_1_0")]
    fn on_http_response_headers(&mut self, _count: usize) -> Action {
        self.response_headers()
    }

    #[cfg(not(feature = "abi_0_1_0"))]
    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.response_headers()
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !end_of_stream {
            return Action::Pause;
        }
        let body = self.get_http_response_body(0, size).unwrap_or_default();
        let body = String::from_utf8_lossy(&body).replace("secret", "[hidden]");
        self.set_http_response_body(0, size, body.as_bytes());
        Action::Continue
    }

    fn on_log(&mut self) {
        let code = self.get_property(vec!["response", "code"]).and_then(|bytes| bytes.try_into().ok());
        if let Some(code) = code.map(u64::from_le_bytes) {
            info!("{} saw {code}", self.options.tag);
        }
    }
}
