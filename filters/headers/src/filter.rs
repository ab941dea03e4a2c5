//! The Proxy-Wasm side: contexts and host calls, no logic.

use crate::config::Config;
use crate::operation::{self, Headers, Rendered};
use crate::template::Request;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MapType};
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
                let _ = hostcalls::log(LogLevel::Error, &format!("headers: configuration refused: {error}"));
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
        Some(Box::new(Stream { config, rendered: Rendered::new() }))
    }
}

struct Stream {
    config: Rc<Config>,
    rendered: Rendered,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        // Before the request's own operations, so that a response names what the client sent.
        self.rendered = operation::render(&self.config.response, &Host(MapType::HttpRequestHeaders));
        let request = Host(MapType::HttpRequestHeaders);
        operation::apply(&self.config.request, &request, &request);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let response = Host(MapType::HttpResponseHeaders);
        operation::apply_rendered(&self.config.response, &self.rendered, &response);
        Action::Continue
    }
}

/// One of the host's header maps. Failures are left to the host: its answer to these calls is
/// "done" for every name and value that the configuration lets through.
struct Host(MapType);

impl Headers for Host {
    fn set(&self, name: &str, value: &[u8]) {
        let _ = hostcalls::set_map_value_bytes(self.0, name, Some(value));
    }

    fn add(&self, name: &str, value: &[u8]) {
        let _ = hostcalls::add_map_value_bytes(self.0, name, value);
    }

    fn remove(&self, name: &str) {
        let _ = hostcalls::remove_map_value(self.0, name);
    }
}

impl Request for Host {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(self.0, name).ok().flatten()
    }

    fn client(&self) -> Option<Vec<u8>> {
        hostcalls::get_property(vec!["source", "address"]).ok().flatten()
    }
}
