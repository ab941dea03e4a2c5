//! Filters in Rust, one file each.

pub(crate) mod headers;
pub(crate) mod rate_limit;
