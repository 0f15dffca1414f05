//! Published arrays that the tests of suppression compare with.

use safetensors::tensor::{Dtype, SafeTensors};

use crate::data::Segment;
use crate::data::testing::fixture;
use crate::eval::Detection;

/// A `.safetensors` file of recorded inputs and outputs.
pub(super) struct Fixture(Vec<u8>);

impl Fixture {
    /// Opens a file of `tests/fixtures/parity`.
    pub fn open(name: &str) -> Self {
        let path = fixture("parity").join(name);
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Rows of a floating-point array; a vector has rows of one.
    pub fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let values: Vec<f64> = match tensor.dtype() {
            Dtype::F32 => tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            Dtype::F64 => tensor.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            other => panic!("{name} is {other:?}"),
        };
        let columns = tensor.shape().get(1).copied().unwrap_or(1);
        values.chunks_exact(columns).map(<[f64]>::to_vec).collect()
    }

    /// A vector of 64-bit integers.
    pub fn indices(&self, name: &str) -> Vec<usize> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        tensor.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize).collect()
    }

    /// The candidates of a case: its `segs`, `scores` and, where it has them, `labels`.
    pub fn detections(&self, case: &str) -> Vec<Detection> {
        let (segments, scores) = (self.rows(&format!("{case}/segs")), self.rows(&format!("{case}/scores")));
        let labels = if case.starts_with("batched") { self.indices(&format!("{case}/labels")) } else { vec![0; scores.len()] };
        let rows = segments.iter().zip(scores).zip(labels);
        rows.map(|((s, score), label)| Detection { segment: Segment { start: s[0], end: s[1] }, label, score: score[0] }).collect()
    }
}
