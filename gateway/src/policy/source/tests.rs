//! The walk against serde_yaml's own reading of the same text.

use std::fs;
use std::path::Path;

use super::super::gather::LIMITS;
use super::*;

/// What the walk says, if it refuses nothing.
fn walked(text: &str) -> Option<Value> {
    Source::scan(text, &LIMITS).1.ok()
}

fn same(text: &str, name: &str) -> bool {
    let Some(walked) = walked(text) else { return false };
    let read: Value = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(walked, read, "{name}");
    true
}

#[test]
fn every_policy_here_is_read_as_serde_yaml_reads_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for folder in ["../policies", "../policies/cases", "tests/fixtures/policy"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                // One of the fixtures is no UTF-8.
                let Ok(text) = fs::read_to_string(&path) else { continue };
                let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
                count += usize::from(same(text, &path.display().to_string()));
            }
        }
    }
    assert!(count > 80, "only {count} files were compared");
}

#[test]
fn each_way_to_write_a_value_is_read_as_serde_yaml_reads_it() {
    let all = [
        "a: |\n  one\n   two\n\n  three\n\nb: 1",
        "a: |-\n  one\n\nb: |+\n  two\n\nc: 3",
        "a: >\n  one\n  two\n\n  three\n    four\n  five\nb: 1",
        "a: >-\n  one\n  two\n",
        "a: |2\n    indented\n  less\n",
        "a: one\n  two\n\n  three\nb: 'it''s\n  folded\n\n  twice'\n",
        "a: \"tab\\t quote\\\" unicode\\u00e9 \\x41 \\\n  joined  \\  \"\n",
        "a: \"one\n  two\n\n  three\"\n",
        "{a: [1, two, 'three', \"four\", 5.5, null, ~, ], b: {c: , d}, e: []}",
        "- 1\n-\n- - nested\n  - list\n- a: 1\n  b: 2\n- {}\n- ''\n",
        "a: &x {b: 1, c: [2, 3]}\nd: *x\ne: [*x, *x]\n",
        "a: &x one\nb: &y [*x, &z 2]\nc: *y\nd: *z\ne: &n\nf: *n\n",
        "? a\n: 1\n? b\n",
        "1: a\ntrue: b\nnull: c\n'2': d\n1.5: e\n",
        "# comment\na: 1 # more\n# b: 2\nc: a#b\nurl: http://x:80/y?z#w\n",
        "---\na: 1\n...\n",
        "%YAML 1.2\n---\na: 1\n",
        "a: '#'\nb: \"\\n\"\nc: ''\nd: \"\"\ne: ' '\n",
        "a:\n- 1\n- 2\nb:\n  - 3\n",
        "a: -1\nb: - 1\n",
        "plain: a b  c\tdone: no\n",
        "\u{e9}: \u{1f600}\n",
        "a: 10.0.0.1:80\nb: ::1\nc: [a:b, x: y]\n",
        "a: 0o17\nb: 0x1F\nc: 017\nd: .inf\ne: -.INF\nf: 1e3\ng: +12\nh: 18446744073709551615\n",
        "just text",
        "",
        "# nothing\n",
    ];
    let compared = all.into_iter().filter(|text| same(text, text)).count();
    assert!(compared >= 24, "only {compared} were compared");
}

#[test]
fn what_aliases_stand_for_is_bounded_before_it_is_made() {
    let limits = Limits { nodes: 100, ..LIMITS };
    let refused = |text: &str| Source::scan(text.to_owned(), &limits).1.is_err();
    // Ten values, kept once more for the aliases.
    let base = "a: &x [1, 2, 3, 4, 5, 6, 7, 8, 9]\n";
    let uses = |count: usize| format!("{base}b: [{}]\n", "*x, ".repeat(count));
    assert!(!refused(&uses(7)));
    assert!(refused(&uses(8)));
    // Anchors within each other weigh what they hold, each once more.
    let nested: String = (0..8).map(|n| format!("{{k{n}: &y{n} ")).chain([" }".repeat(8)]).collect();
    assert!(!refused(&nested));
    let within = format!("{base}b: {}*x{}\n", "[*x, ".repeat(8), "]".repeat(8));
    assert!(refused(&within));
}

#[test]
fn a_key_of_many_is_found() {
    let text: String = (0..1000).map(|n| format!("k{}: {n}\n", n * 7919 % 1000)).collect();
    let (source, value) = Source::scan(text.as_str(), &LIMITS);
    assert_eq!(value.unwrap().as_mapping().map(serde_yaml::Mapping::len), Some(1000));
    assert_eq!(source.span(&[Step::Key("k0")], Part::Key).start, Position { line: 1, column: 1 });
    assert_eq!(source.span(&[Step::Key("k919")], Part::Value).start, Position { line: 2, column: 7 });
    assert!(!source.has(&[Step::Key("k1000")]));
    let twice = format!("{text}k5: 1\n");
    let failures = Source::scan(twice, &LIMITS).1.unwrap_err();
    assert_eq!(failures.len(), 1);
    assert_eq!((failures[0].span.start.line, failures[0].related.is_some()), (1001, true));
}

/// Each alias nests what it stands for a little deeper: a short text, a value of thousands of levels, over
/// which everything walks by recursion.
#[test]
fn aliases_of_aliases_nest_no_deeper_than_what_is_written() {
    let mut text = "b0: &b0 [x]\n".to_owned();
    for level in 1..400 {
        text += &format!("b{level}: &b{level} [[[[*b{}]]]]\n", level - 1);
    }
    let failures = Source::scan(&text, &LIMITS).1.unwrap_err();
    assert!(failures[0].message.contains("within each other"), "{failures:?}");
    // As deep as what is written may be.
    let nested = |count: usize| format!("a: &a {}x{}\nb: *a\n", "[".repeat(count), "]".repeat(count));
    assert!(walked(&nested(LIMITS.depth - 1)).is_some());
    assert!(walked(&nested(LIMITS.depth)).is_none());
    let below = format!("a: &a {}x{}\nb: [*a]\n", "[".repeat(LIMITS.depth - 1), "]".repeat(LIMITS.depth - 1));
    assert!(walked(&below).is_none());
}

#[test]
fn keys_that_mean_the_same_are_refused_however_they_are_written() {
    for text in ["{1: a, 0x1: b}", "{~: a, null: b}", "{true: a, True: b}", "{a: 1, 'a': 2}"] {
        assert!(walked(text).is_none(), "{text}");
    }
}
