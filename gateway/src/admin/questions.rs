//! What people ask about the policy in force: which way a request would go, what another policy would change.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Json, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::control::Control;
use super::guard::Hosts;
use super::routes::wants_json;
use super::upload;
use crate::explain::{Field, Inquiry, NEAREST, Text};

/// Bytes of an uploaded policy with its modules.
pub(super) const UPLOAD_MAX: usize = 64 << 20;
/// Uploads at once: each is held in memory and read.
static UPLOADS: Semaphore = Semaphore::const_new(1);

/// A request that is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default = "loopback")]
    from: IpAddr,
    #[serde(default)]
    all: bool,
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

impl Asked {
    fn inquiry(&self) -> Result<Inquiry, String> {
        let headers =
            self.headers.iter().map(|field| field.parse::<Field>().map_err(|error| error.to_string()));
        Ok(Inquiry {
            method: self.method.parse::<Method>().map_err(|error| error.to_string())?,
            url: self.url.parse::<Uri>().map_err(|error| error.to_string())?,
            headers: headers.collect::<Result<_, _>>()?,
            from: self.from,
        })
    }
}

/// 200 if a route takes it, 404 if none does, each with the report; 400 if the gateway would refuse it.
pub(super) async fn explain<C: Control>(
    State((control, hosts)): State<(Arc<C>, Hosts)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if hosts == Hosts::Any {
        return (StatusCode::FORBIDDEN, "only on a loopback address or a Unix socket\n").into_response();
    }
    let asked = serde_json::from_slice::<Asked>(&body).map_err(|error| error.to_string());
    let (inquiry, all) = match asked.and_then(|asked| Ok((asked.inquiry()?, asked.all))) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match control.explain(inquiry, if all { usize::MAX } else { NEAREST }).await {
        None => no_policy(),
        Some(Err(error)) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        Some(Ok(report)) => {
            let status = if report.route.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            match wants_json(&headers) {
                true => (status, Json(report)).into_response(),
                false => (status, Text(&report).to_string()).into_response(),
            }
        }
    }
}

/// 200 if nothing would change, 409 if something would, each with the comparison; 422 if the policy is wrong.
/// On a Unix socket only: a policy may name files of the gateway's machine.
pub(super) async fn diff<C: Control>(
    State((control, hosts)): State<(Arc<C>, Hosts)>,
    request: Request,
) -> Response {
    if hosts != Hosts::Socket {
        return (StatusCode::FORBIDDEN, super::SOCKET_ONLY).into_response();
    }
    // Before the body is read: it may be large.
    let Ok(_place) = UPLOADS.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "another policy is being compared\n").into_response();
    };
    let headers = request.headers().clone();
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejected) => return rejected.into_response(),
    };
    let Some(upload::Upload { source, files }) = upload::decode(body) else {
        return (StatusCode::BAD_REQUEST, "not a policy as `tollgate diff` sends it\n").into_response();
    };
    match control.compare(source, files).await {
        None => no_policy(),
        Some(Err(diagnostics)) => (StatusCode::UNPROCESSABLE_ENTITY, diagnostics.to_string()).into_response(),
        Some(Ok(comparison)) => {
            let status = if comparison.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT };
            match wants_json(&headers) {
                true => (status, Json(comparison)).into_response(),
                false => (status, comparison.to_string()).into_response(),
            }
        }
    }
}

fn no_policy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "no policy is in force\n").into_response()
}
