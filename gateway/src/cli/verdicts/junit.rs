//! The report as JUnit XML, as far as its readers agree: a suite for each file, a case each, failures as text.

use std::fmt::Write;
use std::path::Path;

use super::Tested;
use crate::workbench::cases::Verdict;

/// The report of one run on `subject`.
pub(super) fn report(subject: &Path, tested: &[Tested]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let suite = escaped(&subject.display().to_string());
    for Tested { file, verdicts } in tested {
        let failed = verdicts.iter().filter(|verdict| !verdict.passed()).count();
        let seconds: f64 = verdicts.iter().map(|verdict| verdict.duration.as_secs_f64()).sum();
        let (count, file) = (verdicts.len(), escaped(&file.display().to_string()));
        // Writing to a String does not fail.
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{suite}\" tests=\"{count}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.6}\">"
        );
        for verdict in verdicts {
            case(&mut xml, &suite, &file, verdict);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, suite: &str, file: &str, verdict: &Verdict) {
    let (name, line) = (escaped(&verdict.name), verdict.position.line);
    let seconds = verdict.duration.as_secs_f64();
    let _ = write!(
        xml,
        "    <testcase classname=\"{suite}\" name=\"{name}\" file=\"{file}\" line=\"{line}\" time=\"{seconds:.6}\""
    );
    let Some(first) = verdict.mismatches.first() else {
        xml.push_str("/>\n");
        return;
    };
    let message = escaped(&format!("expected {}, got {}", first.expected, first.got));
    let _ = write!(xml, ">\n      <failure message=\"{message}\">");
    for mismatch in &verdict.mismatches {
        let text = format!(
            "line {}: {}\n  expected: {}\n  got: {}\n",
            mismatch.position.line, mismatch.path, mismatch.expected, mismatch.got
        );
        xml.push_str(&escaped(&text));
    }
    xml.push_str("</failure>\n");
    if !verdict.log.is_empty() {
        xml.push_str("      <system-out>");
        verdict.log.iter().for_each(|line| {
            let _ = writeln!(xml, "{} {}", line.level, escaped(&line.text));
        });
        xml.push_str("</system-out>\n");
    }
    xml.push_str("    </testcase>\n");
}

/// Text for an element or attribute; what XML cannot hold is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::diagnostics::Position;
    use crate::workbench::cases::Mismatch;

    #[test]
    fn what_xml_forbids_is_escaped_or_replaced() {
        let position = Position { line: 3, column: 1 };
        let mismatch = Mismatch {
            position,
            path: "cases[0]".to_owned(),
            expected: "\"a\" & <b>".to_owned(),
            got: "\u{1}".to_owned(),
        };
        let verdict = Verdict {
            name: "a \"case\"".into(),
            position,
            duration: Duration::ZERO,
            mismatches: vec![mismatch],
            log: Vec::new(),
        };
        let xml = report(Path::new("m.wasm"), &[Tested { file: "t.yaml".into(), verdicts: vec![verdict] }]);
        assert!(xml.contains("name=\"a &quot;case&quot;\""), "{xml}");
        assert!(xml.contains("expected &quot;a&quot; &amp; &lt;b&gt;, got \u{FFFD}"), "{xml}");
        assert!(xml.contains("tests=\"1\" failures=\"1\""), "{xml}");
    }
}
