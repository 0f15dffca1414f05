//! The pickle of columns that ActionFormer's family writes (`eval_results.pkl` of `eval.py --saveonly`): `video-id` a list of names,
//! `t-start`, `t-end`, `label` and `score` arrays of numpy or lists. Read as data: nothing in it is executed.

use std::path::Path;

use super::json::{Columns, DetectionFile, Label};
use super::{Error, GroundTruth, Result};
use crate::data::pickle::{Node, Pickle};

impl DetectionFile {
    /// Reads detections from the `bytes` of a pickle, with the labels of `truth`. `file` is named in errors.
    ///
    /// # Errors
    /// No pickle of such columns, columns of different length, or a detection that ends before it starts.
    pub fn unpickle(bytes: &[u8], file: &Path, truth: &GroundTruth) -> Result<Self> {
        let bad = |problem: String| Error::Pickle { file: file.to_owned(), problem };
        let pickle = Pickle::read(bytes).map_err(|e| bad(e.to_string()))?;
        let Node::Dict(entries) = pickle.root() else { return Err(bad("it holds no dict of columns".to_owned())) };
        let column = |name: &str| pickle.get(entries, name).ok_or_else(|| bad(format!("it has no column \"{name}\"")));
        let numbers = |name: &str| {
            pickle
                .numbers(column(name)?, bytes)
                .ok_or_else(|| bad(format!("its column \"{name}\" is no list and no array of one dimension of numbers")))
        };
        let Node::List(names) = column("video-id")? else { return Err(bad("its column \"video-id\" is no list".to_owned())) };
        let names = names.iter().map(|id| pickle.text(*id).map(str::to_owned)).collect::<Option<Vec<_>>>();
        let whole = |number: f64| {
            if number.fract() == 0.0 { Ok(Label::Number(number as i64)) } else { Err(bad(format!("label {number} is no class"))) }
        };
        let columns = Columns {
            video: names.ok_or_else(|| bad("its column \"video-id\" holds something else than names".to_owned()))?,
            start: numbers("t-start")?,
            end: numbers("t-end")?,
            label: numbers("label")?.into_iter().map(whole).collect::<Result<_>>()?,
            score: numbers("score")?,
        };
        columns.read(file, truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::fixture;

    fn truth() -> GroundTruth {
        GroundTruth { classes: vec!["a".into(), "b".into()], ..GroundTruth::default() }.numbered()
    }

    #[test]
    fn columns_of_every_protocol_and_kind_are_read() {
        for name in ["protocol-3", "protocol-4", "protocol-5"] {
            let path = fixture(&format!("detections/{name}.pkl"));
            let read = DetectionFile::unpickle(&std::fs::read(&path).unwrap(), &path, &truth()).unwrap();
            let rows: Vec<_> = read.rows().map(|(v, d)| (v.to_owned(), d.segment.start, d.segment.end, d.label, d.score)).collect();
            assert_eq!(rows, [("v1".to_owned(), 0.5, 1.5, 1, 0.25), ("v2".to_owned(), 2.0, 4.0, 0, 0.75)], "{name}");
        }
    }

    #[test]
    fn what_holds_no_columns_is_refused_by_name() {
        let path = fixture("detections/protocol-4.pkl");
        let bytes = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| DetectionFile::unpickle(bytes, &path, &truth()).unwrap_err().to_string();
        assert!(refused(b"\x80\x04]\x94.").contains("no dict of columns"));
        assert!(refused(b"\x80\x04}\x94.").contains("no column \"video-id\""));
        let nan = b"\x80\x04}(\x8c\x08video-id](\x8c\x02v1e\x8c\x07t-start](K\x00e\x8c\x05t-end](K\x01e\x8c\x05label](G\x7f\xf8\x00\x00\x00\x00\x00\x00e\x8c\x05score](K\x01eu.";
        assert!(refused(nan).contains("label NaN is no class"));
        for cut in 0..bytes.len() {
            assert!(refused(&bytes[..cut]).contains("protocol-4.pkl"));
        }
    }
}
