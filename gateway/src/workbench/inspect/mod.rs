//! What a module is, what it needs, and whether this gateway would take it; without running it.
//!
//! Sections are read even of a module that is refused (`sections`), so that it can be said why. Host
//! functions and the compiler's limits are asked of the host itself, not of a list kept here.

mod sections;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tollgate_proxy_wasm::{AbiVersion, HostFunctions, Support};
use tollgate_wasmedge::{ModuleLimits, unsupported_proposals, vet};

use crate::filter::wasm::Environment;
use sections::Sections;

/// Pages of 64 KiB that a filter may have if its policy says nothing.
const CEILING_PAGES: u64 = 256;
const ALLOCATORS: [&str; 2] = ["proxy_on_memory_allocate", "malloc"];

/// Callbacks of the ABI, with how many parameters each has (in 0.1.0 headers came without the last).
const CALLBACKS: [(&str, &[usize]); 29] = [
    ("proxy_on_context_create", &[2]),
    ("proxy_on_vm_start", &[2]),
    ("proxy_on_configure", &[2]),
    ("proxy_on_tick", &[1]),
    ("proxy_on_new_connection", &[1]),
    ("proxy_on_downstream_data", &[3]),
    ("proxy_on_downstream_connection_close", &[2]),
    ("proxy_on_upstream_data", &[3]),
    ("proxy_on_upstream_connection_close", &[2]),
    ("proxy_on_request_headers", &[3, 2]),
    ("proxy_on_request_body", &[3]),
    ("proxy_on_request_trailers", &[2]),
    ("proxy_on_response_headers", &[3, 2]),
    ("proxy_on_response_body", &[3]),
    ("proxy_on_response_trailers", &[2]),
    ("proxy_on_http_call_response", &[5]),
    ("proxy_on_grpc_receive_initial_metadata", &[3]),
    ("proxy_on_grpc_receive", &[3]),
    ("proxy_on_grpc_receive_trailing_metadata", &[3]),
    ("proxy_on_grpc_trailing_metadata", &[3]),
    ("proxy_on_grpc_close", &[3]),
    ("proxy_on_redis_call_response", &[4]),
    ("proxy_on_queue_ready", &[2]),
    ("proxy_on_foreign_function", &[3]),
    ("proxy_validate_configuration", &[2]),
    ("proxy_on_done", &[1]),
    ("proxy_on_log", &[1]),
    ("proxy_on_delete", &[1]),
    ("proxy_on_memory_allocate", &[1]),
];

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256, in hexadecimal digits.
    pub digest: String,
    /// Whether this gateway would load it.
    pub loads: bool,
    /// Why not, in plain words.
    pub problems: Vec<String>,
    /// What it would need, or what is worth knowing.
    pub notes: Vec<String>,
    /// Versions of the ABI that it says it was built for, such as `0.2.1`.
    pub abi: Vec<String>,
    /// What made it: language, SDK and tools with their versions, as far as it says.
    pub producers: Vec<Producer>,
    /// What it imports.
    pub imports: Vec<ImportReport>,
    /// Callbacks of the ABI that it has.
    pub callbacks: Vec<String>,
    /// Callbacks of the ABI that it lacks: they are not called.
    pub lacks: Vec<String>,
    /// Other exports.
    pub exports: Vec<String>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// What runs when an instance is made: a start function, `_initialize`, `_start`.
    pub starts: Vec<String>,
    /// A policy's section to begin with.
    pub policy: String,
}

/// One entry of the section `producers`.
#[derive(Debug, Clone, Serialize)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub field: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One import.
#[derive(Debug, Serialize)]
pub struct ImportReport {
    /// Its module.
    pub module: String,
    /// Its name.
    pub name: String,
    /// Its type, as the text format writes it.
    #[serde(rename = "type")]
    pub ty: String,
    /// What becomes of it.
    pub support: ImportSupport,
}

/// What becomes of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportSupport {
    /// The host carries it out.
    Served,
    /// It resolves, and answers an error that guests cope with.
    Refused,
    /// The host has it with another type: the module does not load.
    WrongType,
    /// The host does not have it: the module does not load.
    Unknown,
}

