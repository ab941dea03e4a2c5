//! One script: evaluated once, frozen, and its handlers run many times.
//!
//! Order of a start: the modules that it loads, each once, as `load` asks for them; the script's own code; its
//! handlers. What it has made by then is frozen: a handler that would change it fails.

use std::cell::RefCell;
use std::collections::HashMap;

use starlark::environment::{FrozenModule, Globals, Module};
use starlark::eval::{Evaluator, FileLoader};
use starlark::syntax::{AstModule, Dialect, DialectTypes};
use starlark::values::OwnedFrozenValue;
use tollgate_guest::settings::Settings;

use crate::api::{self, Print};
use crate::limits::Limit;
use crate::report::Failure;

/// Bytes that a script may take while it loads, if a handler may take less: reading a script takes many times its
/// length for a moment.
const LOAD_MEMORY: usize = 16 << 20;
/// Calls within each other.
pub(crate) const CALLS_MAX: usize = 100;

/// The language: Starlark's standard, and of what the interpreter knows beyond it what Python's users expect.
/// Annotations of types are read and not checked.
const DIALECT: Dialect = Dialect {
    enable_keyword_only_arguments: true,
    enable_types: DialectTypes::ParseOnly,
    enable_load_reexport: false,
    enable_top_level_stmt: true,
    enable_f_strings: true,
    ..Dialect::Standard
};

/// What a script may do, by the name of the function that does it.
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

/// A script that runs.
pub(crate) struct Script {
    /// Its filter's name.
    pub(crate) filter: Vec<u8>,
    /// Its file's name.
    pub(crate) name: String,
    /// Bytes that a handler may take.
    pub(crate) memory: usize,
    /// Milliseconds between ticks; 0 for none.
    pub(crate) tick: u32,
    handlers: [Option<OwnedFrozenValue>; HANDLERS.len()],
}

impl Script {
    /// Starts a script. `filter` is its filter's name in the policy.
    ///
    /// # Errors
    /// In words, with file, line and column, if it does not compile or its code fails.
    pub(crate) fn start(filter: Vec<u8>, settings: Settings) -> Result<Self, String> {
        api::begin_loading(&filter);
        let globals = api::globals();
        let parts = Parts {
            settings: &settings,
            globals: &globals,
            limit: Limit::begin(settings.memory.max(LOAD_MEMORY)),
            loaded: RefCell::default(),
            loading: RefCell::default(),
        };
        let module = parts
            .evaluate(&settings.name, &settings.source)
            .map_err(|error| Failure::new(&settings.name, &error, parts.limit.exceeded()).whole)?;
        let handlers = find_handlers(&module).map_err(|said| format!("{}: {said}", settings.name))?;
        let tick = api::take_tick();
        Ok(Self { filter, name: settings.name, memory: settings.memory, tick, handlers })
    }

    /// The function of a handler, if the script has it.
    pub(crate) fn handler(&self, handler: Handler) -> Option<&OwnedFrozenValue> {
        self.handlers[handler as usize].as_ref()
    }
}

fn find_handlers(module: &FrozenModule) -> Result<[Option<OwnedFrozenValue>; HANDLERS.len()], String> {
    let mut found = [const { None }; HANDLERS.len()];
    for (handler, name) in HANDLERS {
        let Some(value) = module.get_option(name).map_err(|error| error.to_string())? else { continue };
        if value.value().get_type() != "function" {
            return Err(format!("`{name}` is not a function"));
        }
        found[handler as usize] = Some(value);
    }
    if found.iter().all(Option::is_none) {
        let names: Vec<&str> = HANDLERS.iter().map(|(_, name)| *name).collect();
        return Err(format!("the script defines no handler; it could define {}", names.join(", ")));
    }
    Ok(found)
}

/// A script with the modules that it loads.
struct Parts<'s> {
    settings: &'s Settings,
    globals: &'s Globals,
    limit: Limit,
    loaded: RefCell<HashMap<String, FrozenModule>>,
    /// From the outermost to the one that is being evaluated.
    loading: RefCell<Vec<String>>,
}

impl Parts<'_> {
    fn evaluate(&self, file: &str, source: &str) -> starlark::Result<FrozenModule> {
        let ast = AstModule::parse(file, source.to_owned(), &DIALECT)?;
        Module::with_temp_heap(|module| {
            module.set("config", module.heap().alloc(&self.settings.config));
            let mut eval = Evaluator::new(&module);
            eval.set_max_callstack_size(CALLS_MAX)?;
            eval.set_loader(self);
            eval.set_print_handler(&Print);
            eval.set_check_cancelled(Box::new(|| self.limit.ends()));
            eval.eval_module(ast, self.globals)?;
            drop(eval);
            module.freeze().map_err(|error| starlark::Error::new_other(anyhow::anyhow!("{error:?}")))
        })
    }
}

impl FileLoader for Parts<'_> {
    fn load(&self, name: &str) -> starlark::Result<FrozenModule> {
        if let Some(module) = self.loaded.borrow().get(name) {
            return Ok(module.clone());
        }
        let refuse = |said: String| Err(starlark::Error::new_other(anyhow::anyhow!(said)));
        let Some(part) = self.settings.modules.get(name) else {
            return refuse(format!("no module `{name}`: list it in the policy, under `modules`"));
        };
        if self.loading.borrow().iter().any(|above| above == name) {
            return refuse(format!("the module `{name}` loads itself"));
        }
        self.loading.borrow_mut().push(name.to_owned());
        let module = self.evaluate(&part.name, &part.source);
        self.loading.borrow_mut().pop();
        let module = module?;
        self.loaded.borrow_mut().insert(name.to_owned(), module.clone());
        Ok(module)
    }
}
