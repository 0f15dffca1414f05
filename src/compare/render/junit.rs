//! JUnit: one test per row, so that any CI shows the verdicts. Inconclusive and informational rows are skipped tests.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::words;
use crate::compare::document::{Comparison, Outcome, Row, Verdict};

/// The XML document.
pub fn junit(comparison: &Comparison) -> String {
    let mut suite = TestSuite::new(format!("etalon compare {}", comparison.id));
    if comparison.outcome == Outcome::NotComparable {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type("not-comparable").set_message(words::headline(comparison));
        suite.add_test_case(TestCase::new("comparable", status));
    }
    for row in &comparison.rows {
        let mut case = TestCase::new(row.name.as_str(), status(row));
        case.set_classname(format!("etalon.{}", comparison.id));
        suite.add_test_case(case);
    }
    let mut report = Report::new("etalon compare");
    report.add_test_suite(suite);
    report.to_string().expect("a report is plain text")
}

fn status(row: &Row) -> TestCaseStatus {
    let sentence = format!(
        "{} -> {} ({}{})",
        words::value(row.baseline, row.unit),
        words::value(row.candidate, row.unit),
        words::growth(row),
        match words::limits(row) {
            limits if limits.is_empty() => limits,
            limits => format!(", {limits}"),
        }
    );
    match row.verdict {
        Verdict::Regressed if row.gated => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type("regression").set_message(sentence);
            status
        }
        Verdict::Pass | Verdict::Improved if row.gated => TestCaseStatus::success(),
        verdict => {
            let mut status = TestCaseStatus::skipped();
            let word = if row.gated { words::verdict(verdict) } else { "not gated" };
            status.set_message(format!("{word}: {sentence}"));
            status
        }
    }
}
