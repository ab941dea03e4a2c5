//! `tollgate filter test`: cases for a filter.

use std::path::PathBuf;

use super::{CacheArgs, Exit, cannot, compiled};
use crate::cli::verdicts::{Options, Subject, Tested};
use crate::policy::cases;
use crate::workbench::cases::run;

/// Run test cases against a filter, without a gateway.
///
/// Each case starts the filter in a VM of its own, takes requests through it, plays the upstream and
/// the servers that it calls, and compares what comes out. Header fields are as the case writes them:
/// what the gateway adds itself (x-request-id, x-forwarded-*) is not there unless it is written.
/// Exit code 0: all passed; 1: a case failed; 2: the cases or the module cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The module, or a script (`.lua`, `.star`).
    module: PathBuf,
    /// The cases.
    cases: PathBuf,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    cache: CacheArgs,
}

const EXAMPLE: &str = "\
Example:
  tollgate filter test filters/dist/rules.wasm filters/rules/tests.yaml --junit report.xml

A cases file:
  filter:                                  # as `filters.NAME.wasm` in a policy, without `module`
    config: { default: allow, rules: [{ action: deny, paths: [{ prefix: /admin }] }] }
                                           # of a script, as `filters.NAME.lua` without `file`
  cases:
    - name: the admin pages are closed
      request: { method: GET, path: /admin, headers: { x-who: ada } }
      expect: { reply: { status: 403 } }
    - name: the rest is not
      request: { path: /, body: [in two, pieces], client: 192.0.2.7 }
      response: { status: 200, headers: { server: origin }, body: hello }
      expect:
        request: { headers: { x-who: { absent: true } }, body: in twopieces }
        response: { status: 200, body: { contains: hell } }
        logs: [let it pass]

A case may have its own `config`, `vm_config`, `environment` and `timeout`; several `exchanges`; `ticks`
of the filter's timer before a request; and `calls: { UPSTREAM: [ANSWER, …] }` for its side calls.
`expect` takes `reply`, `failure`, `closed` or `waiting`; `request`, `response`, `logs`, `metrics`,
`properties`, `shared_data`, `calls`, `failures`. A text is compared whole; `{ contains: … }`,
`{ regex: … }`, `{ absent: true }` and a list of values ask for less or more. With `refused: TEXT` the
filter must not start.";

pub(super) fn test(args: &Args) -> Exit {
    try_test(args).unwrap_or_else(|exit| exit)
}

fn try_test(args: &Args) -> Result<Exit, Exit> {
    let mut cases = cases::load(&args.cases, &args.module).map_err(|findings| {
        eprint!("{findings}");
        Exit::CannotRun
    })?;
    cases.cases.retain(|case| args.options.wants(&case.name));
    if cases.cases.is_empty() {
        return Err(args.options.none_left(std::slice::from_ref(&args.cases)));
    }
    let compiled = compiled(&args.cache.open()?, &cases.filter)?;
    let teller = args.options.teller(&args.cases);
    let verdicts = run(&cases, &compiled, |verdict| teller.case(verdict)).map_err(|error| cannot(&error))?;
    teller.sum_up(&verdicts);
    let tested = [Tested { file: args.cases.clone(), verdicts }];
    args.options.conclude(Subject::Module(&args.module), &tested)
}
