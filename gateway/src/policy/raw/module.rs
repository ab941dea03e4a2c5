//! Where the module of a filter is, as it is written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::field::Field;

/// A file, or a place with what belongs to it.
pub(in super::super) enum ModuleSource {
    /// A file, relative to the one that names it.
    File(String),
    /// `{ file | url | oci: … }`.
    From(Box<ModuleFrom>),
}

/// Where a module is. Exactly one of `file`, `url` and `oci`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct ModuleFrom {
    /// A file, relative to this one.
    pub(in super::super) file: Field<String>,
    /// It is fetched from here once, by HTTPS or HTTP, and kept.
    pub(in super::super) url: Field<String>,
    /// An image in a registry, with its digest: `registry.example/filters/guard:1.2@sha256:…`. It is fetched
    /// once and kept.
    pub(in super::super) oci: Field<String>,
    /// SHA-256 of the module, in hexadecimal. With `url` it must be there, with `file` it may.
    pub(in super::super) sha256: Field<String>,
    /// Who asks for it. Default, with `oci`: what the configuration of Docker says.
    pub(in super::super) username: Field<String>,
    /// The password, best a variable such as `${file:/run/secrets/registry}`.
    pub(in super::super) password: Field<String>,
}

const KEYS: &[&str] = &["file", "url", "oci", "sha256", "username", "password"];

impl ModuleSource {
    /// What the decoder knows it by: it takes a text as well as a mapping with [`KEYS`].
    pub(in super::super) const NAME: &str = "ModuleSource";
}

impl<'de> Deserialize<'de> for ModuleSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(Self::NAME, KEYS, ModuleVisitor)
    }
}

impl JsonSchema for ModuleSource {
    fn schema_name() -> Cow<'static, str> {
        "ModuleSource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let from = generator.subschema_for::<ModuleFrom>();
        json_schema!({
            "description": "A file, relative to this one, or where else the module is.",
            "anyOf": [{ "type": "string" }, from],
        })
    }
}

struct ModuleVisitor;

impl<'de> Visitor<'de> for ModuleVisitor {
    type Value = ModuleSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file, or a mapping with `file`, `url` or `oci`")
    }

    fn visit_str<E>(self, text: &str) -> Result<ModuleSource, E> {
        Ok(ModuleSource::File(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ModuleSource, A::Error> {
        ModuleFrom::deserialize(MapAccessDeserializer::new(map))
            .map(|from| ModuleSource::From(Box::new(from)))
    }
}
