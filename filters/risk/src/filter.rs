//! The Proxy-Wasm side: contexts and host calls, no logic.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MapType, MetricType};

use crate::config::Config;
use crate::score::{Request, WINDOW};

/// Counts in one step for all workers and forgets the count with its window.
const INCREMENT: &str = "tollgate_shared_data_increment";

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root { rules: None }));
}}

struct Root {
    rules: Option<Rc<Rules>>,
}

/// The configuration and the metrics.
struct Rules {
    config: Config,
    refused: u32,
    scores: u32,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Config::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                let metric = |kind, name| hostcalls::define_metric(kind, name).unwrap_or(0);
                let refused = metric(MetricType::Counter, "risk_refused");
                let scores = metric(MetricType::Histogram, "risk_score");
                self.rules = Some(Rc::new(Rules { config, refused, scores }));
                true
            }
            Err(error) => {
                let _ = hostcalls::log(LogLevel::Error, &format!("risk: configuration refused: {error}"));
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream(self.rules.clone()?)))
    }
}

struct Stream(Rc<Rules>);

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let score = self.score();
        let _ = hostcalls::record_metric(self.0.scores, score.unsigned_abs());
        self.set_property(vec!["risk", "score"], Some(score.to_string().as_bytes()));
        if score > self.0.config.deny_above {
            let _ = hostcalls::increment_metric(self.0.refused, 1);
            let _ = hostcalls::log(LogLevel::Info, &format!("refused at {score}"));
            let score = score.to_string();
            self.send_http_response(403, vec![("x-risk-score", score.as_str())], Some(b"Refused.\n"));
            return Action::Pause;
        }
        self.set_http_request_header("x-risk-score", Some(&score.to_string()));
        Action::Continue
    }
}

impl Stream {
    fn score(&self) -> i64 {
        let config = &self.0.config;
        let [agent, method, target, country, content_type] =
            ["user-agent", ":method", ":path", config.country_header.as_str(), "content-type"].map(header);
        let target = text(&target).unwrap_or_default();
        let address = client();
        config.score(&Request {
            agent: text(&agent).as_deref(),
            method: &text(&method).unwrap_or_default(),
            path: target.split('?').next().unwrap_or_default(),
            country: text(&country).as_deref(),
            has_content_type: content_type.is_some(),
            address,
            count: if config.rate.is_some() { count(address) } else { 0 },
        })
    }
}

fn header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
}

fn text(value: &Option<Vec<u8>>) -> Option<Cow<'_, str>> {
    value.as_deref().map(String::from_utf8_lossy)
}

fn client() -> Option<IpAddr> {
    let address = hostcalls::get_property(vec!["source", "address"]).ok().flatten()?;
    let address: SocketAddr = std::str::from_utf8(&address).ok()?.parse().ok()?;
    Some(address.ip())
}

/// The requests of this client in this window. On a host without such a count, none.
fn count(address: Option<IpAddr>) -> i64 {
    let Some(address) = address else { return 0 };
    let milliseconds = u64::from(WINDOW) * 1000;
    let argument =
        [&1_i64.to_le_bytes(), &milliseconds.to_le_bytes(), format!("risk {address}").as_bytes()].concat();
    let sum = hostcalls::call_foreign_function(INCREMENT, Some(&argument)).ok().flatten();
    sum.and_then(|sum| Some(i64::from_le_bytes(sum.try_into().ok()?))).unwrap_or(0)
}
