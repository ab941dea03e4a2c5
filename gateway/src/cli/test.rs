//! `tollgate test`: cases for a whole policy.

use std::path::{Path, PathBuf};

use super::verdicts::{Options, Subject, Tested};
use super::{CacheArgs, Exit, cannot, told_after_a_second};
use crate::generation::Modules;
use crate::generation::canary::{self, CanaryError};
use crate::generation::modules::FilterFaults;
use crate::policy::Loaded;
use crate::policy::cases::{self, Suite};
use crate::workbench::policy::Runner;

/// Run test cases against a policy.
///
/// Each case has a gateway of its own, with the policy's routes, filters, limits and pools, and nothing kept
/// from the case before. Requests come over a socket and take the way that traffic takes; upstreams, and
/// servers that filters may call, are played on loopback. Listeners are not opened, no server of the policy is
/// reached, and the clock of rate limits stands still but for `wait`.
/// Exit code 0: all passed; 1: a case failed; 2: the cases cannot be used; 65: the policy cannot.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// The policy file.
    policy: PathBuf,
    /// The files of cases.
    #[arg(required = true)]
    cases: Vec<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    cache: CacheArgs,
}

const EXAMPLE: &str = "\
Example:
  tollgate test policies/demo.yaml policies/cases/demo.yaml --junit report.xml

A file of cases:
  cases:
    - name: the admin pages are closed
      request: { method: GET, host: shop.example.com, path: /admin, client: 192.0.2.7 }
      expect: { reply: { status: 403 }, filter: guard, route: everything }
    - name: the rest is not, and the upstream is told who serves
      request: { path: /cart, headers: { x-who: ada } }
      response: { status: 200, headers: { server: origin }, body: hello, delay: 10ms }
      expect:
        upstream: shop
        request: { path: /cart, headers: { x-edge: demo, x-who: { absent: true } } }
        response: { status: 200, headers: { server: { absent: true } }, body: { contains: hell } }
    - name: three at once, then one a second
      exchanges:
        - { repeat: 3, request: { path: /limited } }
        - { request: { path: /limited }, expect: { reply: { status: 429 }, filter: slow } }
        - { wait: 1s, request: { path: /limited } }

Requests, answers and expectations are written as for `tollgate filter test`. Without more, a request must
pass: a route takes it, no filter ends it, and the gateway has no answer of its own. Else `expect` takes
`reply` (a filter answered), `failure` (a filter failed; a part of its reason), `error` (the gateway's own
answer, by its word in the access log: `no_route`, `upstream_timeout`, ...), `closed` or `waiting`. Beside
them: `route`, `upstream`, `filter` (the one that ended it), `shadow: { FILTER: VERDICT }`, `request` (as the
upstream got it), `response`, `logs`, `metrics` (of filters), and `calls` (requests that an upstream got).
`calls: { UPSTREAM: [ANSWER, ...] }` of a case or a file gives an upstream a script; beyond its end, or with
none in it, requests to it fail. Servers of `allow.hosts` are named as `host:port`. Redis is not played.";

pub(super) fn test(args: &Args) -> Exit {
    try_test(args).unwrap_or_else(|exit| exit)
}

fn try_test(args: &Args) -> Result<Exit, Exit> {
    let suites = suites(args)?;
    let loaded = args.cache.load(&args.policy).map_err(|findings| refused(&args.policy, &findings))?;
    let modules = started(args, &loaded)?;
    let runner = Runner::new(loaded, modules).map_err(|error| cannot(&error))?;
    let mut tested = Vec::with_capacity(suites.len());
    for (file, suite) in suites {
        let teller = args.options.teller(&file);
        let verdicts = runner.run(&suite, |verdict| teller.case(verdict)).map_err(|error| cannot(&error))?;
        teller.sum_up(&verdicts);
        tested.push(Tested { file, verdicts });
    }
    args.options.conclude(Subject::Policy(&args.policy), &tested)
}

/// The cases that were asked for; what is wrong with any file is told.
fn suites(args: &Args) -> Result<Vec<(PathBuf, Suite)>, Exit> {
    let mut suites = Vec::with_capacity(args.cases.len());
    let mut are_right = true;
    for file in &args.cases {
        match cases::load_suite(file) {
            Ok(mut suite) => {
                suite.cases.retain(|case| args.options.wants(&case.name));
                if !suite.cases.is_empty() {
                    suites.push((file.clone(), suite));
                }
            }
            Err(findings) => {
                eprint!("{findings}");
                are_right = false;
            }
        }
    }
    match (are_right, suites.is_empty()) {
        (false, _) => Err(Exit::CannotRun),
        (true, true) => Err(args.options.none_left(&args.cases)),
        (true, false) => Ok(suites),
    }
}

/// The policy's modules, compiled, once all its filters have started.
fn started(args: &Args, loaded: &Loaded) -> Result<Modules, Exit> {
    let store = args.cache.open()?;
    let faults = |faults: FilterFaults| refused(&args.policy, &faults);
    let modules = told_after_a_second("compiling modules", || store.fetch(&loaded.policy, None));
    let modules = modules.map_err(faults)?;
    match canary::try_start(&loaded.policy, None, &modules) {
        Ok(()) => Ok(modules),
        Err(CanaryError::Faults(found)) => Err(faults(found)),
        Err(CanaryError::Thread(error)) => Err(cannot(&error)),
    }
}

fn refused(policy: &Path, why: &dyn std::fmt::Display) -> Exit {
    eprintln!("tollgate: {}: the policy cannot be used: `tollgate check` says more\n{why}", policy.display());
    Exit::BadPolicy
}
