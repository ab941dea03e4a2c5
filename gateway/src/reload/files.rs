//! Which files to watch.

use std::path::Path;

use super::watch::WatchSet;
use crate::policy::{Inputs, Policy};

/// What a reading of the policy at `source` found, be it usable or not; also what `current` was read from
/// as long as it serves.
pub(super) fn of(source: &Path, found: &Inputs, current: Option<&Policy>) -> WatchSet {
    let current = current.map(|current| &*current.inputs);
    let inputs = std::iter::once(found).chain(current);
    let mut watched = inputs.fold(Inputs::default(), |all, inputs| all.union(inputs));
    if !watched.folders.contains(source) {
        watched.files.insert(source.to_owned());
    }
    WatchSet::new(watched.files, watched.folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    /// The names of the files that a policy of this text makes one watch.
    fn watched(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("p.yaml");
        std::fs::write(&source, text).unwrap();
        let reading = policy::read(&source, &policy::remote::NoFetch::shared());
        assert!(reading.result.is_err());
        let set = of(&source, &reading.inputs, None);
        let name = |path: &std::path::PathBuf| {
            path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned()
        };
        set.files().iter().map(name).collect()
    }

    #[test]
    fn files_that_a_wrong_policy_names_are_watched() {
        let modules =
            "filters:\n  a: { wasm: { module: a.wasm, confg: 1 } }\n  b: { rate_limit: {} }\nroutes: 7\n";
        assert_eq!(watched(modules), ["a.wasm", "p.yaml"]);
        let scripts = "filters:\n  s: { lua: { file: s.lua, modules: { m: lib/m.lua } } }\n";
        assert_eq!(watched(scripts), ["lib/m.lua", "p.yaml", "s.lua"]);
        assert_eq!(watched("include: [missing.yaml]\n"), ["missing.yaml", "p.yaml"]);
        assert_eq!(watched("filters: ["), ["p.yaml"]);
    }
}