/// A memory, in pages of 64 KiB.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// From the start.
    pub pages_min: u64,
    /// What the module allows itself; `None`: all.
    pub pages_max: Option<u64>,
    /// What a filter may have if its policy says nothing.
    pub ceiling_pages: u64,
}

/// Looks at `wasm`; `file` is what the policy's section calls it.
pub fn inspect(wasm: &[u8], file: &str) -> Report {
    let mut sections = Sections::default();
    let broken = sections.read(wasm).err();
    let functions = HostFunctions::<Environment>::new();
    let imports: Vec<_> = sections.imports.iter().map(|import| judged(import, &functions)).collect();
    let names: Vec<&str> = sections.exports.iter().map(|export| export.name.as_str()).collect();
    let has = |name: &str| names.contains(&name);
    let abi: Vec<_> =
        names.iter().filter_map(|name| name.strip_prefix(AbiVersion::MARKER)).map(dotted).collect();
    let (callbacks, lacks): (Vec<_>, Vec<_>) =
        CALLBACKS.iter().map(|(name, _)| (*name).to_owned()).partition(|name| has(name));
    let is_other = |name: &&&str| {
        !name.starts_with(AbiVersion::MARKER) && !CALLBACKS.iter().any(|(known, _)| known == *name)
    };
    let mut starts = Vec::new();
    if sections.has_start {
        starts.push("a start function".to_owned());
    }
    let entry = ["_initialize", "_start"].into_iter().find(|name| has(name));
    starts.extend(entry.map(str::to_owned));
    let mut report = Report {
        bytes: wasm.len() as u64,
        digest: hex(&Sha256::digest(wasm)),
        loads: false,
        problems: broken.into_iter().collect(),
        notes: Vec::new(),
        abi,
        producers: sections.producers.clone(),
        imports,
        callbacks,
        lacks,
        exports: names.iter().filter(is_other).map(|name| (*name).to_owned()).collect(),
        memory: sections.memory.map(|(pages_min, pages_max)| Memory {
            pages_min,
            pages_max,
            ceiling_pages: CEILING_PAGES,
        }),
        starts,
        policy: String::new(),
    };
    if report.problems.is_empty() {
        report.judge(wasm, &sections);
    }
    report.loads = report.problems.is_empty();
    report.note();
    report.policy = report.snippet(file);
    report
}

fn judged(import: &sections::Import, functions: &HostFunctions<Environment>) -> ImportReport {
    let (support, ty) = functions.support(&import.module, &import.name);
    let support = match support {
        _ if ty.is_some_and(|ty| ty.to_string() != import.ty) => ImportSupport::WrongType,
        Support::Served => ImportSupport::Served,
        Support::Refused => ImportSupport::Refused,
        Support::Unknown => ImportSupport::Unknown,
    };
    let (module, name, ty) = (import.module.clone(), import.name.clone(), import.ty.clone());
    ImportReport { module, name, ty, support }
}

impl Report {
    /// Why it would not load.
    fn judge(&mut self, wasm: &[u8], sections: &Sections) {
        for proposal in unsupported_proposals(wasm) {
            self.problems.push(format!("it uses {proposal}, which the ahead-of-time compiler does not take"));
        }
        if self.problems.is_empty()
            && let Err(refusal) = vet(wasm, &ModuleLimits::default())
        {
            self.problems.push(format!("the compiler refuses it: {refusal}"));
        }
        let spoken = AbiVersion::ALL.map(|abi| dotted(abi.marker().trim_start_matches(AbiVersion::MARKER)));
        if self.abi.is_empty() {
            self.problems.push("it is no Proxy-Wasm module: it exports no proxy_abi_version_*".to_owned());
        } else if !self.abi.iter().any(|version| spoken.contains(version)) {
            let (wants, speaks) = (self.abi.join(", "), spoken.join(", "));
            self.problems.push(format!("it wants ABI {wants}; this gateway speaks {speaks}"));
        }
        if !ALLOCATORS.iter().any(|name| sections.exports.iter().any(|export| export.name == *name)) {
            self.problems.push("it exports no allocator: proxy_on_memory_allocate or malloc".to_owned());
        }
        for import in &self.imports {
            let name = format!("{}.{}", import.module, import.name);
            match import.support {
                ImportSupport::Unknown => {
                    self.problems.push(format!("it imports {name}, which this host does not have"))
                }
                ImportSupport::WrongType => {
                    self.problems.push(format!("it imports {name} as {}, which is not its type", import.ty));
                }
                ImportSupport::Served | ImportSupport::Refused => {}
            }
        }
        for export in &sections.exports {
            let known = CALLBACKS.iter().find(|(name, _)| *name == export.name);
            if let (Some((name, counts)), Some(count)) = (known, export.params)
                && !counts.contains(&count)
            {
                self.problems.push(format!("its {name} has {count} parameters, which is not the ABI's"));
            }
        }
    }

