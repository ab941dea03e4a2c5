//! `tollgate explain`: which route a request would take, through what, and why not another.
//!
//! Order: the policy is read (`policy::load`), the request is made as the gateway would see it
//! (`request`), every route is looked at ([`crate::route::explain`]), and what came of it is put into
//! one report (`report`), which is printed as text (`text`) or JSON. Nothing is started or sent.

mod report;
mod request;
#[cfg(test)]
mod tests;
mod text;

use std::net::IpAddr;
use std::path::PathBuf;

use http::Method;

use super::Exit;
use crate::policy;
use report::Report;
use request::{Field, Question};

/// Say which route takes a request, through which filters, and why the others do not.
///
/// Reads the policy and works out what the gateway would do, without starting or sending anything:
/// the route and those that are nearest, the chain with its settings, what shares a token bucket with
/// the request, and where it would go. Filters are not run: what they do to a request is for
/// `tollgate run` to show. Exit code 1 if no route takes it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tollgate explain policy.yaml GET http://api.example.com/v1/orders?format=full\n  \
    tollgate explain policy.yaml POST /v1/orders -H 'host: api.example.com' -H 'x-api-key: k'\n  \
    tollgate explain policy.yaml GET / --from 203.0.113.7 --json | jq .route.name")]
pub(super) struct Args {
    /// The policy: a file, or a folder of them.
    policy: PathBuf,
    /// The method, such as GET.
    method: Method,
    /// An absolute URL, or a path with a query; then the host comes from -H, or is `localhost`.
    url: http::Uri,
    /// A header field, `name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<Field>,
    /// The address at the other end of the connection.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
    /// Name every route, not only the nearest.
    #[arg(long)]
    all: bool,
}

/// Routes that do not take the request and are named all the same.
const NEAREST: usize = 8;

pub(super) fn explain(args: &Args) -> Exit {
    let loaded = match policy::load(&args.policy) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprint!("{findings}");
            return Exit::BadPolicy;
        }
    };
    eprint!("{}", loaded.warnings);
    let question = match Question::new(args, &loaded.policy.trusted_proxies) {
        Ok(question) => question,
        Err(error) => {
            eprintln!("tollgate: {error}");
            return Exit::Usage;
        }
    };
    let report = Report::new(&loaded.policy, &question, if args.all { usize::MAX } else { NEAREST });
    match args.json {
        // Plain data with text keys: there is nothing in it that JSON could not say.
        true => println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
        false => print!("{}", text::Text(&report)),
    }
    if report.route.is_some() { Exit::Done } else { Exit::Failed }
}
