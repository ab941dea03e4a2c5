//! `tollgate demo`: a tour with real requests against a real gateway.
//!
//! It starts two processes of this same program, the gateway with a copy of the policy in a folder
//! of its own (so that the tour's edits touch nothing) and the demo upstream, sends requests and
//! shows each with its answer. Every step checks that what it shows is what it promised.
//!
//! Order: [`stage`] sets all up, [`tour`] has the steps, [`load`] the traffic during an edit, [`client`]
//! the requests, [`screen`] how it all looks.
//!
//! However the tour ends, the processes end with it: they are stopped when dropped, and the kernel
//! ends them if this process is killed.

mod client;
mod edit;
mod load;
mod process;
mod screen;
mod stage;
mod tour;

use std::path::PathBuf;
use std::time::Duration;

use self::screen::Screen;
use self::stage::{Stage, StageError};
use super::Exit;

/// Show a gateway at work with real requests.
///
/// Starts the gateway with a copy of the policy and a small upstream, and shows requests with their
/// answers: one that passes, headers set and requests denied by Wasm filters, a burst that ends in
/// 429, an edit of the policy while a load runs, and a broken edit that is refused. Then it stays up
/// for you to try things. `make demo` builds what it needs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate demo\n  tollgate demo --once && echo all steps did what they should"
)]
pub(super) struct Args {
    /// End after the tour instead of staying up; exit code 1 if a step did not do what it should.
    #[arg(long)]
    once: bool,
    /// The policy to show; the tour knows the names in `policies/demo.yaml`.
    #[arg(long, default_value = "policies/demo.yaml", value_name = "FILE")]
    policy: PathBuf,
}

/// How often the processes are looked after while the demo stays up.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(args: &Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tollgate demo: no runtime: {error}");
            return Exit::Internal;
        }
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = show(args) => result,
            result = tokio::signal::ctrl_c() => result.map(|()| Exit::Done).map_err(StageError::Signal),
            () = terminated() => Ok(Exit::Done),
        }
    });
    result.unwrap_or_else(|error| {
        eprintln!("tollgate demo: {error}");
        Exit::Internal
    })
}

async fn show(args: &Args) -> Result<Exit, StageError> {
    let mut screen = Screen::new();
    screen.say("Starting the gateway and an upstream (the first time its filters are compiled) ...");
    let mut stage = Stage::set_up(&args.policy).await?;
    tour::run(&mut stage, &mut screen).await?;
    let exit = if screen.failures() == 0 { Exit::Done } else { Exit::Failed };
    screen.sum_up();
    if args.once {
        return Ok(exit);
    }
    tour::what_to_try(&stage, &screen);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        stage.look_after()?;
    }
}

/// SIGTERM; never, if it cannot be listened for.
async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}