    fn imports_any(&self, names: &[&str]) -> bool {
        self.imports.iter().any(|import| names.contains(&import.name.as_str()))
    }

    fn has(&self, callback: &str) -> bool {
        self.callbacks.iter().any(|name| name == callback)
    }

    /// What it would need, and what is worth knowing.
    fn note(&mut self) {
        let mut notes = Vec::new();
        let mut note = |when: bool, text: &str| {
            if when {
                notes.push(text.to_owned());
            }
        };
        note(self.imports_any(&["proxy_http_call"]), "it may call HTTP servers: list them in `allow`");
        note(
            self.imports_any(&["proxy_grpc_call", "proxy_grpc_stream"]),
            "it may call gRPC servers: list them in `allow`",
        );
        note(self.imports_any(&["proxy_redis_call"]), "it may call Redis: list it in `allow`");
        note(
            self.imports_any(&["proxy_call_foreign_function"]),
            "it may call foreign functions by names that only it knows; unknown ones answer \"not found\"",
        );
        note(
            self.imports_any(&["environ_get"]),
            "it may read environment variables: only those in `environment` are there",
        );
        note(
            self.imports_any(&["path_open"]),
            "it may open files: there are none (usual for a language's runtime, and harmless then)",
        );
        note(
            self.has("proxy_on_new_connection") || self.has("proxy_on_downstream_data"),
            "it can filter TCP connections",
        );
        let bodies = self.has("proxy_on_request_body") || self.has("proxy_on_response_body");
        note(
            bodies,
            "it has body callbacks: with `body: none` in the policy bodies pass it by, and cost nothing",
        );
        if let Some(memory) = &self.memory
            && memory.pages_min > CEILING_PAGES
        {
            notes.push(format!(
                "it starts with {} of memory, above the default ceiling of {}: set `memory`",
                mebibytes(memory.pages_min),
                mebibytes(CEILING_PAGES)
            ));
        }
        self.notes = notes;
    }

    /// A policy's section with what it needs.
    fn snippet(&self, file: &str) -> String {
        // JSON's text is YAML's text in double quotes, whatever the file is called.
        let file = serde_json::to_string(file).unwrap_or_default();
        let mut text =
            format!("filters:\n  my-filter:\n    wasm:\n      module: {file}\n      config: {{}}\n");
        if self.imports_any(&["proxy_http_call", "proxy_grpc_call", "proxy_grpc_stream", "proxy_redis_call"])
        {
            text.push_str("      # What it may call: upstreams by name, others as host:port.\n");
            text.push_str("      allow: { upstreams: [], hosts: [] }\n");
        }
        if let Some(memory) = self.memory.as_ref().filter(|memory| memory.pages_min > CEILING_PAGES) {
            let mebibytes = memory.pages_min.div_ceil(16).next_power_of_two();
            text.push_str(&format!("      memory: {mebibytes}MiB\n"));
        }
        text
    }
}

/// `0_2_1` as `0.2.1`.
fn dotted(version: &str) -> String {
    version.replace('_', ".")
}

fn mebibytes(pages: u64) -> String {
    format!("{:.1} MiB", pages as f64 / 16.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
