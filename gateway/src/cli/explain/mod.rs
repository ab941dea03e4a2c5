//! `tollgate explain`: which route a request would take, through what, and why not another.
//!
//! By the policy of a file ([`crate::explain`] works it out, nothing is started or sent) or, for `@running`, by
//! a running gateway, which is asked over its admin API.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::remote::{self, Admin};
use super::{CacheArgs, Exit};
use crate::explain::{Field, Inquiry, NEAREST, Text, explain as explain_request};

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
    tollgate explain @running GET http://api.example.com/v1/orders\n  \
    tollgate explain policy.yaml GET / --from 203.0.113.7 --json | jq .route.name")]
pub(super) struct Args {
    /// The policy: a file, or a folder of them; `@running`: the policy of a running gateway.
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
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    admin: Admin,
}

/// What stands for the policy of a running gateway.
const RUNNING: &str = "@running";

pub(super) fn explain(args: &Args) -> Exit {
    if args.policy.as_os_str() == RUNNING {
        return ask_running(args);
    }
    let loaded = match args.cache.load(&args.policy) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprint!("{findings}");
            return Exit::BadPolicy;
        }
    };
    eprint!("{}", loaded.warnings);
    let nearest = if args.all { usize::MAX } else { NEAREST };
    let report = match explain_request(&loaded.policy, &inquiry(args), nearest) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("tollgate: {error}");
            return Exit::Usage;
        }
    };
    match args.json {
        // Plain data with text keys: there is nothing in it that JSON could not say.
        true => outln!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
        false => out!("{}", Text(&report)),
    }
    if report.route.is_some() { Exit::Done } else { Exit::Failed }
}

fn inquiry(args: &Args) -> Inquiry {
    let Args { method, url, headers, from, .. } = args;
    Inquiry { method: method.clone(), url: url.clone(), headers: headers.clone(), from: *from }
}

fn ask_running(args: &Args) -> Exit {
    let headers: Vec<String> = args.headers.iter().map(ToString::to_string).collect();
    let question = json!({
        "method": args.method.as_str(),
        "url": args.url.to_string(),
        "headers": headers,
        "from": args.from,
        "all": args.all,
    });
    let format = if args.json { remote::Format::Json } else { remote::Format::Text };
    let body = Bytes::from(question.to_string());
    match remote::ask(&args.admin, Method::POST, "/policy/explain", format, body) {
        Ok(answer) => answer.print_verdict(),
        Err(failure) => remote::failed(&failure),
    }
}
