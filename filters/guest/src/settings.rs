//! What the gateway gives a plugin: the script and everything that goes with it, as JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Bytes that a script's state may hold if its policy does not say.
const MEMORY: usize = 8 << 20;

/// A plugin's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The script's name, for errors: its file's.
    pub name: String,
    /// Its source.
    pub source: String,
    /// What it may require, by the name it requires it by.
    #[serde(default)]
    pub modules: BTreeMap<String, Module>,
    /// Its own configuration, the global `config`.
    #[serde(default)]
    pub config: Value,
    /// Bytes that its state may hold.
    #[serde(default = "default_memory")]
    pub memory: usize,
}

/// A part of a script.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its file's name, for errors.
    pub name: String,
    /// Its source.
    pub source: String,
}

fn default_memory() -> usize {
    MEMORY
}

impl Settings {
    /// Reads a configuration.
    ///
    /// # Errors
    /// In words, if it is not one.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("the configuration is not one of a script: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_enough() {
        let settings = Settings::read(br#"{"name": "a.lua", "source": "x"}"#).unwrap();
        assert_eq!((settings.name.as_str(), settings.memory), ("a.lua", MEMORY));
        assert!(settings.modules.is_empty() && settings.config.is_null());
        assert!(Settings::read(b"{}").unwrap_err().contains("missing field `name`"));
        assert!(Settings::read(br#"{"name": "a", "source": "", "file": 1}"#).unwrap_err().contains("file"));
    }
}
