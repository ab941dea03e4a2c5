//! `tollgate schema`: the JSON schema of policies, for editors.

use super::Exit;
use crate::policy;

/// Print the JSON schema of policies, for editors.
///
/// Editors that know YAML complete and check keys with it. With `yaml-language-server`, which most of them use,
/// a first line in the policy names it:
///
///   # yaml-language-server: $schema=tollgate.schema.json
///
/// It knows keys, types and words; `tollgate check` knows the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tollgate schema > tollgate.schema.json")]
pub(super) struct Args {}

pub(super) fn schema(_: &Args) -> Exit {
    // Plain data with text keys: there is nothing in it that JSON could not say.
    outln!("{}", serde_json::to_string_pretty(&policy::schema()).unwrap_or_default());
    Exit::Done
}
