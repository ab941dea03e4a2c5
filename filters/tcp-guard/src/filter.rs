//! The Proxy-Wasm side: contexts and host calls, no logic.

use crate::config::Config;
use crate::guard::{Guard, Verdict};
use crate::protocol::MAX_PREFIX;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, RootContext, StreamContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel};
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
                let _ =
                    hostcalls::log(LogLevel::Error, &format!("tcp-guard: configuration refused: {error}"));
                return false;
            }
        }
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::StreamContext)
    }

    fn create_stream_context(&self, _id: u32) -> Option<Box<dyn StreamContext>> {
        Some(Box::new(Connection(Guard::new(self.config.clone()?))))
    }
}

struct Connection(Guard);

impl Context for Connection {}

impl StreamContext for Connection {
    fn on_new_connection(&mut self) -> Action {
        let address = hostcalls::get_property(vec!["source", "address"]).ok().flatten();
        self.carry_out(self.0.admit(address.as_deref()))
    }

    fn on_downstream_data(&mut self, size: usize, end_of_stream: bool) -> Action {
        let beginning = match self.0.wants_beginning() {
            true => hostcalls::get_buffer(BufferType::DownstreamData, 0, MAX_PREFIX).ok().flatten(),
            false => None,
        };
        let verdict = self.0.client_data(&beginning.unwrap_or_default(), size, end_of_stream);
        self.carry_out(verdict)
    }

    fn on_upstream_data(&mut self, size: usize, _end_of_stream: bool) -> Action {
        let verdict = self.0.upstream_data(size);
        self.carry_out(verdict)
    }
}

impl Connection {
    fn carry_out(&self, verdict: Verdict) -> Action {
        match verdict {
            Verdict::Pass => Action::Continue,
            Verdict::Hold => Action::Pause,
            Verdict::Deny(reason) => {
                if self.0.config().log_denied {
                    let _ = hostcalls::log(LogLevel::Info, &format!("tcp-guard: closed: {reason}"));
                }
                let _ = hostcalls::close_downstream();
                Action::Pause
            }
        }
    }
}
