//! All scripts and exchanges of this instance, and running handlers.
//!
//! A handler runs on a heap of its own. It ends by returning, by an answer (`respond`) or by an error, which is
//! logged with its traceback and told to the gateway, which ends the exchange as the filter's `on_failure` says;
//! the instance goes on.

use std::cell::RefCell;
use std::collections::HashMap;

use starlark::environment::Module;
use starlark::eval::Evaluator;
use starlark::values::{OwnedFrozenValue, Value};
use tollgate_guest::abi::{self, Buffer};
use tollgate_guest::failure;

use crate::api::{self, Print};
use crate::limits::{Limit, is_budget_low};
use crate::report::{self, Failure};
use crate::script::{CALLS_MAX, Handler, Script};

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// What the host does next with what a callback saw.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Continue = 0,
    Pause = 1,
}

/// Scripts by plugin, and the plugin of each stream.
#[derive(Default)]
pub(crate) struct World {
    scripts: HashMap<u32, Script>,
    exchanges: HashMap<u32, u32>,
}

/// How a handler came out.
enum Outcome {
    Done,
    Answered,
    Failed(Failure),
}

/// Runs `f` with everything.
pub(crate) fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(f)
}

impl World {
    /// A script has started.
    pub(crate) fn add_script(&mut self, id: u32, script: Script) {
        self.scripts.insert(id, script);
    }

    /// An exchange begins.
    pub(crate) fn begin(&mut self, context: u32, script: u32) {
        self.exchanges.insert(context, script);
    }

    /// An exchange, or a script, has ended.
    pub(crate) fn end(&mut self, context: u32) {
        if self.exchanges.remove(&context).is_none() {
            self.scripts.remove(&context);
        }
    }

    /// A head has come.
    pub(crate) fn on_headers(&self, context: u32, handler: Handler) -> Action {
        match self.script(context, handler) {
            Some((script, function)) => run(script, function, handler),
            None => Action::Continue,
        }
    }

    /// A piece of a body has come: scripts see it as a whole.
    pub(crate) fn on_body(&self, context: u32, handler: Handler, is_last: bool) -> Action {
        match self.script(context, handler) {
            Some(_) if !is_last => Action::Pause,
            Some((script, function)) => run(script, function, handler),
            None => Action::Continue,
        }
    }

    fn script(&self, context: u32, handler: Handler) -> Option<(&Script, &OwnedFrozenValue)> {
        let script = self.scripts.get(self.exchanges.get(&context)?)?;
        Some((script, script.handler(handler)?))
    }
}

fn run(script: &Script, function: &OwnedFrozenValue, handler: Handler) -> Action {
    match call(script, function, handler) {
        Outcome::Done => Action::Continue,
        Outcome::Answered => Action::Pause,
        Outcome::Failed(error) => {
            report::log(&error.whole);
            failure::fail(&error.reason, is_budget_low());
            Action::Pause
        }
    }
}

fn call(script: &Script, function: &OwnedFrozenValue, handler: Handler) -> Outcome {
    let limit = Limit::begin(script.memory);
    api::begin(handler, &script.filter);
    let outcome = Module::with_temp_heap(|module| {
        let mut eval = Evaluator::new(&module);
        limit.discount();
        // The size is not zero and was not set before.
        let _ = eval.set_max_callstack_size(CALLS_MAX);
        eval.set_print_handler(&Print);
        eval.set_check_cancelled(Box::new(|| limit.ends()));
        let heap = eval.heap();
        let function = heap.access_owned_frozen_value(function);
        let result = eval.eval_function(function, &api::arguments(handler, heap), &[]);
        match result {
            // However the script went on after its answer: the answer stands.
            _ if api::has_answered() => Outcome::Answered,
            Ok(value) => replace_body(script, handler, value),
            Err(error) => Outcome::Failed(Failure::new(&script.name, &error, limit.exceeded())),
        }
    });
    api::end();
    outcome
}

/// What a body's handler returns takes the place of what it saw.
fn replace_body(script: &Script, handler: Handler, value: Value<'_>) -> Outcome {
    let buffer = match handler {
        Handler::RequestBody => Buffer::RequestBody,
        Handler::ResponseBody => Buffer::ResponseBody,
        Handler::Request | Handler::Response => return Outcome::Done,
    };
    if value.is_none() {
        return Outcome::Done;
    }
    let Some(bytes) = api::octets(value) else {
        let said = format!("a body's handler returns text, bytes or None, not {}", value.get_type());
        return Outcome::Failed(Failure::of_result(&script.name, &said));
    };
    match abi::set_buffer(buffer, bytes) {
        Ok(()) => Outcome::Done,
        Err(status) => {
            let said = format!("the body was not replaced: {status}");
            Outcome::Failed(Failure::of_result(&script.name, &said))
        }
    }
}
