//! The JSON schema of the format, for editors: generated from the raw types, so that the two cannot disagree.
//!
//! It knows keys, types, the words of enumerations and how texts such as durations look. It does not know
//! bounds, names that must be defined elsewhere, or what excludes each other: `tollgate check` does.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw;

/// What the schema says of itself.
const TITLE: &str = "A policy of Tollgate";

/// The schema, as JSON of draft 2020-12.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<raw::Policy>();
    schema.insert("title".to_owned(), TITLE.into());
    schema.to_value()
}
