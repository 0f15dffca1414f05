//! What a joint training sees of its clips: all, or, in LoFi (Xu et al., NeurIPS 2021, §3.2), fewer snippets, fewer pixels or
//! both, so that all of them cost a fourth. Full fidelity is never used in LoFi's joint training.

use tch::Tensor;

use crate::config::encoder::{Fidelity as Lowered, Lofi, Training};

/// Updates of a short cycle's turn (the paper's c_s).
const SHORT: u64 = 16;

/// How much of a clip is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fidelity {
    /// A cell stands for this many snippets, of which one is seen.
    pub slower: usize,
    /// Width and height are divided by this.
    pub smaller: f64,
}

/// Fidelities that a training goes through.
#[derive(Clone, Debug, PartialEq)]
pub struct Fidelities {
    turns: Vec<Fidelity>,
    /// Updates per turn; passes over the sample without it.
    updates: Option<u64>,
}

const FULL: Fidelity = Fidelity { slower: 1, smaller: 1.0 };
const SPACE: Fidelity = Fidelity { slower: 1, smaller: 2.0 };
const TIME: Fidelity = Fidelity { slower: 4, smaller: 1.0 };
const BOTH: Fidelity = Fidelity { slower: 2, smaller: std::f64::consts::SQRT_2 };

impl Fidelities {
    /// Those of a training.
    pub fn of(training: &Training) -> Self {
        let Training::Lofi(Lofi { fidelity, .. }) = training else {
            return Self { turns: vec![FULL], updates: None };
        };
        let (turns, updates) = match fidelity {
            Lowered::S => (vec![SPACE], None),
            Lowered::T => (vec![TIME], None),
            Lowered::St => (vec![BOTH], None),
            Lowered::ShortCycle => (vec![SPACE, TIME, BOTH], Some(SHORT)),
            Lowered::LongCycle => (vec![SPACE, TIME, BOTH], None),
        };
        Self { turns, updates }
    }

    /// The fidelity of update `step` in pass `pass`, both from 0.
    pub fn at(&self, pass: u64, step: u64) -> Fidelity {
        let turn = self.updates.map_or(pass, |updates| step / updates);
        self.turns[(turn % self.turns.len() as u64) as usize]
    }

    /// Divisors of the number of cells beside 1.
    pub fn slower(&self) -> Vec<usize> {
        self.turns.iter().map(|f| f.slower).filter(|&times| times > 1).collect()
    }
}

impl Fidelity {
    /// `[N, 3, L, H, W]` with the means over what a new pixel covers.
    pub fn shrink(self, clips: &Tensor) -> Tensor {
        if self.smaller == 1.0 {
            return clips.shallow_clone();
        }
        let size = clips.size();
        let [height, width] = [size[3], size[4]].map(|n| ((n as f64 / self.smaller).round() as i64).max(1));
        clips.adaptive_avg_pool3d([size[2], height, width])
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn cycle(fidelity: Lowered) -> Fidelities {
        Fidelities::of(&Training::Lofi(Lofi { fidelity, steps: None }))
    }

    #[test]
    fn every_low_fidelity_costs_a_fourth_and_cycles_turn_when_they_should() {
        for fidelity in [SPACE, TIME, BOTH] {
            assert!((fidelity.slower as f64 * fidelity.smaller.powi(2) - 4.0).abs() < 1e-9);
        }
        let long = cycle(Lowered::LongCycle);
        assert_eq!([long.at(0, 99), long.at(1, 100), long.at(2, 200), long.at(3, 300)], [SPACE, TIME, BOTH, SPACE]);
        let short = cycle(Lowered::ShortCycle);
        assert_eq!([short.at(0, 15), short.at(0, 16), short.at(9, 47), short.at(9, 48)], [SPACE, TIME, BOTH, SPACE]);
        assert_eq!((cycle(Lowered::T).slower(), Fidelities::of(&Training::Plain).at(5, 5)), (vec![4], FULL));
    }

    #[test]
    fn fewer_pixels_are_means() {
        let clips = Tensor::arange(16, (Kind::Float, Device::Cpu)).view([1, 1, 1, 4, 4]);
        let small = SPACE.shrink(&clips);
        assert_eq!((small.size(), small.double_value(&[0, 0, 0, 0, 0])), (vec![1, 1, 1, 2, 2], 2.5));
        assert_eq!(BOTH.shrink(&Tensor::zeros([1, 3, 2, 224, 224], (Kind::Float, Device::Cpu))).size(), [1, 3, 2, 158, 158]);
    }
}
