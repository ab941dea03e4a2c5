//! Which host functions a guest may call.
//!
//! A policy names groups (`headers`, `shared_data`) or single functions (`proxy_set_property`). What is
//! not named is refused; see `host/refused.rs` for how. What a guest cannot live without is always
//! there: log and clock, reading buffers (its configuration is one), the end of contexts, resuming a
//! stream it has paused, foreign functions that reach nothing, and WASI, which reaches nothing either.

/// A set of host functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities(u64);

/// The functions that can be refused, each with its group. The place in the table is the bit.
const FUNCTIONS: [(&str, &str); 38] = [
    ("proxy_get_header_map_size", "headers"),
    ("proxy_get_header_map_pairs", "headers"),
    ("proxy_set_header_map_pairs", "headers"),
    ("proxy_get_header_map_value", "headers"),
    ("proxy_add_header_map_value", "headers"),
    ("proxy_replace_header_map_value", "headers"),
    ("proxy_remove_header_map_value", "headers"),
    ("proxy_set_buffer_bytes", "body_changes"),
    ("proxy_send_local_response", "local_response"),
    ("proxy_close_stream", "local_response"),
    ("proxy_get_property", "properties"),
    ("proxy_set_property", "properties"),
    ("proxy_get_shared_data", "shared_data"),
    ("proxy_set_shared_data", "shared_data"),
    ("proxy_register_shared_queue", "queues"),
    ("proxy_resolve_shared_queue", "queues"),
    ("proxy_enqueue_shared_queue", "queues"),
    ("proxy_dequeue_shared_queue", "queues"),
    ("proxy_define_metric", "metrics"),
    ("proxy_record_metric", "metrics"),
    ("proxy_increment_metric", "metrics"),
    ("proxy_get_metric", "metrics"),
    ("proxy_set_tick_period_milliseconds", "timer"),
    ("proxy_http_call", "http_call"),
    ("proxy_grpc_call", "grpc"),
    ("proxy_grpc_stream", "grpc"),
    ("proxy_grpc_send", "grpc"),
    ("proxy_grpc_cancel", "grpc"),
    ("proxy_grpc_close", "grpc"),
    ("proxy_redis_init", "redis"),
    ("proxy_redis_call", "redis"),
    ("compress", "foreign_functions"),
    ("uncompress", "foreign_functions"),
    ("verify_signature", "foreign_functions"),
    ("sign", "foreign_functions"),
    ("proxy_clear_route_cache", "routing"),
    ("proxy_get_upstream_hosts", "routing"),
    ("proxy_set_upstream_override_host", "routing"),
];

impl Capabilities {
    /// Every function.
    pub const ALL: Self = Self((1 << FUNCTIONS.len()) - 1);
    /// Only what is always there.
    pub const NONE: Self = Self(0);

    /// The functions of a group, or the one function of that name.
    pub fn named(name: &str) -> Option<Self> {
        let bits =
            FUNCTIONS.iter().enumerate().filter(|(_, (function, group))| name == *function || name == *group);
        let set = bits.fold(Self::NONE, |set, (bit, _)| set.union(Self(1 << bit)));
        (set != Self::NONE).then_some(set)
    }

    /// The names of groups, each once.
    pub fn groups() -> impl Iterator<Item = &'static str> {
        let is_first = |at: usize| FUNCTIONS[..at].iter().all(|(_, group)| *group != FUNCTIONS[at].1);
        FUNCTIONS.iter().enumerate().filter(move |(at, _)| is_first(*at)).map(|(_, (_, group))| *group)
    }

    /// All names that [`Capabilities::named`] knows, groups first; each once.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::groups().chain(FUNCTIONS.iter().map(|(function, _)| *function))
    }

    /// What is in the set: a group where it is whole, else single functions.
    pub fn shortest_names(self) -> impl Iterator<Item = &'static str> {
        let has = move |name: &str| Self::named(name).is_some_and(|named| self.union(named) == self);
        let groups = Self::groups().filter(move |group| has(group));
        let functions = FUNCTIONS.iter().filter(move |(function, group)| has(function) && !has(group));
        groups.chain(functions.map(|(function, _)| *function))
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a function may be called.
    pub fn allow(self, function: &str) -> bool {
        if self == Self::ALL {
            return true;
        }
        let bit = FUNCTIONS.iter().position(|(known, _)| *known == function);
        bit.is_none_or(|bit| self.0 & (1 << bit) != 0)
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_functions_have_names() {
        let queues = Capabilities::named("queues").unwrap();
        assert!(queues.allow("proxy_enqueue_shared_queue") && !queues.allow("proxy_http_call"));
        let one = Capabilities::named("proxy_http_call").unwrap();
        assert!(one.allow("proxy_http_call") && !one.allow("proxy_grpc_call"));
        assert!(queues.union(one).allow("proxy_http_call"));
        assert_eq!(Capabilities::named("proxy_htp_call"), None);
        assert!(Capabilities::NONE.allow("proxy_log"), "always there");
    }

    #[test]
    fn whole_groups_are_named_as_such() {
        let some =
            ["queues", "proxy_get_metric", "proxy_http_call"].map(|name| Capabilities::named(name).unwrap());
        let some = some.into_iter().fold(Capabilities::NONE, Capabilities::union);
        assert_eq!(some.shortest_names().collect::<Vec<_>>(), ["queues", "http_call", "proxy_get_metric"]);
        assert_eq!(Capabilities::NONE.shortest_names().next(), None);
    }

    #[test]
    fn names_are_unique_and_known() {
        let mut names: Vec<_> = Capabilities::names().collect();
        let all = names
            .iter()
            .try_fold(Capabilities::NONE, |set, name| Some(set.union(Capabilities::named(name)?)));
        assert_eq!(all, Some(Capabilities::ALL));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
