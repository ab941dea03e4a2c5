//! A fault of the host's own code is no trap: it must end the process as it always did, not jump
//! over Rust's frames.

#![allow(clippy::unwrap_used, reason = "tests, with helpers")]

mod common;

use common::{AMPLE, guarded, load};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use tollgate_wasmedge::{Caller, Instance, InstanceLimits, Linker};

/// Set in the process that is to die.
const VICTIM: &str = "TOLLGATE_TEST_VICTIM";

#[test]
fn a_fault_in_host_code_ends_the_process() {
    if std::env::var_os(VICTIM).is_some() {
        fault_in_a_host_function();
        // Reached only if the fault was taken for the guest's: the parent sees a clean exit.
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "a_fault_in_host_code_ends_the_process"]).env(VICTIM, "1");
    let status = victim.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
}

fn fault_in_a_host_function() {
    let module = load(
        r#"(module (import "env" "bug" (func $bug (result i32))) (memory 1)
            (func (export "run") (result i32) (call $bug)))"#,
    );
    guarded(|| {
        let mut linker = Linker::<()>::new();
        linker.func("env", "bug", |_: &mut Caller<'_, ()>, (): ()| {
            // SAFETY: none: this is the bug that the test is about.
            let byte = unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() };
            Ok(i32::from(byte))
        });
        let mut instance = Instance::new(&module, &linker, InstanceLimits::default(), ()).unwrap();
        let run = instance.func::<(), i32>("run").unwrap();
        let _ = instance.call(&run, (), AMPLE);
    });
}
