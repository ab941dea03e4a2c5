//! Routes as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::field::{Entries, Field, FilterUse, OneOrMany};

/// Which requests go where, through which filters. Exactly one of `forward`, `redirect` and `respond`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Route {
    /// For metrics and the log. Default: `route-1`, `route-2`, …
    pub(in super::super) name: Field<String>,
    /// What a request must be like; left out: every request.
    #[serde(rename = "match")]
    pub(in super::super) matches: Field<Match>,
    /// In this order; a response meets them in reverse.
    pub(in super::super) filters: Field<Vec<Field<FilterUse>>>,
    /// It is sent to an upstream.
    pub(in super::super) forward: Field<Forward>,
    /// The client is sent elsewhere.
    pub(in super::super) redirect: Field<Redirect>,
    /// It is answered from here.
    pub(in super::super) respond: Field<Respond>,
}

/// What a request must be like. All of it must hold.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Match {
    /// A host name, `*.` before one, or a list of which one must hold.
    pub(in super::super) host: Field<OneOrMany>,
    /// The path.
    pub(in super::super) path: Field<PathMatch>,
    /// One must hold.
    pub(in super::super) methods: Field<Vec<Field<String>>>,
    /// All must hold; of several values of a name, one must.
    pub(in super::super) headers: Field<Vec<Field<ValueMatch>>>,
    /// The same of query parameters.
    pub(in super::super) query: Field<Vec<Field<ValueMatch>>>,
}

/// Exactly one of these.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(in super::super) struct PathMatch {
    /// The whole path.
    pub(in super::super) exact: Field<String>,
    /// By whole segments: `/v1` takes `/v1` and `/v1/x`, not `/v10`.
    pub(in super::super) prefix: Field<String>,
    /// The whole path matches.
    pub(in super::super) regex: Field<String>,
}

/// A name, and exactly one of the others.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct ValueMatch {
    /// Of the header or query parameter.
    pub(in super::super) name: Field<String>,
    /// It is this.
    pub(in super::super) exact: Field<String>,
    /// The whole of it matches.
    pub(in super::super) regex: Field<String>,
    /// It is there.
    pub(in super::super) present: Field<bool>,
    /// It is not there.
    pub(in super::super) absent: Field<bool>,
}

/// Where a request is sent.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Forward {
    /// The name of an upstream.
    pub(in super::super) upstream: Field<String>,
    /// Takes the place of the matched prefix.
    pub(in super::super) rewrite_prefix: Field<String>,
}

/// Where the client is sent; what is left out is as the request has it.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 308.
    pub(in super::super) status: Field<u64>,
    /// `http` or `https`.
    pub(in super::super) scheme: Field<String>,
    /// A host name.
    pub(in super::super) host: Field<String>,
    /// A port.
    pub(in super::super) port: Field<u64>,
    /// The whole path.
    pub(in super::super) path: Field<String>,
    /// In the place of the matched prefix.
    pub(in super::super) prefix: Field<String>,
}

/// An answer.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Respond {
    /// From 200 to 599.
    pub(in super::super) status: Field<u64>,
    /// Its fields.
    pub(in super::super) headers: Field<Entries<OneOrMany>>,
    /// At most 64KiB.
    pub(in super::super) body: Field<String>,
}
