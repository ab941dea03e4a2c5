//! The numbers of the Proxy-Wasm ABI, in one place.
//!
//! Every enumeration that crosses the boundary stands in [`types`] and [`status`], with the values of
//! the specification (0.2.1); [`action`] turns what a callback returned into an [`Action`], with the
//! wider codes that guests use in practice. Nothing else in the package knows a wire number.

pub(crate) mod action;
pub(crate) mod status;
pub(crate) mod types;
pub(crate) mod version;

pub use action::{Action, PauseKind};
pub use types::{LogLevel, MapType, MetricType, PeerType, StreamSide};
pub use version::AbiVersion;

/// Declares an enumeration with its wire values and the conversion from what a guest passed.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        $vis enum $name { $($(#[$doc])* $variant = $value,)+ }

        impl $name {
            /// The value for a number a guest passed, if the ABI defines it.
            #[allow(dead_code)] // some enumerations only travel from the host to the guest
            pub(crate) const fn from_wire(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// The number of the ABI.
            #[allow(dead_code)] // others only travel from the guest to the host
            pub(crate) const fn wire(self) -> u32 {
                self as u32
            }
        }
    };
}
pub(crate) use wire_enum;
