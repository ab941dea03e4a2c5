//! Rust values as parameters and results of WebAssembly functions.
//!
//! Both directions use the same tuples: the unit type, one scalar, or a tuple of up to twelve.
//! Unsigned integers are the same bits as signed ones.

use crate::types::ValType;
use wasmedge_sys::ffi;

pub(crate) type RawValue = ffi::WasmEdge_Value;

/// A type of one WebAssembly value: `i32`, `u32`, `i64`, `u64`, `f32` or `f64`.
pub trait WasmValue: Copy + 'static + sealed::Scalar {}

/// Parameters of a function: `()`, one [`WasmValue`], or a tuple of up to twelve.
pub trait WasmParams: Sized + 'static + sealed::Values {}

/// Results of a function: `()`, one [`WasmValue`], or a tuple of up to twelve.
pub trait WasmResults: Sized + 'static + sealed::Values {}

pub(crate) mod sealed {
    use super::{RawValue, ValType};

    pub trait Scalar {
        const TYPE: ValType;
        fn to_value(self) -> RawValue;
        fn of_value(raw: &RawValue) -> Self;
    }

    pub trait Values {
        const TYPES: &'static [ValType];
        type Raw: AsRef<[RawValue]> + AsMut<[RawValue]>;
        fn into_raw(self) -> Self::Raw;
        /// Room for results that are still to be written.
        fn zeroed() -> Self::Raw;
        /// `raw` must hold as many values as `TYPES`, of those types.
        fn from_raw(raw: &[RawValue]) -> Self;
    }
}
use sealed::{Scalar, Values};

macro_rules! scalar {
    ($ty:ty, $wasm:ident, $make:ident, $carrier:ty, |$bits:ident| $read:expr) => {
        impl WasmValue for $ty {}
        impl Scalar for $ty {
            const TYPE: ValType = ValType::$wasm;
            fn to_value(self) -> RawValue {
                // SAFETY: makes a value from a number; no pointer is involved.
                unsafe { ffi::$make(self as $carrier) }
            }
            fn of_value(raw: &RawValue) -> Self {
                let $bits = raw.Value;
                $read
            }
        }
        impl WasmParams for $ty {}
        impl WasmResults for $ty {}
        impl Values for $ty {
            const TYPES: &'static [ValType] = &[ValType::$wasm];
            type Raw = [RawValue; 1];
            fn into_raw(self) -> Self::Raw {
                [Scalar::to_value(self)]
            }
            fn zeroed() -> Self::Raw {
                [zero()]
            }
            fn from_raw(raw: &[RawValue]) -> Self {
                Scalar::of_value(&raw[0])
            }
        }
    };
}

// The low bits of the 128-bit field hold the number, as WasmEdge's own getters read it.
scalar!(i32, I32, WasmEdge_ValueGenI32, i32, |bits| bits as i32);
scalar!(u32, I32, WasmEdge_ValueGenI32, i32, |bits| bits as u32);
scalar!(i64, I64, WasmEdge_ValueGenI64, i64, |bits| bits as i64);
scalar!(u64, I64, WasmEdge_ValueGenI64, i64, |bits| bits as u64);
scalar!(f32, F32, WasmEdge_ValueGenF32, f32, |bits| f32::from_bits(bits as u32));
scalar!(f64, F64, WasmEdge_ValueGenF64, f64, |bits| f64::from_bits(bits as u64));

impl WasmParams for () {}
impl WasmResults for () {}
impl Values for () {
    const TYPES: &'static [ValType] = &[];
    type Raw = [RawValue; 0];
    fn into_raw(self) -> Self::Raw {
        []
    }
    fn zeroed() -> Self::Raw {
        []
    }
    fn from_raw(_: &[RawValue]) -> Self {}
}

macro_rules! count {
    () => { 0 };
    ($head:ident $($tail:ident)*) => { 1 + count!($($tail)*) };
}

macro_rules! tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name: WasmValue),*> WasmParams for ($($name,)*) {}
        impl<$($name: WasmValue),*> WasmResults for ($($name,)*) {}
        impl<$($name: WasmValue),*> Values for ($($name,)*) {
            const TYPES: &'static [ValType] = &[$($name::TYPE),*];
            type Raw = [RawValue; count!($($name)*)];
            fn into_raw(self) -> Self::Raw {
                [$(Scalar::to_value(self.$index)),*]
            }
            fn zeroed() -> Self::Raw {
                [zero(); count!($($name)*)]
            }
            fn from_raw(raw: &[RawValue]) -> Self {
                ($($name::of_value(&raw[$index]),)*)
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

fn zero() -> RawValue {
    RawValue { Value: 0, Type: ffi::WasmEdge_ValType { Data: [0; 8] } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way_through_a_raw_value() {
        assert_eq!(i32::of_value(&Scalar::to_value(-5_i32)), -5);
        assert_eq!(u32::of_value(&Scalar::to_value(u32::MAX)), u32::MAX);
        assert_eq!(i64::of_value(&Scalar::to_value(i64::MIN)), i64::MIN);
        assert_eq!(u64::of_value(&Scalar::to_value(u64::MAX - 1)), u64::MAX - 1);
        assert_eq!(f32::of_value(&Scalar::to_value(1.5_f32)), 1.5);
        assert_eq!(f64::of_value(&Scalar::to_value(-0.25_f64)), -0.25);
    }

    #[test]
    fn the_low_bits_are_what_the_library_reads() {
        let raw = Scalar::to_value(-7_i64);
        // SAFETY: reads a number out of a value made above.
        assert_eq!(unsafe { ffi::WasmEdge_ValueGetI64(raw) }, -7);
    }
}
