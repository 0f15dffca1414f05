//! A list of tIoU thresholds and how it is written: `0.3:0.7:0.1` (both ends included) or `0.5,0.75,0.95`.

use std::str::FromStr;

use super::{Error, Result};

/// Thresholds above 0 and up to 1, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<f64>);

impl Thresholds {
    /// The thresholds.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// Refuses an empty list and values that no overlap can reach, or that any can.
    pub(super) fn check(values: &[f64]) -> Result<()> {
        let problem = match values {
            [] => "is empty",
            _ if values.iter().all(|value| *value > 0.0 && *value <= 1.0) => return Ok(()),
            _ => "leaves the range from 0 to 1",
        };
        Err(Error::Thresholds { text: values.iter().map(f64::to_string).collect::<Vec<_>>().join(","), problem })
    }
}

impl FromStr for Thresholds {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |problem| Error::Thresholds { text: text.to_owned(), problem };
        let number = |part: &str| part.trim().parse::<f64>().map_err(|_| bad("has a part that is no number"));
        let ends: Vec<&str> = text.split(':').collect();
        let values = match ends[..] {
            [list] => list.split(',').map(number).collect::<Result<Vec<f64>>>()?,
            [start, end, step] => {
                let (start, end, step) = (number(start)?, number(end)?, number(step)?);
                // Negated so that NaN is refused too.
                if !(step > 1e-6 && start > 0.0 && start <= end && end <= 1.0) {
                    return Err(bad("does not rise from start to end in steps above 0"));
                }
                let steps = ((end - start) / step + 1e-9).floor() as usize;
                // Whole decimals: 0.4 rather than 0.3 + 0.1 with its rounding error.
                (0..=steps).map(|i| ((start + i as f64 * step) * 1e9).round() / 1e9).collect()
            }
            _ => return Err(bad("has not one or three parts between colons")),
        };
        Self::check(&values).map_err(|_| bad("leaves the range from 0 to 1"))?;
        Ok(Self(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<f64> {
        text.parse::<Thresholds>().unwrap().0
    }

    #[test]
    fn a_grid_includes_both_ends_in_whole_decimals() {
        assert_eq!(parsed("0.3:0.7:0.1"), [0.3, 0.4, 0.5, 0.6, 0.7]);
        assert_eq!(parsed("0.5:0.95:0.05").len(), 10);
        assert_eq!(parsed("0.5:0.95:0.05")[9], 0.95);
        assert_eq!(parsed("0.3:0.75:0.2"), [0.3, 0.5, 0.7]);
    }

    #[test]
    fn a_list_keeps_its_order() {
        assert_eq!(parsed("0.75, 0.5"), [0.75, 0.5]);
    }

    #[test]
    fn nonsense_is_refused_with_the_grammar() {
        for text in ["", "abc", "0.3:0.7", "0.7:0.3:0.1", "0.3:0.7:0", "0.3:0.7:-0.1", "0:0.5:0.1", "0.5,1.5", "NaN", "0.5:NaN:0.1"] {
            let error = text.parse::<Thresholds>().unwrap_err().to_string();
            assert!(error.contains("start:end:step"), "{text}: {error}");
        }
    }
}
