//! A comparison for people and for the tools of continuous integration.

mod annotations;
mod junit;
mod markdown;
mod metrics;
mod words;

pub use annotations::annotations;
pub use junit::junit;
pub use markdown::markdown;
pub use metrics::metrics;
pub use words::{detectable, growth, headline, limits, value, verdict};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::document::{Change, Comparison, LayerChange, LayerCount, Outcome, Row, Tier, Verdict};
    use crate::profile::Fingerprint;
    use crate::profile::metric::Unit;

    fn row(name: &str, gated: bool, verdict: Verdict) -> Row {
        let change = Change {
            samples: 10,
            estimate: 0.1,
            lower: Some(0.08),
            upper: None,
            p: 0.001,
            alpha: 0.0221,
            deviation: Some(0.01),
            detectable: Some(0.03),
            bootstrap: None,
        };
        Row {
            name: name.to_owned(),
            unit: Unit::Seconds,
            tier: Tier::Resource,
            gated,
            baseline: Some(0.25),
            candidate: Some(0.275),
            verdict,
            ignore: Some(0.02),
            harm: Some(0.05),
            change: Some(change),
            source: "wait4".into(),
            note: None,
        }
    }

    fn comparison(rows: Vec<Row>) -> Comparison {
        let names = ["./old `x`".to_owned(), "./new <b>|".to_owned()];
        let mut comparison = Comparison::new("ci", names, [Fingerprint::default(), Fingerprint::default()]);
        comparison.rows = rows;
        let count = LayerCount { parameters: 5, macs: 50, activation_bytes: 1 };
        comparison.layers = vec![LayerChange {
            what: "detection".into(),
            name: "a_b.0".into(),
            kind: "linear".into(),
            baseline: None,
            candidate: Some(count),
        }];
        comparison.concluded()
    }

    fn mixed() -> Comparison {
        comparison(vec![row("wall time", false, Verdict::Inconclusive), row("CPU time", true, Verdict::Regressed)])
    }

    #[test]
    fn the_comment_begins_with_its_marker_and_folds_what_does_not_decide() {
        let text = markdown(&mixed());
        assert!(text.starts_with("<!-- etalon:ci -->\n### ❌ Regression: CPU time +10.00 %"), "{text}");
        let (before, folded) = text.split_once("<details>").unwrap();
        assert!(before.contains("| CPU time | 0.250 s | 0.275 s | +10.00 % | +8.00 % to ? | 3.0 % | **regressed** |"), "{before}");
        assert!(before.contains("detection: a\\_b.0") && folded.contains("wall time") && !before.contains("wall time"));
        // Names cannot end a code span or begin an element.
        assert!(before.contains("`./old 'x'` → `./new <b>|`"));
    }

    #[test]
    fn the_comment_of_thousands_of_rows_stays_below_the_limit_and_keeps_its_tags() {
        let many = (0..5000).map(|i| row(&format!("metric {i} <script>@all"), false, Verdict::Informational));
        let text = markdown(&comparison(many.chain([row("CPU time", true, Verdict::Pass)]).collect()));
        assert!(text.len() <= 60_000 && text.contains("more rows are in verdict.json") && text.contains("</details>"), "{}", text.len());
        assert!(!text.contains("<script>") && !text.contains("@all"));
        let gated = markdown(&comparison((0..5000).map(|i| row(&format!("metric {i}"), true, Verdict::Pass)).collect()));
        assert!(gated.len() <= 60_000 && gated.ends_with("The rest is in verdict.json.\n"));
    }

    #[test]
    fn junit_fails_on_what_is_gated_only() {
        let text = junit(&mixed());
        assert!(text.contains(r#"tests="2" disabled="1" errors="0" failures="1""#) || text.contains(r#"failures="1""#), "{text}");
        assert!(text.contains(r#"<testcase name="CPU time" classname="etalon.ci">"#) && text.contains("regression"), "{text}");
        assert!(text.contains("not gated: 0.250 s") && !text.contains("<b>"), "{text}");
    }

    #[test]
    fn annotations_are_ten_at_most_and_cannot_be_forged() {
        let lines = annotations(&mixed());
        assert_eq!(lines, ["::error title=CPU time regressed::CPU time: 0.250 s -> 0.275 s (+10.00 %25, bounds +8.00 %25 to ?)"]);
        let forged = annotations(&comparison(vec![row("a\n::error::b", true, Verdict::Regressed)]));
        assert!(forged[0].lines().count() == 1 && forged[0].contains("%0A"), "{forged:?}");
        let many = annotations(&comparison((0..30).map(|i| row(&format!("m{i}"), true, Verdict::Regressed)).collect()));
        assert!(
            headline(&comparison((0..30).map(|i| row(&format!("m{i}"), true, Verdict::Regressed)).collect())).ends_with(" and 27 more")
        );
        assert!(many.len() == 10 && many[9].contains("21 more rows"), "{many:?}");
    }

    #[test]
    fn metrics_are_a_line_each_and_the_document_survives_the_disk() {
        assert_eq!(metrics(&mixed()).lines().next(), Some(r#"etalon{comparison="ci",metric="CPU time"} 0.275"#));
        let comparison = mixed();
        let text = serde_json::to_string(&comparison).unwrap();
        assert_eq!(serde_json::from_str::<Comparison>(&text).unwrap(), comparison);
    }

    #[test]
    fn what_differs_between_machines_is_the_headline() {
        let mut comparison = comparison(Vec::new());
        comparison.differences = vec!["kernel: \"1\" against \"2\"".into()];
        let comparison = comparison.concluded();
        assert_eq!(comparison.outcome, Outcome::NotComparable);
        assert!(markdown(&comparison).contains("kernel") && junit(&comparison).contains("errors=\"1\""));
        assert!(annotations(&comparison)[0].starts_with("::error title=not comparable::"));
    }
}
