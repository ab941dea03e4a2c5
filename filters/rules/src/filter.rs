//! The Proxy-Wasm side: contexts and host calls, no logic.

use crate::config::Config;
use crate::rule::{Request, Verdict};
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
                let _ = hostcalls::log(LogLevel::Error, &format!("rules: configuration refused: {error}"));
                return false;
            }
        }
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream(self.config.clone()?)))
    }
}

struct Stream(Rc<Config>);

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let Verdict::Deny { by, denial } = self.0.decide(&Host) else { return Action::Continue };
        if self.0.log_denied {
            let _ = hostcalls::log(LogLevel::Info, &format!("rules: denied by {by}"));
        }
        let headers = vec![("content-type", &*denial.content_type)];
        self.send_http_response(denial.status.into(), headers, Some(denial.body.as_bytes()));
        Action::Pause
    }
}

/// The request, as the host tells it.
struct Host;

impl Request for Host {
    fn method(&self) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, ":method").ok().flatten()
    }

    fn target(&self) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, ":path").ok().flatten()
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default()
    }

    fn client(&self) -> Option<Vec<u8>> {
        hostcalls::get_property(vec!["source", "address"]).ok().flatten()
    }
}
