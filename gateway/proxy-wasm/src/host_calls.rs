//! How often a plugin called which host function.
//!
//! Counting is one addition to a plain cell: the function's place in the table is known when this is
//! compiled, and the plugin is at hand while its callback runs. Whoever shows the figures takes them
//! now and then ([`HostCalls::take`]).

use std::cell::Cell;

/// The functions whose calls are counted, by their names without the module: those of Proxy-Wasm and
/// WASI. A function that is linked and not listed here does not compile.
pub const HOST_FUNCTIONS: [&str; 95] = [
    "proxy_log",
    "proxy_get_log_level",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_set_effective_context",
    "proxy_done",
    "proxy_get_header_map_size",
    "proxy_get_header_map_pairs",
    "proxy_set_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_buffer_bytes",
    "proxy_get_buffer_status",
    "proxy_set_buffer_bytes",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_send_local_response",
    "proxy_continue_stream",
    "proxy_close_stream",
    "proxy_get_status",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_dequeue_shared_queue",
    "proxy_define_metric",
    "proxy_record_metric",
    "proxy_increment_metric",
    "proxy_get_metric",
    "proxy_http_call",
    "proxy_grpc_call",
    "proxy_grpc_stream",
    "proxy_grpc_send",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_call_foreign_function",
    // ABI 0.1.0.
    "proxy_get_configuration",
    "proxy_continue_request",
    "proxy_continue_response",
    "proxy_clear_route_cache",
    // ABI 0.2.100.
    "proxy_redis_init",
    "proxy_redis_call",
    "proxy_get_upstream_hosts",
    "proxy_set_upstream_override_host",
    "proxy_inject_encoded_data_to_filter_chain",
    "proxy_get_upstream_metrics",
    "proxy_override_upstream_host",
    // WASI.
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// How often one plugin called each of [`HOST_FUNCTIONS`] since this was last taken. Calls while the
/// module initialises, before there is a plugin, are not among them.
#[derive(Debug)]
pub struct HostCalls([Cell<u64>; HOST_FUNCTIONS.len()]);

impl Default for HostCalls {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

impl HostCalls {
    /// Counts a call; `function` is from [`index_of`].
    #[inline]
    pub(crate) fn count(&self, function: usize) {
        let count = &self.0[function];
        count.set(count.get().wrapping_add(1));
    }

    /// Passes each function that was called, as its index in [`HOST_FUNCTIONS`], and how often to `f`,
    /// and counts from zero again.
    pub fn take(&self, mut f: impl FnMut(usize, u64)) {
        let counts = self.0.iter().map(Cell::take).enumerate();
        counts.filter(|(_, count)| *count > 0).for_each(|(function, count)| f(function, count));
    }
}

/// The place of a function in [`HOST_FUNCTIONS`].
///
/// # Panics
/// If it is not there; used where constants are made, that is an error of the compiler.
pub(crate) const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < HOST_FUNCTIONS.len() {
        if is_equal(HOST_FUNCTIONS[index].as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("a host function is missing in HOST_FUNCTIONS (host_calls.rs)")
}

/// `==` is not for constants.
const fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_function_and_taken_once() {
        const LOG: usize = index_of("proxy_log");
        const WRITE: usize = index_of("fd_write");
        let calls = HostCalls::default();
        calls.count(LOG);
        calls.count(LOG);
        calls.count(WRITE);
        let taken = || {
            let mut taken = Vec::new();
            calls.take(|function, count| taken.push((HOST_FUNCTIONS[function], count)));
            taken
        };
        assert_eq!(taken(), [("proxy_log", 2), ("fd_write", 1)]);
        assert_eq!(taken(), []);
    }

    #[test]
    fn every_function_has_one_place() {
        for (index, name) in HOST_FUNCTIONS.iter().enumerate() {
            assert_eq!(index_of(name), index, "{name}");
        }
    }
}
