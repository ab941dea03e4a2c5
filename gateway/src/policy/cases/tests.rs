//! What a matcher takes; the file's form is tested through the binary (`tests/filter_tools`).

use super::*;

#[test]
fn matchers_count_values() {
    let (one, two): (&[&[u8]], &[&[u8]]) = (&[b"a"], &[b"a", b"b"]);
    let holds = |matcher: &Matcher| [&[][..], one, two].map(|values| matcher.holds(values));
    let table = [
        (Matcher::Equals("a".into()), [false, true, false]),
        (Matcher::All(vec!["a".into(), "b".into()]), [false, false, true]),
        (Matcher::All(vec![]), [true, false, false]),
        (Matcher::Contains("b".into()), [false, false, true]),
        (Matcher::Matches(Regex::new("^a$").unwrap()), [false, true, true]),
        (Matcher::Present, [false, true, true]),
        (Matcher::Absent, [true, false, false]),
    ];
    for (matcher, expected) in table {
        assert_eq!(holds(&matcher), expected, "{matcher}");
    }
}
