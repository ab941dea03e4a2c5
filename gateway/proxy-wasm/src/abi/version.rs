//! The versions of the ABI that this host speaks.

/// The ABI a module was built for, by the marker it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbiVersion {
    /// 0.1.0: headers callbacks without `end_of_stream`, four calls that later versions dropped, and
    /// a header that is missing reads as an empty one.
    V0_1_0,
    /// 0.2.0: 0.2.1 without `proxy_get_log_level`.
    V0_2_0,
    /// 0.2.1: the specification.
    V0_2_1,
    /// 0.2.100: Higress's dialect of 0.2.0, with calls to Redis and to the load balancer.
    V0_2_100,
}

impl AbiVersion {
    /// What a marker's name begins with.
    pub const MARKER: &str = "proxy_abi_version_";

    /// A module that exports several markers is served by the first of these.
    pub const ALL: [Self; 4] = [Self::V0_2_1, Self::V0_2_0, Self::V0_2_100, Self::V0_1_0];

    /// The name of the export that marks a module.
    pub const fn marker(self) -> &'static str {
        match self {
            Self::V0_1_0 => "proxy_abi_version_0_1_0",
            Self::V0_2_0 => "proxy_abi_version_0_2_0",
            Self::V0_2_1 => "proxy_abi_version_0_2_1",
            Self::V0_2_100 => "proxy_abi_version_0_2_100",
        }
    }
}
