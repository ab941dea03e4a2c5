//! From a YAML value to the raw form, telling everything that does not fit.
//!
//! A serde deserializer over [`Value`] that knows where it is. It differs from serde_yaml's own in
//! two ways: an error is reported where it occurs, with its path, and marked as reported on its way
//! up to the next [`Field`](super::raw::Field), which drops it; and a struct's unknown keys are
//! reported, with the nearest known one, and passed over.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde_yaml::{Mapping, Value};

use super::path::{At, Step};
use super::raw::ModuleSource;
use super::report::{Problem, Report, quoted};
use super::source::is_secret_key;
use super::suggest::{listed, nearest};
use super::variables::{Marked, marked, text_of};

/// Decodes `value`; what is wrong is in `report`. `None` if it is something else altogether.
pub(super) fn decode<T: de::DeserializeOwned>(value: &Value, report: &Report<'_>) -> Option<T> {
    decode_at(At::ROOT, value, report)
}

/// The same for a document of its own.
pub(super) fn decode_at<T: de::DeserializeOwned>(
    at: At<'_>,
    value: &Value,
    report: &Report<'_>,
) -> Option<T> {
    T::deserialize(Decoder { value, at, report }).ok()
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    value: &'a Value,
    at: At<'a>,
    report: &'a Report<'a>,
}

/// An error of serde, before and after it is reported.
enum Failure {
    Pending(Box<Problem>),
    Reported,
}

