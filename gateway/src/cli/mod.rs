//! The command line: arguments, subcommands, exit codes.
//!
//! One file a subcommand: [`run`], [`check`], [`mod@test`], [`mod@schema`], [`explain`], [`mod@diff`], [`mod@filter`], [`remote`], [`shadow`], [`demo`], [`upstream`],
//! and the compiler's process, which the gateway starts itself. What is asked for goes to standard output, what is told about it
//! to standard error.
//!
//! | Code | Meaning |
//! | --- | --- |
//! | 0 | done; for `run` also: drained after SIGTERM or SIGINT |
//! | 1 | `check`: the policy has errors; `test`: a case failed; `explain`: no route takes the request; `diff`: something would change; `demo`: a step did not do what it should; `reload`, `rollback`, `rollout`, `shadow`, and `diff` with a running gateway: refused; `filter`: see there |
//! | 2 | `filter`, `test`: what was asked for could not be done; `history`, `reload`, `rollback`, `rollout`, `shadow`: the gateway cannot be asked |
//! | 64 | the command line is wrong |
//! | 65 | `run`, `test`, `explain`, `diff`: the policy is wrong, or a filter of it does not start |
//! | 70 | the gateway or its machine failed: a port is taken, a folder cannot be written |
//! | 128 + n | `run`: ended at once by a second signal n |

#[macro_use]
mod out;

mod admin_sockets;
mod check;
mod compile;
mod demo;
mod diff;
mod explain;
mod filter;
mod first;
mod folders;
mod lifetime;
mod modules;
mod remote;
mod run;
mod schema;
mod shadow;
mod signals;
mod style;
mod test;
mod upstream;
mod verdicts;

use std::process::ExitCode;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use self::modules::{CacheArgs, cannot, fetcher, told_after_a_second};
use crate::generation::modules::COMPILE_SUBCOMMAND;

/// How a command ended, as the table above says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done,
    Failed,
    CannotRun,
    Usage,
    BadPolicy,
    Internal,
}

/// An edge gateway whose filters are Wasm modules and whose policy changes while traffic flows.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Test(test::Args),
    Schema(schema::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    History(remote::HistoryArgs),
    Reload(remote::ReloadArgs),
    Rollback(remote::RollbackArgs),
    Rollout(remote::RolloutArgs),
    Shadow(shadow::Args),
    #[command(subcommand)]
    Filter(filter::Command),
    Upstream(upstream::Args),
    Demo(demo::Args),
    #[command(name = COMPILE_SUBCOMMAND, hide = true)]
    Compile(compile::Args),
}

const EXAMPLES: &str = "\
Examples:
  tollgate demo                          a tour with real requests
  tollgate check policy.yaml             what is wrong with a policy, and where
  tollgate test policy.yaml cases.yaml   test cases for a policy, through the real chain
  tollgate schema                        the JSON schema of policies, for editors
  tollgate explain policy.yaml GET /x    which route takes a request, and why
  tollgate diff old.yaml new.yaml        what a reload would change
  tollgate run policy.yaml               serve it; edit the file, and the gateway follows
  tollgate history                       the policies that a running gateway had
  tollgate rollback                      back to the one before, at once
  tollgate rollout status                a policy that comes into force in steps; promote, abort
  tollgate shadow new.yaml               what a policy would do with the traffic, with no effect
  tollgate filter inspect M.wasm         what a module needs, and whether it would load
  tollgate filter test M.wasm tests.yaml test cases for a filter, no gateway running
  tollgate filter bench M.wasm           what a filter costs
  tollgate filter record NAME -o FILE    what a filter of a running gateway is given and makes of it
  tollgate filter replay M.wasm FILE     what a module makes of that
  tollgate upstream --listen [::1]:9000  something to send requests to

While it runs (the address is `admin` in the policy):
  curl 127.0.0.1:9901/status             generation, filters, the last refused policy
  curl 127.0.0.1:9901/metrics            for Prometheus
  curl -X POST 127.0.0.1:9901/policy/reload
  kill -HUP PID                          reload, and open the access log anew
  kill PID                               finish what runs, then end

Exit codes: 0 done, or yes; 1 no: a check, a test or the demo failed, diff found differences, explain no route, the
running gateway refused; 2 it could not be tried, or no gateway could be asked; 64 wrong usage, 65 bad policy, 70 internal.";

/// The whole program.
pub fn main() -> ExitCode {
    let begun = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Command::Run(args) => run::run(&args, begun),
        Command::Check(args) => check::check(&args).into(),
        Command::Test(args) => test::test(&args).into(),
        Command::Schema(args) => schema::schema(&args).into(),
        Command::Explain(args) => explain::explain(&args).into(),
        Command::Diff(args) => diff::diff(&args).into(),
        Command::History(args) => remote::history(&args).into(),
        Command::Reload(args) => remote::reload(&args).into(),
        Command::Rollback(args) => remote::roll_back(&args).into(),
        Command::Rollout(args) => remote::rollout(&args).into(),
        Command::Shadow(args) => shadow::run(&args).into(),
        Command::Filter(command) => filter::run(command).into(),
        Command::Upstream(args) => upstream::run(&args).into(),
        Command::Demo(args) => demo::run(&args).into(),
        Command::Compile(args) => compile::run(args),
    }
}

/// Help and version were asked for; anything else is a mistake.
fn usage(error: &clap::Error) -> ExitCode {
    // There is nowhere to tell that the terminal is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done.into(),
        _ => Exit::Usage.into(),
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::CannotRun => 2,
            Exit::Usage => 64,
            Exit::BadPolicy => 65,
            Exit::Internal => 70,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_compiler_is_started_with_one_argument() {
        let cli = Cli::try_parse_from(["tollgate", COMPILE_SUBCOMMAND, "{\"level\":\"O0\"}"]).unwrap();
        assert!(matches!(cli.command, Command::Compile(_)));
    }

    #[test]
    fn wrong_usage_is_told_apart_from_help() {
        let code = |args: &[&str]| {
            let error = Cli::try_parse_from(args).unwrap_err();
            matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
        };
        assert!(code(&["tollgate", "--help"]));
        assert!(code(&["tollgate", "run", "--help"]));
        assert!(!code(&["tollgate", "run"]));
        assert!(!code(&["tollgate", "run", "p.yaml", "--workers", "0"]));
    }
}
