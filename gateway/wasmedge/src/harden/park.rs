//! The thread that stays inside a guest call for ever.

use super::HardenError;
use crate::caller::Caller;
use crate::compile::Artifact;
use crate::instance::{Instance, InstanceLimits};
use crate::linker::Linker;
use crate::module::Module;
use crate::thread::spawn_guarded;
use crate::trap::Trap;
use std::cell::RefCell;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Import module and name through which the guest parks; its one export has the same name.
pub(crate) const PARK: &str = "park";

/// Stack of the parked thread: a host function needs 256 KiB, and it must not be short of them.
const STACK: usize = 1 << 20;

type Report = RefCell<Option<Sender<Result<(), String>>>>;

/// Parks a thread inside a call of the compiled module `artifact` and returns once it is there.
pub(super) fn park(artifact: Artifact) -> Result<(), HardenError> {
    let (report, outcome) = channel();
    let thread = spawn_guarded("tollgate-park", STACK, move || {
        let failure = report.clone();
        if let Err(message) = enter(&artifact, report) {
            // The receiver waits for exactly this or the other report.
            let _ = failure.send(Err(message));
        }
    });
    let thread = thread.map_err(|error| HardenError::Park(error.to_string()))?;
    // Never joined: it lives as long as the process.
    drop(thread);
    outcome.recv().unwrap_or_else(|_| Err("the thread ended".to_owned())).map_err(HardenError::Park)
}

fn enter(artifact: &Artifact, report: Sender<Result<(), String>>) -> Result<(), String> {
    let module = Module::load_unguarded(artifact).map_err(|error| error.to_string())?;
    let mut linker = Linker::<Report>::new();
    linker.func(PARK, PARK, stay);
    let limits = InstanceLimits { memory_pages_max: 1 };
    let mut instance = Instance::new(&module, &linker, limits, RefCell::new(Some(report)))
        .map_err(|error| error.to_string())?;
    let park = instance.func::<(), ()>(PARK).ok_or("the parking module has no such export")?;
    instance.call(&park, (), Duration::MAX).map_err(|trap| trap.to_string())
}

/// The host function: says that it is there, and stays.
fn stay(caller: &mut Caller<'_, Report>, (): ()) -> Result<(), Trap> {
    if let Some(report) = caller.state().take() {
        let _ = report.send(Ok(()));
    }
    loop {
        std::thread::park();
    }
}
