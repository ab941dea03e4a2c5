//! The few generic shapes of the raw form.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{
    Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer,
};

/// A value that may be missing or wrong.
///
/// A wrong one does not end the decoding of what is around it: that is how all errors come to
/// light in one run. It relies on `decode::Decoder`, which has reported the error by the time it
/// is dropped here.
#[derive(Default)]
pub(in super::super) enum Field<T> {
    /// Not written, or null.
    #[default]
    Absent,
    /// Written wrong, and reported.
    Refused,
    /// Written.
    Given(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(deserializer) {
            Ok(Some(value)) => Field::Given(value),
            Ok(None) => Field::Absent,
            Err(_) => Field::Refused,
        })
    }
}

impl<T> Field<T> {
    /// The value, if it is written right.
    pub(in super::super) fn given(&self) -> Option<&T> {
        match self {
            Field::Given(value) => Some(value),
            Field::Absent | Field::Refused => None,
        }
    }

    /// Whether nothing is written.
    pub(in super::super) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }
}

/// What is written looks the same with and without it.
impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        or_variable(generator.subschema_for::<T>())
    }
}

/// A number or a truth value may be a variable, which is text until it is replaced.
fn or_variable(mut schema: Schema) -> Schema {
    let kind = schema.get("type").and_then(|kind| kind.as_str()).map(str::to_owned);
    if let Some(kind) = kind.filter(|kind| kind == "integer" || kind == "boolean") {
        schema.insert("type".to_owned(), vec![kind.as_str(), "string"].into());
        schema.insert("pattern".to_owned(), VARIABLE.into());
    }
    schema
}

/// What a text looks like in which a variable stands.
const VARIABLE: &str = r"\$\{";

/// A mapping with free keys, in the order written.
pub(in super::super) struct Entries<T>(pub(in super::super) Vec<(String, Field<T>)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// A text, or a list of texts.
pub(in super::super) enum OneOrMany {
    /// One, written without a list.
    One(String),
    /// A list.
    Many(Vec<Field<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text, or a list of texts.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(OneOrMany::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
    }
}

/// An entry of a list of filters.
pub(in super::super) enum FilterUse {
    /// A filter or a set, by its name.
    Named(String),
    /// A filter with settings of its own, which became a filter before decoding.
    Adjusted(String),
}

impl<'de> Deserialize<'de> for FilterUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilterUseVisitor)
    }
}

impl JsonSchema for FilterUse {
    fn schema_name() -> Cow<'static, str> {
        "FilterUse".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a filter or of a filter set, or a filter with settings to change.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": { "type": "object" },
                },
            ],
        })
    }
}

struct FilterUseVisitor;

impl<'de> Visitor<'de> for FilterUseVisitor {
    type Value = FilterUse;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a filter or of a filter set, or `{FILTER: {…}}` with settings to change")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(FilterUse::Named(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            names.push(name);
        }
        match <[String; 1]>::try_from(names) {
            Ok([name]) => Ok(FilterUse::Adjusted(name)),
            Err(_) => Err(A::Error::custom("not one filter")),
        }
    }
}

/// A size: a number of bytes, or a text with a unit.
pub(in super::super) enum Size {
    /// `65536`
    Bytes(u64),
    /// `64KiB`
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size such as `64KiB`, or a number of bytes.",
            "anyOf": [{ "type": "string", "examples": ["64KiB", "16MiB"] }, { "type": "integer", "minimum": 0 }],
        })
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as `64KiB`, or a number of bytes")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Size::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, bytes: u64) -> Result<Self::Value, E> {
        Ok(Size::Bytes(bytes))
    }
}

/// Texts with a grammar of their own, so that a bare number is told what it lacks.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $expected:literal;)*) => {$(
        $(#[$doc])*
        pub(in super::super) struct $name(pub(in super::super) String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor($expected)).map($name)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $expected })
            }
        }
    )*};
}

texts! {
    /// `10s`
    Duration: "a whole number and a unit (`us`, `ms`, `s`, `m`, `h`), such as `10s`";
    /// `100/second`
    Rate: "a number and a period (`second`, `minute`, `hour`), such as `100/second`";
    /// `0.5%`
    Percentage: "a percentage such as `0.5%`";
    /// `127.0.0.1:8080`
    Address: "an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`";
}

struct TextVisitor(&'static str);

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
