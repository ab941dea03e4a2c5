//! Why a module is not taken.

use serde::{Deserialize, Serialize};

/// A reason to refuse a module before it is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The module is larger than the limit.
    #[error("it has {bytes} bytes or more, but may have {limit}")]
    ModuleBytes {
        /// Bytes that were seen.
        bytes: u64,
        /// [`crate::ModuleLimits::module_bytes`].
        limit: u32,
    },
    /// It is not valid WebAssembly, or uses a proposal that is not supported: threads, exception
    /// handling, 64-bit memories, several memories, garbage collection, components.
    #[error("{message} (at offset {offset:#x})")]
    Invalid {
        /// What the validator says.
        message: String,
        /// Byte offset in the module.
        offset: u64,
    },
    /// It imports or exports a name that the metering pass needs.
    #[error("the name `{name}` is reserved")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A function has more locals than the limit.
    #[error("function {function} has {locals} parameters and locals, but may have {limit}")]
    Locals {
        /// Index of the function.
        function: u32,
        /// How many it has.
        locals: u64,
        /// [`crate::ModuleLimits::locals`].
        limit: u32,
    },
    /// A function's code is larger than the limit.
    #[error("function {function} has {bytes} bytes of code, but may have {limit}")]
    BodyBytes {
        /// Index of the function.
        function: u32,
        /// Its size.
        bytes: u64,
        /// [`crate::ModuleLimits::body_bytes`].
        limit: u32,
    },
    /// A function's native frame might be larger than what the guard below the stack catches.
    #[error("function {function} might need a stack frame of {bytes} bytes, but may have {limit}")]
    FrameBytes {
        /// Index of the function.
        function: u32,
        /// Upper bound of its frame.
        bytes: u64,
        /// Fixed by the guard's size.
        limit: u64,
    },
    /// A table starts larger than the limit.
    #[error("table {table} has {elements} elements from the start, but may have {limit}")]
    TableElements {
        /// Index of the table.
        table: u32,
        /// Its declared minimum.
        elements: u64,
        /// [`crate::ModuleLimits::table_elements`].
        limit: u32,
    },
    /// The pass could not take it apart.
    #[error("it cannot be metered: {message}")]
    Rewrite {
        /// What went wrong.
        message: String,
    },
}
