//! All scripts, exchanges and calls of this instance, and running handlers.
//!
//! A handler runs in a thread of its script. It ends by returning, by an answer (`respond`), by an error,
//! or it waits for the answer to a call: then the exchange is held until the thread is resumed and ends.
//!
//! An error is logged with its traceback and told to the gateway ([`fail`]), which ends the exchange as the
//! filter's `on_failure` says; the instance goes on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::abi::{self, Buffer, Side};
use crate::api::{self, exchange::Objects};
use crate::lua::{self, Lua, Resumed};
use crate::script::{BodyMode, Handler, Script, Thread, log_error};

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
    static RUN: Run = Run::default();
}

/// What the host does next with what a callback saw.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Continue = 0,
    Pause = 1,
}

/// The handler that runs, as the functions it calls see it.
#[derive(Default)]
pub(crate) struct Run {
    /// The exchange, 0 outside one.
    context: Cell<u32>,
    /// The handler's own thread.
    thread: Cell<usize>,
    /// The handler waits for this call.
    called: Cell<Option<u32>>,
    /// The handler has answered.
    answered: Cell<bool>,
}

impl Run {
    /// The exchange, if this is its number.
    pub(crate) fn is_current(context: u32) -> bool {
        context != 0 && RUN.with(|run| run.context.get() == context)
    }

    /// Whether there is an exchange.
    pub(crate) fn in_exchange() -> bool {
        RUN.with(|run| run.context.get() != 0)
    }

    /// Whether a handler runs.
    pub(crate) fn in_handler() -> bool {
        RUN.with(|run| run.thread.get() != 0)
    }

    /// Whether this thread is the handler's own, and not one that the script made.
    pub(crate) fn is_handler(lua: &Lua) -> bool {
        RUN.with(|run| run.thread.get() == lua.raw() as usize)
    }

    /// Notes that the handler waits for a call.
    pub(crate) fn wait_for(token: u32) {
        RUN.with(|run| run.called.set(Some(token)));
    }

    /// Notes that the handler has answered.
    pub(crate) fn answer() {
        RUN.with(|run| run.answered.set(true));
    }
}

/// Scripts by plugin, exchanges by stream, calls by token.
#[derive(Default)]
pub(crate) struct World {
    scripts: HashMap<u32, Script>,
    exchanges: HashMap<u32, Exchange>,
    calls: HashMap<u32, Call>,
}

/// An exchange, from its first handler to its end.
pub(crate) struct Exchange {
    script: u32,
    objects: Objects,
    /// The handlers that wait, by side.
    is_waiting: [bool; 2],
}

/// A handler that waits for an answer.
struct Call {
    script: u32,
    /// The exchange; 0 for a tick.
    context: u32,
    handler: Handler,
    thread: Thread,
}

/// How a handler came out.
enum Outcome {
    /// Whatever it returned has been dealt with.
    Done,
    Waits(u32),
    Answered,
    Failed(String),
}

/// Runs `f` with everything.
pub(crate) fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(f)
}

impl World {
    /// A script has started.
    pub(crate) fn add_script(&mut self, id: u32, script: Script) {
        if script.handler(Handler::Tick).is_some() && script.options.tick > 0 {
            abi::set_tick(script.options.tick);
        }
        self.scripts.insert(id, script);
    }

    /// An exchange begins.
    pub(crate) fn begin(&mut self, context: u32, script: u32) {
        self.exchanges
            .insert(context, Exchange { script, objects: Objects::default(), is_waiting: [false; 2] });
    }

    /// An exchange, or a script, has ended.
    pub(crate) fn end(&mut self, context: u32) {
        if let Some(exchange) = self.exchanges.remove(&context) {
            if let Some(script) = self.scripts.get(&exchange.script) {
                exchange.objects.release(&script.lua());
            }
        } else if self.scripts.remove(&context).is_some() {
            // Their threads went with the state.
            self.calls.retain(|_, call| call.script != context);
        }
    }

