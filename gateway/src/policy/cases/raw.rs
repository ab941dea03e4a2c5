//! The file as it is written.

use serde::Deserialize;
use serde_yaml::Value;

use super::super::raw::{Duration, Entries, Field, OneOrMany, WasmFilter};

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cases {
    pub(super) filter: Field<WasmFilter>,
    pub(super) calls: Field<Entries<Vec<Field<Answer>>>>,
    pub(super) timeout: Field<Duration>,
    pub(super) cases: Field<Vec<Field<Case>>>,
}

/// The keys of one exchange stand here, or in each entry of `exchanges`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: Field<String>,
    pub(super) config: Field<Value>,
    pub(super) vm_config: Field<Value>,
    pub(super) environment: Field<Entries<String>>,
    pub(super) calls: Field<Entries<Vec<Field<Answer>>>>,
    pub(super) timeout: Field<Duration>,
    pub(super) refused: Field<Value>,
    pub(super) exchanges: Field<Vec<Field<Exchange>>>,
    pub(super) ticks: Field<u64>,
    pub(super) request: Field<Request>,
    pub(super) response: Field<Answer>,
    pub(super) expect: Field<Expect>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Exchange {
    pub(super) ticks: Field<u64>,
    pub(super) request: Field<Request>,
    pub(super) response: Field<Answer>,
    pub(super) expect: Field<Expect>,
}

/// A file of cases for a whole policy.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Suite {
    pub(super) calls: Field<Entries<Vec<Field<Answer>>>>,
    pub(super) timeout: Field<Duration>,
    pub(super) cases: Field<Vec<Field<PolicyCase>>>,
}

/// The keys of one exchange stand here, or in each entry of `exchanges`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PolicyCase {
    pub(super) name: Field<String>,
    pub(super) calls: Field<Entries<Vec<Field<Answer>>>>,
    pub(super) timeout: Field<Duration>,
    pub(super) exchanges: Field<Vec<Field<PolicyExchange>>>,
    pub(super) wait: Field<Duration>,
    pub(super) repeat: Field<u64>,
    pub(super) request: Field<Request>,
    pub(super) response: Field<Answer>,
    pub(super) expect: Field<Expect>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PolicyExchange {
    pub(super) wait: Field<Duration>,
    pub(super) repeat: Field<u64>,
    pub(super) request: Field<Request>,
    pub(super) response: Field<Answer>,
    pub(super) expect: Field<Expect>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Request {
    pub(super) method: Field<String>,
    pub(super) path: Field<String>,
    pub(super) host: Field<String>,
    pub(super) headers: Field<Entries<OneOrMany>>,
    pub(super) body: Field<OneOrMany>,
    pub(super) trailers: Field<Entries<OneOrMany>>,
    pub(super) client: Field<String>,
    pub(super) properties: Field<Entries<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) status: Field<u64>,
    pub(super) headers: Field<Entries<OneOrMany>>,
    pub(super) body: Field<OneOrMany>,
    pub(super) trailers: Field<Entries<OneOrMany>>,
    pub(super) delay: Field<Duration>,
}

/// At most one of `reply`, `failure`, `error`, `closed` and `waiting`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) reply: Field<Message>,
    pub(super) failure: Field<Value>,
    pub(super) error: Field<Value>,
    pub(super) closed: Field<bool>,
    pub(super) waiting: Field<bool>,
    pub(super) request: Field<Message>,
    pub(super) response: Field<Message>,
    pub(super) logs: Field<Vec<Field<Value>>>,
    pub(super) metrics: Field<Entries<u64>>,
    pub(super) properties: Field<Entries<Value>>,
    pub(super) shared_data: Field<Entries<Value>>,
    pub(super) calls: Field<Entries<u64>>,
    pub(super) failures: Field<u64>,
    pub(super) route: Field<Value>,
    pub(super) upstream: Field<Value>,
    pub(super) filter: Field<Value>,
    pub(super) shadow: Field<Entries<Value>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Message {
    pub(super) status: Field<u64>,
    pub(super) method: Field<Value>,
    pub(super) path: Field<Value>,
    pub(super) headers: Field<Entries<Value>>,
    pub(super) body: Field<Value>,
    pub(super) trailers: Field<Entries<Value>>,
}
