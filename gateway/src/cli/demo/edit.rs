//! The copy of the policy that the tour edits.

use std::io;
use std::path::{Path, PathBuf};

/// A policy file of the tour's own.
#[derive(Debug)]
pub(super) struct Copy {
    path: PathBuf,
    /// The text as it came, with module paths that resolve from here.
    text: String,
}

impl Copy {
    /// Copies the policy at `original` into `folder`.
    pub(super) fn make(original: &Path, folder: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(original)?;
        let base = std::path::absolute(original)?;
        let base = base.parent().unwrap_or_else(|| Path::new("/"));
        let copy = Self { path: folder.join("policy.yaml"), text: with_absolute_modules(&text, base) };
        copy.write(&copy.text)?;
        Ok(copy)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the text with `old` replaced by `new` everywhere; whether there was anything to replace.
    pub(super) fn edit(&self, old: &str, new: &str) -> io::Result<bool> {
        let edited = self.text.replace(old, new);
        self.write(&edited)?;
        Ok(edited != self.text)
    }

    /// As it was at first.
    pub(super) fn restore(&self) -> io::Result<()> {
        self.write(&self.text)
    }

    /// By a rename, as careful editors do: nobody ever sees half of it.
    fn write(&self, text: &str) -> io::Result<()> {
        let new = self.path.with_extension("yaml.new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, &self.path)
    }
}

/// The text with the path behind each `module:` made absolute.
fn with_absolute_modules(text: &str, base: &Path) -> String {
    text.split_inclusive('\n').map(|line| with_absolute_module(line, base)).collect()
}

fn with_absolute_module(line: &str, base: &Path) -> String {
    const KEY: &str = "module:";
    let is_comment = line.trim_start().starts_with('#');
    let Some(at) = line.find(KEY).filter(|_| !is_comment) else { return line.to_owned() };
    let (key, rest) = line.split_at(at + KEY.len());
    let value = rest.trim_start().split([' ', ',', '}', '\n']).next().unwrap_or_default();
    let path = base.join(value.trim_matches(['"', '\'']));
    let path = path.canonicalize().unwrap_or(path);
    let space = &rest[..rest.len() - rest.trim_start().len()];
    format!("{key}{space}\"{}\"{}", path.display(), &rest[space.len() + value.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_from_anywhere() {
        let line = |text| with_absolute_module(text, Path::new("/absent/policies"));
        assert_eq!(line("      module: ../a.wasm\n"), "      module: \"/absent/policies/../a.wasm\"\n");
        assert_eq!(line("w: { module: 'a.wasm', x: 1 }"), "w: { module: \"/absent/policies/a.wasm\", x: 1 }");
        assert_eq!(line("module: /b/a.wasm # fast\n"), "module: \"/b/a.wasm\" # fast\n");
        assert_eq!(line("# module: a.wasm"), "# module: a.wasm");
        assert_eq!(line("modules: no"), "modules: no");
    }

    #[test]
    fn edits_start_from_the_original() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("original.yaml");
        std::fs::write(&original, "a: 1\nb: 2\n").unwrap();
        let copy = Copy::make(&original, folder.path()).unwrap();
        let text = || std::fs::read_to_string(copy.path()).unwrap();
        assert!(copy.edit("a: 1", "a: 3").unwrap());
        assert_eq!(text(), "a: 3\nb: 2\n");
        assert!(copy.edit("b: 2", "b: 4").unwrap());
        assert_eq!(text(), "a: 1\nb: 4\n");
        assert!(!copy.edit("absent", "x").unwrap());
        copy.restore().unwrap();
        assert_eq!(text(), "a: 1\nb: 2\n");
    }
}
