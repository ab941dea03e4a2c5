//! What a module is, and whether it is taken.

use super::{RESERVED, Refusal};
use crate::compile::ModuleLimits;
use crate::types::{Export, ExternType, FuncType, Import, ValType};
use wasmparser::types::{EntityType, TypesRef};
use wasmparser::{
    BinaryReaderError, FuncValidatorAllocations, FunctionBody, Parser, Payload, ValidPayload, Validator,
    WasmFeatures,
};

/// What the source module declares.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    pub(crate) memory_pages_min: u32,
}

/// WebAssembly 2.0, tail calls, extended constants and relaxed SIMD; `raw::configure` and
/// `compile::aot` enable the same in the library.
pub(super) fn features() -> WasmFeatures {
    WasmFeatures::WASM2 | WasmFeatures::TAIL_CALL | WasmFeatures::EXTENDED_CONST | WasmFeatures::RELAXED_SIMD
}

/// Validates `wasm` and checks it against `limits`.
pub(crate) fn inspect(wasm: &[u8], limits: &ModuleLimits) -> Result<Inspected, Refusal> {
    if wasm.len() as u64 > u64::from(limits.module_bytes) {
        return Err(Refusal::ModuleBytes { bytes: wasm.len() as u64, limit: limits.module_bytes });
    }
    let mut validator = Validator::new_with_features(features());
    let mut inspected = Inspected { imports: Vec::new(), exports: Vec::new(), memory_pages_min: 0 };
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match validator.payload(&payload)? {
            ValidPayload::Func(function, body) => {
                let index = function.index;
                // Locals first: validating a body with too many would be the expensive part.
                check_function(index, &body, limits)?;
                function.into_validator(FuncValidatorAllocations::default()).validate(&body)?;
            }
            ValidPayload::End(types) => {
                let types = types.as_ref();
                inspected.imports = imports(types)?;
                inspected.exports = exports(types)?;
                check_tables(types, limits)?;
            }
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
        if let Payload::MemorySection(memories) = payload {
            for memory in memories {
                // 32-bit memories have at most 65 536 pages.
                inspected.memory_pages_min = memory?.initial.min(65_536) as u32;
            }
        }
    }
    Ok(inspected)
}

fn check_function(function: u32, body: &FunctionBody<'_>, limits: &ModuleLimits) -> Result<(), Refusal> {
    let range = body.range();
    let bytes = range.end - range.start;
    if bytes > u64::from(limits.body_bytes) {
        return Err(Refusal::BodyBytes { function, bytes, limit: limits.body_bytes });
    }
    let mut locals = 0_u64;
    for group in body.get_locals_reader()? {
        locals += u64::from(group?.0);
    }
    if locals > u64::from(limits.locals) {
        return Err(Refusal::Locals { function, locals, limit: limits.locals });
    }
    Ok(())
}

fn check_tables(types: TypesRef<'_>, limits: &ModuleLimits) -> Result<(), Refusal> {
    for table in 0..types.table_count() {
        let elements = types.table_at(table).initial;
        if elements > u64::from(limits.table_elements) {
            return Err(Refusal::TableElements { table, elements, limit: limits.table_elements });
        }
    }
    Ok(())
}

fn imports(types: TypesRef<'_>) -> Result<Vec<Import>, Refusal> {
    let list = types.core_imports().into_iter().flatten();
    list.map(|(module, name, ty)| {
        unreserved(module)?;
        Ok(Import { module: module.to_owned(), name: name.to_owned(), ty: extern_type(types, ty)? })
    })
    .collect()
}

fn exports(types: TypesRef<'_>) -> Result<Vec<Export>, Refusal> {
    let list = types.core_exports().into_iter().flatten();
    list.map(|(name, ty)| {
        unreserved(name)?;
        Ok(Export { name: name.to_owned(), ty: extern_type(types, ty)? })
    })
    .collect()
}

fn unreserved(name: &str) -> Result<(), Refusal> {
    if name.starts_with(RESERVED) { Err(Refusal::ReservedName { name: name.to_owned() }) } else { Ok(()) }
}

fn extern_type(types: TypesRef<'_>, ty: EntityType) -> Result<ExternType, Refusal> {
    match ty {
        EntityType::Func(id) | EntityType::FuncExact(id) => {
            let func = types[id].unwrap_func();
            Ok(ExternType::Func(FuncType {
                params: val_types(func.params())?,
                results: val_types(func.results())?,
            }))
        }
        EntityType::Table(_) => Ok(ExternType::Table),
        EntityType::Memory(_) => Ok(ExternType::Memory),
        EntityType::Global(_) => Ok(ExternType::Global),
        EntityType::Tag(_) => Err(unsupported("tags")),
    }
}

fn val_types(types: &[wasmparser::ValType]) -> Result<Vec<ValType>, Refusal> {
    types.iter().map(|ty| val_type(*ty)).collect()
}

fn val_type(ty: wasmparser::ValType) -> Result<ValType, Refusal> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(wasmparser::RefType::FUNCREF) => ValType::FuncRef,
        wasmparser::ValType::Ref(wasmparser::RefType::EXTERNREF) => ValType::ExternRef,
        wasmparser::ValType::Ref(_) => return Err(unsupported("typed references")),
    })
}

/// The validator has refused these already; this is for versions of it that do not.
fn unsupported(what: &str) -> Refusal {
    Refusal::Invalid { message: format!("{what} are not supported"), offset: 0 }
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Self {
        Self::Invalid { message: error.message().to_owned(), offset: error.offset() }
    }
}
