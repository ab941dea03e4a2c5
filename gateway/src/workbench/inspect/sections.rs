//! A module's sections, as far as they can be read.

use wasmparser::{
    CompositeInnerType, ExternalKind, KnownCustom, MemoryType, Parser, Payload, TypeRef, ValType,
};

use super::Producer;

/// Entries of any kind that are kept; a module with more is cut in the report.
const ENTRIES_MAX: usize = 10_000;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) imports: Vec<Import>,
    pub(super) exports: Vec<Export>,
    pub(super) producers: Vec<Producer>,
    /// Pages from the start and at most.
    pub(super) memory: Option<(u64, Option<u64>)>,
    pub(super) has_start: bool,
    /// Types of functions, by index: parameters, and the type in words.
    types: Vec<(usize, String)>,
    /// The type of each function.
    functions: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Import {
    pub(super) module: String,
    pub(super) name: String,
    pub(super) ty: String,
}

#[derive(Debug)]
pub(super) struct Export {
    pub(super) name: String,
    /// Of a function: how many parameters it has.
    pub(super) params: Option<usize>,
}

impl Sections {
    /// Reads until the end, or until what is no module any more: then it says so.
    pub(super) fn read(&mut self, wasm: &[u8]) -> Result<(), String> {
        for payload in Parser::new(0).parse_all(wasm) {
            let read = payload.and_then(|payload| self.section(payload));
            read.map_err(|error| {
                format!("it is no WebAssembly module: {} (at offset {:#x})", error.message(), error.offset())
            })?;
        }
        Ok(())
    }

    fn section(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(groups) => {
                for group in groups {
                    for ty in group?.into_types() {
                        self.types.push(match &ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => {
                                (ty.params().len(), words(ty.params(), ty.results()))
                            }
                            _ => (0, "another type".to_owned()),
                        });
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    self.import(import.module, import.name, &import.ty);
                }
            }
            Payload::FunctionSection(functions) => {
                for function in functions {
                    self.functions.push(function?);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memory(&memory?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    let params =
                        (export.kind == ExternalKind::Func).then(|| self.params(export.index)).flatten();
                    push(&mut self.exports, Export { name: export.name.to_owned(), params });
                }
            }
            Payload::StartSection { .. } => self.has_start = true,
            Payload::CustomSection(section) => {
                if let KnownCustom::Producers(fields) = section.as_known() {
                    self.producers(fields)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, module: &str, name: &str, ty: &TypeRef) {
        let ty = match ty {
            TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                self.functions.push(*index);
                let known = usize::try_from(*index).ok().and_then(|index| self.types.get(index));
                known.map_or_else(|| "a function".to_owned(), |(_, ty)| ty.clone())
            }
            TypeRef::Memory(memory) => {
                self.memory(memory);
                "memory".to_owned()
            }
            TypeRef::Table(_) => "table".to_owned(),
            TypeRef::Global(_) => "global".to_owned(),
            TypeRef::Tag(_) => "tag".to_owned(),
        };
        push(&mut self.imports, Import { module: module.to_owned(), name: name.to_owned(), ty });
    }

    fn memory(&mut self, memory: &MemoryType) {
        self.memory.get_or_insert((memory.initial, memory.maximum));
    }

    fn producers(&mut self, fields: wasmparser::ProducersSectionReader<'_>) -> wasmparser::Result<()> {
        for field in fields {
            let field = field?;
            for value in field.values {
                let value = value?;
                let (name, version) = (value.name.to_owned(), value.version.to_owned());
                push(&mut self.producers, Producer { field: field.name.to_owned(), name, version });
            }
        }
        Ok(())
    }

    fn params(&self, function: u32) -> Option<usize> {
        let ty = *self.functions.get(usize::try_from(function).ok()?)?;
        self.types.get(usize::try_from(ty).ok()?).map(|(params, _)| *params)
    }
}

fn push<T>(list: &mut Vec<T>, entry: T) {
    if list.len() < ENTRIES_MAX {
        list.push(entry);
    }
}

/// A type as the engine writes it.
fn words(params: &[ValType], results: &[ValType]) -> String {
    let list = |types: &[ValType]| types.iter().map(ValType::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", list(params), list(results))
}