impl Decoder<'_> {
    /// Reports an error here unless one was reported further down.
    fn settle<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| {
            if let Failure::Pending(problem) = failure {
                self.report.error(&self.at, problem.found(described(self.value)));
            }
            Failure::Reported
        })
    }

    fn refuse<T>(&self, problem: Problem) -> Result<T, Failure> {
        self.settle(Err(Failure::Pending(Box::new(problem))))
    }

    /// In a filter's configuration, a value without quotes is what it looks like, as if it were written.
    fn visit_marked<'de, V: Visitor<'de>>(
        &self,
        marked: &Marked<'_>,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let is_free = self.at.steps().iter().any(|step| matches!(step, Step::Key("config" | "vm_config")));
        if !(is_free && marked.is_plain) {
            return visitor.visit_str(marked.value);
        }
        match serde_yaml::from_str(marked.value) {
            Ok(Value::Bool(value)) => visitor.visit_bool(value),
            Ok(Value::Number(number)) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            _ => visitor.visit_str(marked.value),
        }
    }

    fn wrong_type<T>(&self, expected: String) -> Result<T, Failure> {
        self.refuse(Problem::new(WRONG_TYPE).expected(expected))
    }
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::Sequence(values) => visitor.visit_seq(List { values, next: 0, parent: self }),
            Value::Mapping(mapping) => visitor.visit_map(Fields::new(mapping, self, None)),
            Value::Tagged(_) => match marked(self.value) {
                Some(marked) => self.visit_marked(&marked, visitor),
                // The scan refuses tags before.
                None => Err(de::Error::invalid_type(de::Unexpected::Enum, &visitor)),
            },
        };
        self.settle(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Value::Mapping(mapping) = self.value else {
            let is_or_text = name == ModuleSource::NAME;
            if let Some(text) = text_of(self.value).filter(|_| is_or_text) {
                return self.settle(visitor.visit_str(text));
            }
            let keys = listed(fields.iter().copied());
            let or_text = if is_or_text { "a text, or " } else { "" };
            return self.wrong_type(format!("{or_text}a mapping with the keys {keys}"));
        };
        let result = visitor.visit_map(Fields::new(mapping, self, Some(fields)));
        self.settle(result)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let (name, value) = match (text_of(self.value), self.value) {
            (Some(name), _) => (name, None),
            (None, Value::Mapping(mapping)) if mapping.len() == 1 => match mapping.iter().next() {
                Some((Value::String(name), value)) => (name.as_str(), Some(value)),
                _ => return self.wrong_type(listed(variants.iter().copied())),
            },
            _ => return self.wrong_type(listed(variants.iter().copied())),
        };
        if !variants.contains(&name) {
            let near = nearest(name, variants.iter().copied());
            let problem =
                Problem::new("unknown word").expected(listed(variants.iter().copied())).did_you_mean(near);
            return self.refuse(problem);
        }
        let result = visitor.visit_enum(Word { name, value, parent: self });
        self.settle(result)
    }

    /// A text, whatever it looks like.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match marked(self.value) {
            Some(marked) => self.settle(visitor.visit_str(marked.value)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match marked(self.value).and_then(|marked| marked.value.parse().ok()) {
            Some(number) => self.settle(visitor.visit_u64(number)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match marked(self.value).and_then(|marked| marked.value.parse().ok()) {
            Some(value) => self.settle(visitor.visit_bool(value)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The entries of a list.
struct List<'a> {
    values: &'a [Value],
    next: usize,
    parent: Decoder<'a>,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(value) = self.values.get(self.next) else { return Ok(None) };
        let at = self.parent.at.index(self.next);
        self.next += 1;
        seed.deserialize(Decoder { value, at, report: self.parent.report }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len() - self.next)
    }
}

/// The entries of a mapping; of a struct's, only those that it knows.
struct Fields<'a> {
    entries: serde_yaml::mapping::Iter<'a>,
    current: Option<(&'a str, &'a Value)>,
    parent: Decoder<'a>,
    known: Option<&'static [&'static str]>,
}

impl<'a> Fields<'a> {
    fn new(mapping: &'a Mapping, parent: Decoder<'a>, known: Option<&'static [&'static str]>) -> Self {
        Fields { entries: mapping.iter(), current: None, parent, known }
    }

    fn accepts(&self, key: &str) -> bool {
        let Some(known) = self.known else { return true };
        if known.contains(&key) {
            return true;
        }
        let at = self.parent.at.key(key);
        let near = nearest(key, known.iter().copied());
        let problem = Problem::new(format!("unknown key {}", quoted(key)))
            .expected(listed(known.iter().copied()))
            .did_you_mean(near)
            .on_key();
        // It may be a misspelt `environment`.
        if near.is_none_or(is_secret_key) {
            self.parent.report.hide(&at);
        }
        self.parent.report.error(&at, problem);
        false
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        while let Some((key, value)) = self.entries.next() {
            let Value::String(key) = key else {
                let at = self.parent.at;
                let found = described(key);
                let problem = Problem::new("a key that is not text").expected(TEXT).found(found);
                self.parent.report.error(&at, problem.help("put the key in quotes"));
                continue;
            };
            if self.accepts(key) {
                self.current = Some((key, value));
                let key: StrDeserializer<'_, Failure> = key.as_str().into_deserializer();
                return seed.deserialize(key).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let at = self.parent.at.key(key);
        seed.deserialize(Decoder { value, at, report: self.parent.report })
    }
}

/// A word out of a closed set: `word`, or `{word: value}`.
struct Word<'a> {
    name: &'a str,
    value: Option<&'a Value>,
    parent: Decoder<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Word<'a> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name: StrDeserializer<'_, Failure> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self.value {
            None => Ok(()),
            Some(_) => self.parent.refuse(
                Problem::new(format!("`{}` takes no value", self.name)).expected(format!("`{}`", self.name)),
            ),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        let name = self.name;
        let Some(value) = self.value else {
            let problem = Problem::new(format!("`{name}` needs a value"));
            return self.parent.refuse(problem.expected(format!("`{{{name}: …}}`")));
        };
        let at = self.parent.at.key(name);
        seed.deserialize(Decoder { value, at, report: self.parent.report })
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Failure> {
        Err(de::Error::invalid_type(de::Unexpected::NewtypeVariant, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        Err(de::Error::invalid_type(de::Unexpected::NewtypeVariant, &visitor))
    }
}

const WRONG_TYPE: &str = "wrong type of value";
const TEXT: &str = "text";

/// What serde's own visitors expect, in the words of this page.
fn plain(expected: &str) -> String {
    match expected {
        "a string" => TEXT,
        "u64" => "a whole number, not negative",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        other => other,
    }
    .to_owned()
}

/// A value in words; of a mapping or list only that it is one.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(_) => match marked(value) {
            Some(marked) => format!("what {} stands for", quoted(marked.written)),
            None => "a tagged value".to_owned(),
        },
    }
}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Failure::Pending(Box::new(Problem::new(message.to_string())))
    }

    /// What was found instead is told by whoever settles it: serde's words name Rust's types.
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = plain(&expected.to_string());
        // A number or `true` where a text belongs lacks quotes.
        let bare = matches!(
            found,
            de::Unexpected::Bool(_)
                | de::Unexpected::Unsigned(_)
                | de::Unexpected::Signed(_)
                | de::Unexpected::Float(_)
        );
        let quotes = bare && expected == TEXT;
        let problem = Problem::new(WRONG_TYPE).expected(expected);
        Failure::Pending(Box::new(if quotes { problem.help("put it in quotes") } else { problem }))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

impl std::error::Error for Failure {}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failure")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value does not fit")
    }
}
