//! "Did you mean": the nearest of the names that would have been right.

/// The candidate nearest to `word`, if it is near enough to be what was meant: at most a third of
/// the letters differ (a swap of neighbours counts as one).
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let reach = (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= reach * 4)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Words beyond this are no typing errors, and the distance is quadratic.
const LONGEST: usize = 100;

fn distance(a: &str, b: &str) -> usize {
    strsim::osa_distance(&a.to_lowercase().replace('-', "_"), &b.to_lowercase().replace('-', "_"))
}

/// `a`, `b` or `c`, for a sentence; beyond a handful the rest is counted.
pub(super) fn listed<'c>(words: impl IntoIterator<Item = &'c str>) -> String {
    const SHOWN: usize = 12;
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] if words.len() <= SHOWN => format!("{} or {last}", first.join(", ")),
        many => format!("{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_typing_error_and_leaves_a_different_word() {
        let names = ["prefix", "exact", "regex"];
        assert_eq!(nearest("prefx", names), Some("prefix"));
        assert_eq!(nearest("exatc", names), Some("exact"));
        assert_eq!(nearest("Regex", names), Some("regex"));
        assert_eq!(nearest("glob", names), None);
        assert_eq!(nearest(&"x".repeat(1000), names), None);
    }

    #[test]
    fn lists_for_a_sentence() {
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` or `c`");
        assert!(listed(["x"; 20]).ends_with("and 8 more"));
    }
}
