//! The compiling process, seen from outside.

use super::artifact::Facts;
use super::child::{Failure, Job, Report};
use super::error::CompileError;
use super::options::{CompilerOptions, OptLevel};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

/// Largest report; a module's imports and exports are in it.
const REPORT_BYTES: u64 = 8 << 20;
/// How much of the child's chatter is kept for the error message.
const CHATTER_BYTES: usize = 2048;

/// Compiles `wasm` to `output` in a child of its own.
pub(super) fn run(
    options: &CompilerOptions,
    wasm: &[u8],
    level: OptLevel,
    output: &Path,
) -> Result<Facts, CompileError> {
    let failed = |source| CompileError::Spawn { program: options.program.clone(), source };
    let deadline = Instant::now().checked_add(options.time_limit);
    let mut child = spawn(options, level, output).map_err(failed)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    thread::scope(|scope| {
        // A child that ends before it read everything breaks the pipe: its status says more.
        scope.spawn(move || drop(stdin.write_all(wasm)));
        let chatter = scope.spawn(move || tail(stderr));
        let (sender, receiver) = channel();
        scope.spawn(move || {
            let mut report = Vec::new();
            let read = stdout.take(REPORT_BYTES).read_to_end(&mut report).map(|_| report);
            // The receiver goes only after it has decided to kill the child.
            let _ = sender.send(read);
        });
        let report = match deadline {
            Some(at) => receiver.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if report.is_err() {
            // Ends the child and with it the pipes that the other threads read.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        let chatter = chatter.join().unwrap_or_default();
        match report {
            Ok(Ok(report)) => outcome(&report, status, chatter),
            Ok(Err(source)) => Err(failed(source)),
            Err(_) => Err(CompileError::TimeLimit { limit: options.time_limit }),
        }
    })
}

fn spawn(options: &CompilerOptions, level: OptLevel, output: &Path) -> io::Result<Child> {
    let job = Job {
        level,
        output: output.to_owned(),
        cpu_seconds: options.time_limit.as_secs().max(1),
        memory_bytes: options.memory_limit_bytes,
        limits: options.limits,
    };
    let mut command = Command::new(&options.program);
    command.args(&options.args).arg(serde_json::to_string(&job)?);
    // Nothing of the gateway's environment is the compiler's business, but how to find itself.
    command.env_clear();
    for name in ["LD_LIBRARY_PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn outcome(report: &[u8], status: ExitStatus, chatter: String) -> Result<Facts, CompileError> {
    match serde_json::from_slice::<Report>(report) {
        Ok(Ok(facts)) if status.success() => Ok(facts),
        Ok(Err(Failure::Refused(refusal))) => Err(CompileError::Refused(refusal)),
        Ok(Err(Failure::Compiler(message))) => Err(CompileError::Compiler(message)),
        Ok(Ok(_)) | Err(_) => Err(CompileError::Crashed { status: status.to_string(), output: chatter }),
    }
}

/// The end of what `source` yields; the rest is read and dropped, so that the writer never waits.
fn tail(mut source: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = source.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read]);
        let surplus = kept.len().saturating_sub(CHATTER_BYTES);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}