    /// A phase of an exchange.
    pub(crate) fn on_headers(&mut self, context: u32, handler: Handler) -> Action {
        self.run_phase(context, handler, false)
    }

    /// A piece of a body.
    pub(crate) fn on_body(&mut self, context: u32, handler: Handler, is_last: bool) -> Action {
        let Some(exchange) = self.exchanges.get(&context) else { return Action::Continue };
        let Some(script) = self.scripts.get(&exchange.script) else { return Action::Continue };
        if script.handler(handler).is_none() {
            return Action::Continue;
        }
        let mode = match handler {
            Handler::RequestBody => script.options.request_body,
            _ => script.options.response_body,
        };
        // What comes while a handler waits stays with what it has seen.
        if exchange.is_waiting[side(handler) as usize] || (mode == BodyMode::Buffer && !is_last) {
            return Action::Pause;
        }
        self.run_phase(context, handler, is_last)
    }

    fn run_phase(&mut self, context: u32, handler: Handler, is_last: bool) -> Action {
        let Some(exchange) = self.exchanges.get_mut(&context) else { return Action::Continue };
        let Some(script) = self.scripts.get(&exchange.script) else { return Action::Continue };
        let Some(function) = script.handler(handler) else { return Action::Continue };
        let mut thread = None;
        let objects = &mut exchange.objects;
        let outcome = run(script, context, handler, &mut thread, |lua, to| {
            to.lua.push_anchored(function);
            objects.push(lua, context, handler);
            let mut arguments = lua.top();
            lua.move_to(to.lua, arguments);
            if let Some(buffer) = body(handler) {
                let pushed = abi::buffer(buffer, |bytes| to.lua.push(bytes));
                if pushed.is_err() {
                    to.lua.push(b"");
                }
                to.lua.push_boolean(is_last);
                arguments += 2;
            }
            arguments
        });
        match outcome {
            Outcome::Done => Action::Continue,
            Outcome::Answered => Action::Pause,
            Outcome::Failed(reason) => fail(&reason),
            Outcome::Waits(token) => {
                exchange.is_waiting[side(handler) as usize] = true;
                let Some(thread) = thread else { return Action::Continue };
                self.calls.insert(token, Call { script: exchange.script, context, handler, thread });
                Action::Pause
            }
        }
    }

    /// The timer of a script went off.
    pub(crate) fn on_tick(&mut self, id: u32) {
        let Some(script) = self.scripts.get(&id) else { return };
        let Some(function) = script.handler(Handler::Tick) else { return };
        let mut thread = None;
        let outcome = run(script, 0, Handler::Tick, &mut thread, |_, to| {
            to.lua.push_anchored(function);
            0
        });
        if let (Outcome::Waits(token), Some(thread)) = (outcome, thread) {
            self.calls.insert(token, Call { script: id, context: 0, handler: Handler::Tick, thread });
        }
    }

    /// The answer to a call has come; without headers, the call has failed.
    pub(crate) fn on_call_response(&mut self, token: u32, headers: u32) {
        let Some(call) = self.calls.remove(&token) else { return };
        let Some(script) = self.scripts.get(&call.script) else { return };
        let is_there = self.exchanges.contains_key(&call.context);
        // The answer is read before another context becomes the one that is acted on.
        let mut thread = Some(call.thread);
        let outcome =
            run(script, if is_there { call.context } else { 0 }, call.handler, &mut thread, |lua, to| {
                let results = api::http::push_answer(lua, headers);
                lua.move_to(to.lua, results);
                if is_there {
                    abi::set_context(call.context);
                }
                results
            });
        match (outcome, thread) {
            (Outcome::Waits(token), Some(thread)) => {
                self.calls.insert(token, Call { thread, ..call });
            }
            _ if !is_there => {}
            (Outcome::Failed(reason), _) => {
                self.stop_waiting(&call);
                fail(&reason);
            }
            (Outcome::Answered, _) => self.stop_waiting(&call),
            _ => {
                self.stop_waiting(&call);
                if call.handler != Handler::Log {
                    abi::resume(side(call.handler));
                }
            }
        }
    }

