//! The Proxy-Wasm side: contexts and host calls, no logic.

use crate::config::Config;
use crate::message::{self, Headers, Plan};
use crate::pattern::Ending;
use crate::scanner::{Output, Scanner};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, MapType};
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root { config: None }));
}}

struct Root {
    config: Option<Rc<Config>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Config::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => self.config = Some(Rc::new(config)),
            Err(error) => {
                let _ = hostcalls::log(LogLevel::Error, &format!("redact: configuration refused: {error}"));
                return false;
            }
        }
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        let config = self.config.clone()?;
        Some(Box::new(Stream { config, request: None, response: None }))
    }
}

struct Stream {
    config: Rc<Config>,
    /// The scanner of the request's body, if it is looked at.
    request: Option<Scanner>,
    /// The scanner of the response's body, if it is looked at.
    response: Option<Scanner>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let request = Host(MapType::HttpRequestHeaders);
        if self.config.sides.response() {
            message::ask_for_a_readable_response(&self.config, &request);
        }
        if end_of_stream || !self.config.sides.request() {
            return Action::Continue;
        }
        match message::prepare(&self.config, &request) {
            Plan::Scan => self.request = Some(Scanner::default()),
            Plan::Leave => {}
            Plan::Refuse => return self.refuse(415, "encoded request bodies are not accepted\n"),
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.body(BufferType::HttpRequestBody, size, end_of_stream)
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.flush(BufferType::HttpRequestBody)
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if end_of_stream || !self.config.sides.response() {
            return Action::Continue;
        }
        match message::prepare(&self.config, &Host(MapType::HttpResponseHeaders)) {
            Plan::Scan => self.response = Some(Scanner::default()),
            Plan::Leave => {}
            Plan::Refuse => return self.refuse(502, "encoded response bodies are not accepted\n"),
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.body(BufferType::HttpResponseBody, size, end_of_stream)
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.flush(BufferType::HttpResponseBody)
    }
}

impl Stream {
    fn scanner(&mut self, buffer: BufferType) -> &mut Option<Scanner> {
        match buffer {
            BufferType::HttpRequestBody => &mut self.request,
            _ => &mut self.response,
        }
    }

    fn body(&mut self, buffer: BufferType, size: usize, end_of_stream: bool) -> Action {
        let config = Rc::clone(&self.config);
        let Some(scanner) = self.scanner(buffer) else { return Action::Continue };
        let chunk = match size {
            0 => Vec::new(),
            size => hostcalls::get_buffer(buffer, 0, size).ok().flatten().unwrap_or_default(),
        };
        let ending = if end_of_stream { Ending::Final } else { Ending::Open };
        if let Output::Replaced(text) = scanner.feed(&config.patterns, &chunk, ending) {
            let _ = hostcalls::set_buffer(buffer, 0, chunk.len(), &text);
        }
        if end_of_stream {
            *self.scanner(buffer) = None;
        }
        Action::Continue
    }

    /// Trailers end a body whose last chunk did not say that it was the last: what was kept back
    /// is appended to it.
    fn flush(&mut self, buffer: BufferType) -> Action {
        let config = Rc::clone(&self.config);
        let Some(mut scanner) = self.scanner(buffer).take() else { return Action::Continue };
        if let Output::Replaced(text) = scanner.feed(&config.patterns, b"", Ending::Final) {
            let _ = hostcalls::set_buffer(buffer, usize::MAX, 0, &text);
        }
        Action::Continue
    }

    fn refuse(&self, status: u32, body: &str) -> Action {
        self.send_http_response(
            status,
            vec![("content-type", "text/plain; charset=utf-8")],
            Some(body.as_bytes()),
        );
        Action::Pause
    }
}

/// One of the host's header maps. Failures are left to the host: its answer to these calls is
/// "done" for every name and value that is used here.
struct Host(MapType);

impl Headers for Host {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(self.0, name).ok().flatten()
    }

    fn set(&self, name: &str, value: &[u8]) {
        let _ = hostcalls::set_map_value_bytes(self.0, name, Some(value));
    }

    fn remove(&self, name: &str) {
        let _ = hostcalls::remove_map_value(self.0, name);
    }
}
