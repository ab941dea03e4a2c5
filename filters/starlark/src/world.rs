//! All scripts and exchanges of this instance, and running handlers.
//!
//! A handler runs on a heap of its own. It ends by returning, by an answer (`respond`) or by an error, which is
//! logged with its traceback and told to the gateway, which ends the exchange as the filter's `on_failure` says;
//! the instance goes on. One that has made a call is waited for: its heap is frozen with the function that goes on,
//! which then runs on a heap of its own as the handler did.

use std::cell::RefCell;
use std::collections::HashMap;

use starlark::environment::Module;
use starlark::eval::Evaluator;
use starlark::values::{OwnedFrozenValue, Value};
use tollgate_guest::abi::{self, Buffer, Side};
use tollgate_guest::failure;

use crate::api::{self, Answer, Print};
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

/// Scripts by plugin, exchanges by stream, calls by token.
#[derive(Default)]
pub(crate) struct World {
    scripts: HashMap<u32, Script>,
    exchanges: HashMap<u32, Exchange>,
    calls: HashMap<u32, Call>,
}

/// An exchange, from its first handler to its end.
struct Exchange {
    script: u32,
    /// The handlers that wait, by side.
    is_waiting: [bool; 2],
}

/// A handler that waits for an answer.
struct Call {
    script: u32,
    /// The exchange; 0 for a tick.
    context: u32,
    handler: Handler,
    /// The function that goes on.
    then: OwnedFrozenValue,
}

/// What a function of the script is given.
enum Given {
    /// What its handler sees.
    Phase,
    /// How a call has ended.
    Answer(Option<Answer>),
}

/// How a handler came out.
enum Outcome {
    Done,
    /// It goes on by this function when the call of this token has ended.
    Waits(u32, OwnedFrozenValue),
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
        if script.handler(Handler::Tick).is_some() && script.tick > 0 {
            abi::set_tick(script.tick);
        }
        self.scripts.insert(id, script);
    }

    /// An exchange begins.
    pub(crate) fn begin(&mut self, context: u32, script: u32) {
        self.exchanges.insert(context, Exchange { script, is_waiting: [false; 2] });
    }

    /// An exchange, or a script, has ended.
    pub(crate) fn end(&mut self, context: u32) {
        let ended = match self.exchanges.remove(&context) {
            // Its calls are not many, and it has one only if its end is an early one.
            Some(exchange) => exchange.is_waiting.contains(&true),
            None => self.scripts.remove(&context).is_some(),
        };
        if ended {
            self.calls.retain(|_, call| call.context != context && call.script != context);
        }
    }

    /// A phase of an exchange.
    pub(crate) fn on_headers(&mut self, context: u32, handler: Handler) -> Action {
        self.run_phase(context, handler)
    }

    /// A piece of a body has come: scripts see it as a whole.
    pub(crate) fn on_body(&mut self, context: u32, handler: Handler, is_last: bool) -> Action {
        let Some(exchange) = self.exchanges.get(&context) else { return Action::Continue };
        let has_handler =
            self.scripts.get(&exchange.script).is_some_and(|script| script.handler(handler).is_some());
        match has_handler {
            // What comes while a handler waits stays with what it has seen.
            true if !is_last || exchange.is_waiting[side(handler) as usize] => Action::Pause,
            true => self.run_phase(context, handler),
            false => Action::Continue,
        }
    }

    fn run_phase(&mut self, context: u32, handler: Handler) -> Action {
        let Some(exchange) = self.exchanges.get_mut(&context) else { return Action::Continue };
        let Some(script) = self.scripts.get(&exchange.script) else { return Action::Continue };
        let Some(function) = script.handler(handler) else { return Action::Continue };
        match run(script, function, handler, Given::Phase) {
            Outcome::Done => Action::Continue,
            Outcome::Answered => Action::Pause,
            Outcome::Failed(error) => fail(&error),
            Outcome::Waits(token, then) => {
                exchange.is_waiting[side(handler) as usize] = true;
                self.calls.insert(token, Call { script: exchange.script, context, handler, then });
                Action::Pause
            }
        }
    }

    /// The timer of a script went off.
    pub(crate) fn on_tick(&mut self, id: u32) {
        let Some(script) = self.scripts.get(&id) else { return };
        let Some(function) = script.handler(Handler::Tick) else { return };
        let outcome = run(script, function, Handler::Tick, Given::Phase);
        self.after_tick(id, outcome);
    }

    /// There is no exchange that could end by what became of a tick.
    fn after_tick(&mut self, script: u32, outcome: Outcome) {
        match outcome {
            Outcome::Waits(token, then) => {
                self.calls.insert(token, Call { script, context: 0, handler: Handler::Tick, then });
            }
            Outcome::Failed(error) => report::log(&error.whole),
            Outcome::Done | Outcome::Answered => {}
        }
    }

    /// A call has ended; without headers, it has failed.
    pub(crate) fn on_call_response(&mut self, token: u32, headers: u32) {
        let Some(call) = self.calls.remove(&token) else { return };
        let Some(script) = self.scripts.get(&call.script) else { return };
        let answer = (headers > 0).then(Answer::read);
        if call.handler == Handler::Tick {
            let outcome = run(script, &call.then, call.handler, Given::Answer(answer));
            return self.after_tick(call.script, outcome);
        }
        let Some(exchange) = self.exchanges.get_mut(&call.context) else { return };
        if !abi::set_context(call.context) {
            return;
        }
        let side = side(call.handler);
        let outcome = run(script, &call.then, call.handler, Given::Answer(answer));
        exchange.is_waiting[side as usize] = matches!(outcome, Outcome::Waits(..));
        match outcome {
            Outcome::Waits(token, then) => {
                self.calls.insert(token, Call { then, ..call });
            }
            Outcome::Failed(error) => {
                fail(&error);
            }
            Outcome::Answered => {}
            Outcome::Done => abi::resume(side),
        }
    }
}

