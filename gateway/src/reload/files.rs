//! Which files to watch.

use std::path::{Path, PathBuf};

use serde_yaml::Value;
use tokio::task::spawn_blocking;

use super::watch::WatchSet;
use crate::generation::modules::wasm_filters;
use crate::policy::Policy;

/// The text is looked through for modules up to this size, a fraction of what a policy may have.
const LOOKED_THROUGH_MAX: u64 = 1 << 20;

/// The policy's file, its modules and its scripts; also those of `current` as long as it serves.
pub(super) fn of(source: &Path, policy: &Policy, current: Option<&Policy>) -> WatchSet {
    let policies = std::iter::once(policy).chain(current);
    let modules = policies.flat_map(wasm_filters).flat_map(|(_, wasm)| wasm.files.to_vec());
    std::iter::once(source.to_owned()).chain(modules).collect()
}

/// What to watch when the text at `source` means no policy: also the files that it mentions, since
/// one of them may only not be there yet.
pub(super) async fn of_unreadable(source: PathBuf, current: Option<&Policy>) -> WatchSet {
    let path = source.clone();
    let mentioned = spawn_blocking(move || mentioned_files(&path)).await.unwrap_or_default();
    let current = current.into_iter().flat_map(wasm_filters).flat_map(|(_, wasm)| wasm.files.to_vec());
    std::iter::once(source).chain(mentioned).chain(current).collect()
}

/// The values of `filters.*.wasm.module`, and `filters.*.lua.file` and `filters.*.lua.modules.*` with their like
/// of `starlark`, if the text is YAML at all.
fn mentioned_files(source: &Path) -> Vec<PathBuf> {
    let is_small = std::fs::metadata(source).is_ok_and(|found| found.len() <= LOOKED_THROUGH_MAX);
    let text = if is_small { std::fs::read_to_string(source).unwrap_or_default() } else { String::new() };
    let Ok(document) = serde_yaml::from_str::<Value>(&text) else { return Vec::new() };
    let Some(Value::Mapping(filters)) = document.get("filters") else { return Vec::new() };
    let folder = source.parent().unwrap_or_else(|| Path::new(""));
    let files = filters.values().flat_map(|filter| {
        let script = filter.get("lua").or_else(|| filter.get("starlark"));
        let modules = script.and_then(|script| script.get("modules")?.as_mapping());
        let modules = modules.into_iter().flat_map(|map| map.values());
        let module = filter.get("wasm").and_then(|wasm| wasm.get("module"));
        modules.chain(module).chain(script.and_then(|script| script.get("file"))).filter_map(Value::as_str)
    });
    files.map(|file| folder.join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_a_wrong_policy_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("p.yaml");
        let text =
            "filters:\n  a: { wasm: { module: a.wasm, confg: 1 } }\n  b: { rate_limit: {} }\nroutes: 7\n";
        std::fs::write(&source, text).unwrap();
        assert_eq!(mentioned_files(&source), [folder.path().join("a.wasm")]);
        std::fs::write(&source, "filters:\n  s: { lua: { file: s.lua, modules: { m: lib/m.lua } } }\n")
            .unwrap();
        assert_eq!(mentioned_files(&source), ["lib/m.lua", "s.lua"].map(|file| folder.path().join(file)));
        std::fs::write(&source, "filters: [").unwrap();
        assert!(mentioned_files(&source).is_empty());
    }
}
