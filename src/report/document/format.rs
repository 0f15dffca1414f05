//! Values as a reader meets them.

use crate::report::model::Spread;

pub fn dash() -> String {
    "–".to_owned()
}

pub fn percent(score: f64) -> String {
    format!("{:.1}", 100.0 * score)
}

pub fn percent_label(value: f64) -> String {
    format!("{value} %")
}

pub fn spread(s: &Spread) -> String {
    s.sd.map_or_else(|| percent(s.mean), |sd| format!("{} ± {}", percent(s.mean), percent(sd)))
}

/// A difference of scores in mAP points, with its sign.
pub fn points(mean: f64, sd: Option<f64>) -> String {
    let spread = sd.map_or_else(String::new, |sd| format!(" ± {}", percent(sd)));
    // What rounds to nought has no sign of its own.
    format!("{:+.1}{spread}", (1000.0 * mean).round() / 10.0 + 0.0)
}

/// Two digits, never more certain than the draws behind it.
pub fn probability(p: f64) -> String {
    match p {
        p if p > 0.995 => "> 0.99".to_owned(),
        p if p < 0.005 => "< 0.01".to_owned(),
        p => format!("{p:.2}"),
    }
}

/// Three digits, or all of a large number.
pub fn significant(value: f64) -> String {
    match value {
        v if v >= 100.0 => grouped(v.round() as u64),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// "a, b and c".
pub fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e5 || (v > 0.0 && v < 1e-3) => format!("{value:.1e}"),
        v if v >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.3}"),
    }
}

/// Seconds as a person would say them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

pub fn memory(bytes: u64) -> String {
    let mib = bytes as f64 / (1024.0 * 1024.0);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

/// Thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let chunks: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|c| std::str::from_utf8(c).expect("digits are ASCII")).collect();
    chunks.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_naturally() {
        assert_eq!((duration(3.21), duration(400.0), duration(7200.0)), ("3.2 s".into(), "6.7 min".into(), "2.0 h".into()));
        assert_eq!((memory(300 << 20), memory(3 << 30)), ("300 MiB".into(), "3.00 GiB".into()));
        assert_eq!((grouped(12), grouped(1_234_567)), ("12".into(), "1 234 567".into()));
        assert_eq!(
            (points(-0.0123, Some(0.004)), points(0.2, None), points(-0.0001, None)),
            ("-1.2 ± 0.4".into(), "+20.0".into(), "+0.0".into())
        );
        assert_eq!((probability(0.9991), probability(0.0), probability(0.5)), ("> 0.99".into(), "< 0.01".into(), "0.50".into()));
        assert_eq!([0.0123, 1.234, 45.67, 12_345.6].map(significant), ["0.012", "1.23", "45.7", "12 346"]);
        assert_eq!(listed(&["a", "b", "c"].map(String::from)), "a, b and c");
    }
}