/// Tells the gateway that the script has failed.
fn fail(error: &Failure) -> Action {
    report::log(&error.whole);
    failure::fail(&error.reason, is_budget_low());
    Action::Pause
}

fn side(handler: Handler) -> Side {
    match handler {
        Handler::Request | Handler::RequestBody => Side::Request,
        _ => Side::Response,
    }
}

/// Runs a function of the script: a handler, or what goes on for it.
fn run(script: &Script, function: &OwnedFrozenValue, handler: Handler, given: Given) -> Outcome {
    let limit = Limit::begin(script.memory);
    api::begin(handler, &script.filter);
    let outcome = Module::with_temp_heap(|module| {
        let outcome = evaluate(script, function, handler, given, &module, &limit);
        match (outcome, api::called()) {
            (Outcome::Done, Some(token)) => wait(script, token, module),
            (outcome, _) => outcome,
        }
    });
    api::end();
    outcome
}

fn evaluate<'v>(
    script: &Script,
    function: &OwnedFrozenValue,
    handler: Handler,
    given: Given,
    module: &Module<'v>,
    limit: &Limit,
) -> Outcome {
    let mut eval = Evaluator::new(module);
    limit.discount();
    // The size is not zero and was not set before.
    let _ = eval.set_max_callstack_size(CALLS_MAX);
    eval.set_print_handler(&Print);
    eval.set_check_cancelled(Box::new(|| limit.ends()));
    let heap = eval.heap();
    let function = heap.access_owned_frozen_value(function);
    let is_first = matches!(given, Given::Phase);
    let arguments = match given {
        Given::Phase => api::arguments(handler, heap),
        Given::Answer(answer) => api::further_arguments(handler, answer, heap),
    };
    match eval.eval_function(function, &arguments, &[]) {
        // However the script went on after its answer: the answer stands.
        _ if api::has_answered() => Outcome::Answered,
        Ok(value) => replace_body(script, handler, is_first, value),
        Err(error) => Outcome::Failed(Failure::new(&script.name, &error, limit.exceeded())),
    }
}

/// Keeps the function that goes on, with what it knows.
fn wait(script: &Script, token: u32, module: Module<'_>) -> Outcome {
    match module.freeze() {
        // It was set by the call that gave the token.
        Ok(frozen) => frozen.owned_extra_value().map_or(Outcome::Done, |then| Outcome::Waits(token, then)),
        Err(error) => {
            let said = format!("what `then` knows cannot be kept: {error:?}");
            Outcome::Failed(Failure::of_result(&script.name, &said))
        }
    }
}

/// What a body's handler returns takes the place of what it saw.
fn replace_body(script: &Script, handler: Handler, is_first: bool, value: Value<'_>) -> Outcome {
    let buffer = match handler {
        Handler::RequestBody => Buffer::RequestBody,
        Handler::ResponseBody => Buffer::ResponseBody,
        Handler::Request | Handler::Response | Handler::Tick | Handler::Log => return Outcome::Done,
    };
    if value.is_none() {
        return Outcome::Done;
    }
    let Some(bytes) = api::octets(value) else {
        let said = format!("a body's handler returns text, bytes or None, not {}", value.get_type());
        return Outcome::Failed(Failure::of_result(&script.name, &said));
    };
    if !is_first {
        let said = "a body cannot be replaced after http_call: it has been seen already";
        return Outcome::Failed(Failure::of_result(&script.name, said));
    }
    match abi::set_buffer(buffer, bytes) {
        Ok(()) => Outcome::Done,
        Err(status) => {
            let said = format!("the body was not replaced: {status}");
            Outcome::Failed(Failure::of_result(&script.name, &said))
        }
    }
}
