//! ETAD's lattice of proposals and how training proposals are drawn from it (paper §3.3, authors' `dataset.py`).
//!
//! Index (d, t): d + 1 cells long, starting at cell t; valid when it ends inside. Canonical order is row-major in (d, t).

use crate::base::Stream;
use crate::config::etad::ProposalSampling;

/// One proposal in 0..1 of the input: single-precision roundings of double-precision quotients, as published.
pub type Anchor = (f32, f32);

/// The lattice of `time` start cells and `max_duration` durations.
#[derive(Clone, Copy, Debug)]
pub struct Lattice {
    /// Cells of the input (T).
    pub time: usize,
    /// Longest proposal in cells (D).
    pub max_duration: usize,
}

impl Lattice {
    /// The proposal of index (d, t).
    pub fn anchor(self, d: usize, t: usize) -> Anchor {
        let time = self.time as f64;
        ((t as f64 / time) as f32, ((t + d + 1) as f64 / time) as f32)
    }

    /// All valid indices in row-major order.
    pub fn valid(self) -> Vec<(usize, usize)> {
        (0..self.max_duration.min(self.time)).flat_map(|d| (0..self.time - d).map(move |t| (d, t))).collect()
    }

    /// The grid strategy: steps of √(1/ratio) from index 1 on, rounded half to even.
    pub fn grid(self, ratio: f64) -> Vec<(usize, usize)> {
        let step = (1.0 / ratio).sqrt();
        let axis = |end: usize| -> Vec<usize> {
            (0..).map(|k| 1.0 + k as f64 * step).take_while(|&x| x < end as f64).map(|x| x.round_ties_even() as usize).collect()
        };
        let starts = axis(self.time);
        let pairs = axis(self.max_duration).into_iter().flat_map(|d| starts.iter().map(move |&t| (d, t)));
        pairs.filter(|&(d, t)| d < self.max_duration && d + t < self.time).collect()
    }

    /// Indices that cover every duration and start at a resolution relative to the length: step 1 up to 7 cells, 2 up to
    /// 15, 4 up to 31 and so on. Any segment meets one of them at tIoU 0.75 or more; the cascade refines the rest away.
    pub fn pyramid(self) -> Vec<(usize, usize)> {
        let on_grid = |&(d, t): &(usize, usize)| {
            let step = 1 << ((d + 1) / 4).max(1).ilog2();
            (d + 1) % step == 0 && t % step == 0
        };
        self.valid().into_iter().filter(on_grid).collect()
    }

    /// Number of proposals that `ratio` asks for: trunc(float32(valid) * ratio).
    pub fn sample_size(self, ratio: f64) -> usize {
        ((self.valid().len() as f32 * ratio as f32) as usize).max(1)
    }

    /// Draws training proposals by a published strategy, in shuffled order.
    pub fn draw(self, sampling: ProposalSampling, ratio: f64, rng: &mut Stream) -> Vec<Anchor> {
        let valid = self.valid();
        let count = self.sample_size(ratio);
        let mut chosen: Vec<(usize, usize)> = match sampling {
            ProposalSampling::Random | ProposalSampling::Guided => rng.choose(valid.len(), count).into_iter().map(|i| valid[i]).collect(),
            ProposalSampling::Grid => self.grid(ratio),
            ProposalSampling::Block => {
                let width = (count as f64).sqrt() as usize;
                let d0 = rng.below(self.max_duration.saturating_sub(2 * width) + 1);
                let t0 = rng.below(self.time.saturating_sub(2 * width + d0) + 1);
                (0..width)
                    .flat_map(|i| (0..width).map(move |j| (d0 + i, t0 + j)))
                    .filter(|&(d, t)| d < self.max_duration && d + t < self.time)
                    .collect()
            }
        };
        rng.shuffle(&mut chosen);
        chosen.into_iter().map(|(d, t)| self.anchor(d, t)).collect()
    }

    /// The laptop strategy (ours): half are ground-truth segments jittered by up to 30 % of their length, half are drawn
    /// with weight 1/length so that short proposals are not lost among the many long ones. Exactly `count` proposals.
    pub fn draw_guided(self, truth: &[Anchor], count: usize, rng: &mut Stream) -> Vec<Anchor> {
        let mut chosen = Vec::with_capacity(count);
        if !truth.is_empty() {
            while chosen.len() < count / 2 {
                let (start, end) = truth[rng.below(truth.len())];
                let length = end - start;
                let start = start + length * rng.between(-0.3, 0.3) as f32;
                let end = end + length * rng.between(-0.3, 0.3) as f32;
                chosen.push((start, end));
            }
        }
        // Weight 1/length over lengths 1..=D is log-uniform in length, up to rounding.
        while chosen.len() < count {
            let longest = self.max_duration.min(self.time) as f64;
            let length = (longest + 1.0).powf(rng.uniform()).floor().clamp(1.0, longest) as usize;
            chosen.push(self.anchor(length - 1, rng.below(self.time - length + 1)));
        }
        rng.shuffle(&mut chosen);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_the_published_ones() {
        for (time, max_duration, ratio, valid, grid, sample) in
            [(128, 128, 0.06, 8256, 496, 495), (128, 64, 0.1, 6176, 610, 617), (100, 100, 0.06, 5050, 302, 303)]
        {
            let lattice = Lattice { time, max_duration };
            assert_eq!((lattice.valid().len(), lattice.grid(ratio).len(), lattice.sample_size(ratio)), (valid, grid, sample));
        }
    }

    #[test]
    fn draws_stay_inside_the_input() {
        let lattice = Lattice { time: 32, max_duration: 20 };
        let mut rng = Stream::new(0, "test");
        for sampling in [ProposalSampling::Random, ProposalSampling::Grid, ProposalSampling::Block] {
            let drawn = lattice.draw(sampling, 0.2, &mut rng);
            assert!(!drawn.is_empty() && drawn.iter().all(|&(s, e)| 0.0 <= s && s < e && e <= 1.0), "{sampling:?}");
        }
        assert_eq!(lattice.draw_guided(&[(0.2, 0.4)], 50, &mut rng).len(), 50);
    }

    #[test]
    fn the_pyramid_meets_every_segment() {
        let lattice = Lattice { time: 64, max_duration: 64 };
        let pyramid = lattice.pyramid();
        for (d, t) in lattice.valid() {
            let (s, e) = (t as f64, (t + d + 1) as f64);
            let best = pyramid.iter().map(|&(pd, pt)| {
                let (ps, pe) = (pt as f64, (pt + pd + 1) as f64);
                let inter = (e.min(pe) - s.max(ps)).max(0.0);
                inter / (e - s + pe - ps - inter)
            });
            let best = best.fold(0.0, f64::max);
            assert!(best >= 0.6, "({d}, {t}): {best}");
        }
    }
}
