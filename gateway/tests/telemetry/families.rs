//! The table of metrics in the README.

use std::collections::BTreeSet;
use std::path::Path;

use crate::guests::always;
use crate::support::{Gateway, Origin};

/// The names of families of ours in a page of metrics.
fn scraped(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.map(|line| line.split(' ').next().unwrap().to_owned());
    names.filter(|name| !name.starts_with("tollgate_guest_")).collect()
}

/// The names at the beginnings of the lines of the table, without `_total` and `_info`.
fn documented() -> BTreeSet<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("What /metrics shows")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    let base = |name: &str| {
        let name = name.strip_suffix("_total").unwrap_or(name);
        format!("tollgate_{}", name.strip_suffix("_info").unwrap_or(name))
    };
    names.filter(|name| !name.starts_with("guest_")).map(base).collect()
}

#[test]
fn the_readme_lists_what_there_is() {
    let module = always("request_headers", "(i32.const 0)");
    let gateway = Gateway::start(&crate::policy(&module, &Origin::echo(), ""));
    let page = gateway.admin_get("/metrics");
    let (scraped, documented) = (scraped(page.text()), documented());
    let (missing, gone): (Vec<_>, Vec<_>) =
        (scraped.difference(&documented).collect(), documented.difference(&scraped).collect());
    assert!(missing.is_empty() && gone.is_empty(), "not in the table: {missing:?}; not scraped: {gone:?}");
}

/// Labels whose values are a closed set.
const LISTED: [&str; 9] =
    ["outcome", "decision", "verdict", "kind", "state", "finding", "event", "side", "direction"];

/// What is between back-ticks in the row of a family.
fn words(family: &str) -> BTreeSet<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let row = readme.lines().find(|line| line.starts_with(&format!("| `{family}` |")));
    row.unwrap_or_default().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_readme_lists_the_values_of_labels() {
    let module = always("request_headers", "(i32.const 0)");
    let gateway = Gateway::start(&crate::policy(&module, &Origin::echo(), ""));
    let page = gateway.admin_get("/metrics");
    let mut missing = BTreeSet::new();
    for line in page.text().lines().filter(|line| line.starts_with("tollgate_")) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let family = name.trim_start_matches("tollgate_");
        let labels = rest.split('}').next().unwrap().split("\",");
        for (label, value) in labels.filter_map(|pair| pair.split_once("=\"")) {
            let value = value.trim_end_matches('"');
            if LISTED.contains(&label) && !words(family).contains(value) {
                missing.insert(format!("{family} {label}={value}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
