//! What a host function answers.

use super::wire_enum;

wire_enum! {
    /// `proxy_status_t`, as far as this host returns it.
    ///
    /// The Rust SDK panics on any status that it does not expect from the function in hand, so each
    /// host function is held to the column "tolerated" of its specification. `InvalidMemoryAccess` is
    /// unknown to that SDK altogether; it can only be provoked by a pointer no SDK passes.
    pub(crate) enum Status {
        Ok = 0,
        NotFound = 1,
        BadArgument = 2,
        SerializationFailure = 3,
        ParseFailure = 4,
        InvalidMemoryAccess = 6,
        Empty = 7,
        CasMismatch = 8,
        InternalFailure = 10,
    }
}

wire_enum! {
    /// `wasi_errno_t`, as far as this host returns it.
    pub(crate) enum Errno {
        Success = 0,
        BadF = 8,
        Fault = 21,
        Inval = 28,
        NoEnt = 44,
        NoSys = 52,
        NotSup = 58,
    }
}