    fn stop_waiting(&mut self, call: &Call) {
        if let Some(exchange) = self.exchanges.get_mut(&call.context) {
            exchange.is_waiting[side(call.handler) as usize] = false;
        }
    }
}

/// Starts a thread, or goes on with `thread`, with the arguments that `arguments` puts on its stack. A
/// thread that waits is left in `thread`.
fn run(
    script: &Script,
    context: u32,
    handler: Handler,
    thread: &mut Option<Thread>,
    mut arguments: impl FnMut(&Lua, &Thread) -> i32,
) -> Outcome {
    let is_resumed = thread.is_some();
    let mut result = None;
    let entered = script.protected(|lua| {
        let running = *thread.get_or_insert_with(|| script.thread(lua));
        RUN.with(|run| {
            run.context.set(context);
            run.thread.set(running.lua.raw() as usize);
            run.called.set(None);
            run.answered.set(false);
        });
        let count = arguments(lua, &running);
        let resumed = running.lua.resume(*lua, count);
        result = Some(settle(lua, &running, handler, resumed, is_resumed));
    });
    RUN.with(|run| {
        run.context.set(0);
        run.thread.set(0);
    });
    let outcome = match entered {
        Ok(()) => result.unwrap_or(Outcome::Done),
        Err(error) => {
            log_error(&error);
            Outcome::Failed(error)
        }
    };
    match (&outcome, thread.take()) {
        (Outcome::Waits(_), running) => *thread = running,
        (Outcome::Done, Some(running)) => script.give_back(running),
        (_, Some(running)) => script.discard(running),
        (_, None) => {}
    }
    outcome
}

/// What became of a thread that ran.
fn settle(lua: &Lua, thread: &Thread, handler: Handler, resumed: Resumed, was_resumed: bool) -> Outcome {
    let (called, answered) = RUN.with(|run| (run.called.take(), run.answered.get()));
    match resumed {
        // However the script went on after its answer: the answer stands.
        _ if answered => Outcome::Answered,
        Resumed::Done(results) => match replace_body(thread, handler, results, was_resumed) {
            Ok(()) => Outcome::Done,
            Err(error) => {
                log_error(&error);
                Outcome::Failed(error)
            }
        },
        Resumed::Yielded => match called {
            Some(token) => Outcome::Waits(token),
            None => {
                let error = "a handler cannot yield by itself".to_owned();
                log_error(&error);
                Outcome::Failed(error)
            }
        },
        Resumed::Failed => {
            let text = api::shown(&thread.lua, -1);
            lua.push_traceback(thread.lua);
            log_error(&api::shown(lua, -1));
            Outcome::Failed(text)
        }
    }
}

/// What a body's handler returns takes the place of what it saw.
fn replace_body(thread: &Thread, handler: Handler, results: i32, was_resumed: bool) -> Result<(), String> {
    let Some(buffer) = body(handler) else { return Ok(()) };
    if results == 0 || thread.lua.is_absent(-results) {
        return Ok(());
    }
    let Some(bytes) = thread.lua.bytes(-results) else {
        return Err("a body's handler returns a string or nothing".to_owned());
    };
    if was_resumed {
        return Err("a body cannot be replaced after http_call: it has been seen already".to_owned());
    }
    abi::set_buffer(buffer, bytes).map_err(|status| format!("the body was not replaced: {status}"))
}

/// Tells the gateway that the script has failed.
fn fail(reason: &str) -> Action {
    tollgate_guest::failure::fail(reason, lua::is_budget_low());
    Action::Pause
}

fn side(handler: Handler) -> Side {
    match handler {
        Handler::Request | Handler::RequestBody => Side::Request,
        _ => Side::Response,
    }
}

fn body(handler: Handler) -> Option<Buffer> {
    match handler {
        Handler::RequestBody => Some(Buffer::RequestBody),
        Handler::ResponseBody => Some(Buffer::ResponseBody),
        _ => None,
    }
}
