//! Why a call did not return.

use std::time::Duration;

/// The reason a guest call ended without a result.
///
/// After any of these the instance can be called again, and the host's memory is untouched. The
/// guest's own data may be half-changed, though: nothing inside the guest is unwound. Throw the
/// instance away unless the module is known to bear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trap {
    /// The guest executed `unreachable`: a Rust panic, a C `abort`.
    #[error("the guest executed `unreachable`")]
    Unreachable,
    /// A memory, table or array access outside its bounds.
    #[error("the guest accessed memory or a table out of bounds")]
    OutOfBounds,
    /// Integer division or remainder by zero.
    #[error("the guest divided an integer by zero")]
    DivideByZero,
    /// An integer division, or a conversion from a float, whose result does not fit.
    #[error("an integer operation of the guest overflowed")]
    IntegerOverflow,
    /// The guest's calls nested deeper than the thread's stack allows.
    #[error("the guest overflowed the call stack")]
    StackOverflow,
    /// A `call_indirect` through an empty or absent table element, or to another type.
    #[error("the guest made an indirect call to a missing or mistyped function")]
    IndirectCall,
    /// The CPU budget of the call is spent.
    #[error("the guest used up its CPU budget after {spent:?}")]
    Budget {
        /// CPU time of the thread that was measured since the first refill of the call.
        spent: Duration,
    },
    /// The guest asked to end itself, as WASI's `proc_exit` does; raised by host functions.
    #[error("the guest exited with status {0}")]
    Exit(u32),
    /// A host function panicked; the panic was contained.
    #[error("a host function panicked")]
    HostPanic,
    /// A host function refused to go on.
    #[error("host function: {0}")]
    Host(&'static str),
    /// Anything else, by WasmEdge's error code (`enum.inc`).
    #[error("the engine ended the call with code {0:#06x}")]
    Other(u32),
}

impl Trap {
    /// The trap for a result code of WasmEdge's Wasm category.
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            0x0404 => Self::DivideByZero,
            0x0405 | 0x0406 => Self::IntegerOverflow,
            0x0407..=0x0409 => Self::OutOfBounds,
            0x040A => Self::Unreachable,
            0x040B..=0x040D => Self::IndirectCall,
            other => Self::Other(other),
        }
    }
}
