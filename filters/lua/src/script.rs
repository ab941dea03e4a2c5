//! One script: its state, its handlers, its threads.
//!
//! Order of a start: the state, what scripts see ([`api`]), the script's own code, its handlers. From then
//! on new globals are refused: one that a handler makes by mistake would leak from request to request.

use std::cell::RefCell;
use std::ffi::CString;

use crate::abi::{self, Level};
use crate::api;
use crate::lua::{self, Anchor, Heap, Lua, Raise, Returns, ffi, wrap};
use crate::settings::Settings;

/// Threads kept for the next exchanges.
const FREE_MAX: usize = 64;

/// What a script may do, by the name of the global function that does it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    Request,
    RequestBody,
    Response,
    ResponseBody,
    Tick,
    Log,
}

const HANDLERS: [(Handler, &str); 6] = [
    (Handler::Request, "on_request"),
    (Handler::RequestBody, "on_request_body"),
    (Handler::Response, "on_response"),
    (Handler::ResponseBody, "on_response_body"),
    (Handler::Tick, "on_tick"),
    (Handler::Log, "on_log"),
];

/// How a body reaches a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyMode {
    /// Piece by piece, as it comes.
    Stream,
    /// As a whole.
    Buffer,
}

/// What a script has set with `options`.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub(crate) request_body: BodyMode,
    pub(crate) response_body: BodyMode,
    /// Milliseconds; 0 for never.
    pub(crate) tick: u32,
}

impl Options {
    pub(crate) const DEFAULT: Self =
        Self { request_body: BodyMode::Stream, response_body: BodyMode::Stream, tick: 0 };
}

/// A thread of a script.
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    pub(crate) lua: Lua,
    pub(crate) anchor: Anchor,
}

/// A script that runs.
pub(crate) struct Script {
    heap: Heap,
    handlers: [Option<Anchor>; HANDLERS.len()],
    pub(crate) options: Options,
    free: RefCell<Vec<Thread>>,
}

impl Script {
    /// Starts a script. `filter` is its filter's name in the policy.
    ///
    /// # Errors
    /// In words, with the script's line, if it does not compile or its code fails.
    pub(crate) fn start(filter: &[u8], settings: &Settings) -> Result<Self, String> {
        let heap = Heap::new(settings.memory).ok_or("not enough memory for a script")?;
        let mut script = Self {
            heap,
            handlers: [None; HANDLERS.len()],
            options: Options::DEFAULT,
            free: RefCell::default(),
        };
        let mut error = None;
        script.protected(|lua| {
            api::open(lua, filter, settings);
            error = run_main(lua, settings);
        })?;
        if let Some(error) = error {
            return Err(error);
        }
        script.options = api::take_options();
        script.find_handlers()?;
        Ok(script)
    }

    /// The anchored function of a handler, if the script has it.
    pub(crate) fn handler(&self, handler: Handler) -> Option<Anchor> {
        self.handlers[handler as usize]
    }

    /// The main thread.
    pub(crate) fn lua(&self) -> Lua {
        self.heap.lua()
    }

    /// Runs `f` on the main thread with an empty stack; an error becomes words.
    pub(crate) fn protected(&self, mut f: impl FnMut(&Lua)) -> Result<(), String> {
        let lua = self.lua();
        let is_well = lua.protect(&mut f);
        let result = match lua.bytes(-1) {
            _ if is_well => Ok(()),
            Some(text) => Err(String::from_utf8_lossy(text).into_owned()),
            None => Err("an error that is not text".to_owned()),
        };
        lua.set_top(0);
        result
    }

    /// A thread that is free, or a new one. Throws if there is no memory.
    pub(crate) fn thread(&self, lua: &Lua) -> Thread {
        if let Some(thread) = self.free.borrow_mut().pop() {
            return thread;
        }
        let thread = lua.push_thread();
        Thread { lua: thread, anchor: lua.anchor() }
    }

    /// Takes back a thread that returned.
    pub(crate) fn give_back(&self, thread: Thread) {
        thread.lua.set_top(0);
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_MAX {
            free.push(thread);
        } else {
            self.lua().release(thread.anchor);
        }
    }

    /// Ends a thread that failed or will not be resumed.
    pub(crate) fn discard(&self, thread: Thread) {
        // What it leaves to be closed may fail or run out of memory; it is gone all the same.
        let _ = self.protected(|lua| thread.lua.close_thread(*lua));
        self.lua().release(thread.anchor);
    }

    fn find_handlers(&mut self) -> Result<(), String> {
        let mut found = [None; HANDLERS.len()];
        let mut strange = None;
        self.protected(|lua| {
            lua.push_globals();
            for (handler, name) in HANDLERS {
                match lua.get_raw(1, name) {
                    ffi::FUNCTION => found[handler as usize] = Some(lua.anchor()),
                    ffi::NIL => lua.pop(1),
                    _ => {
                        strange = Some(name);
                        lua.pop(1);
                    }
                }
            }
            seal_globals(lua);
        })?;
        if let Some(name) = strange {
            return Err(format!("`{name}` is not a function"));
        }
        if found.iter().all(Option::is_none) {
            let names: Vec<&str> = HANDLERS.iter().map(|(_, name)| *name).collect();
            return Err(format!("the script defines no handler; it could define {}", names.join(", ")));
        }
        self.handlers = found;
        Ok(())
    }
}

/// Compiles and runs the script's own code; returns the error, with its traceback.
fn run_main(lua: &Lua, settings: &Settings) -> Option<String> {
    // A name with a NUL would only be cut short.
    let name = CString::new(format!("@{}", settings.name)).unwrap_or_default();
    let is_well = lua.load_script(settings.source.as_bytes(), &name) && lua.call_protected(0, 0);
    // What follows is our own work, which the hook must not stop.
    lua::begin_budget();
    // The state goes if this is an error, so that a copy which throws loses nothing that lasts.
    (!is_well).then(|| String::from_utf8_lossy(lua.push_shown(-1)).into_owned())
}

/// Refuses new globals from now on. The globals are on the stack at 1.
fn seal_globals(lua: &Lua) {
    lua.push_table(0, 2);
    lua.push_function(wrap(refuse_global));
    lua.set_raw(-2, "__newindex");
    lua.push_boolean(false);
    lua.set_raw(-2, "__metatable");
    lua.set_metatable(1);
}

fn refuse_global(lua: &Lua) -> Returns {
    let name = String::from_utf8_lossy(lua.push_shown(2)).into_owned();
    Err(Raise(format!(
        "assignment to the undeclared global `{name}`: it would be shared by all requests; write \
         `local {name}`, or use `req.ctx` or `shared`"
    )))
}

/// A line of the script's log.
pub(crate) fn log_error(text: &str) {
    abi::log(Level::Error, text.as_bytes());
}
