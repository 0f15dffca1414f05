//! Which snippets of an input gradients flow through.

use crate::base::Stream;
use crate::config::encoder::{Sampled, SnippetSampling};
use crate::data::windows::CellInstance;

/// Snippets drawn from an input of `cells` ones, in the order in which chunks of `chunk` take them. As many chunks as the
/// release draws: trunc(cells · ratio / chunk + 0.99).
pub fn draw(sampled: Sampled, chunk: usize, cells: usize, truth: &[CellInstance], rng: &mut Stream) -> Vec<usize> {
    let chunks = (cells as f64 * sampled.ratio / chunk as f64 + 0.99) as usize;
    let count = (chunks.max(1) * chunk).min(cells);
    match sampled.strategy {
        SnippetSampling::Random => first(permutation(cells, rng), count),
        SnippetSampling::Grid => {
            let step = cells as f64 / count as f64;
            let offset = rng.between(0.0, step);
            (0..count).map(|i| ((offset + i as f64 * step) as usize).min(cells - 1)).collect()
        }
        SnippetSampling::Block => {
            let start = rng.below(cells - count + 1);
            (start..start + count).collect()
        }
        SnippetSampling::LabelGuided => {
            let inside = |cell: usize| truth.iter().any(|i| i.start < cell as f64 + 1.0 && i.end > cell as f64);
            let (mut ahead, behind): (Vec<usize>, _) = permutation(cells, rng).into_iter().partition(|&cell| inside(cell));
            ahead.extend(behind);
            first(ahead, count)
        }
    }
}

fn permutation(cells: usize, rng: &mut Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cells).collect();
    rng.shuffle(&mut order);
    order
}

fn first(mut order: Vec<usize>, count: usize) -> Vec<usize> {
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRATEGIES: [SnippetSampling; 4] =
        [SnippetSampling::Random, SnippetSampling::Grid, SnippetSampling::Block, SnippetSampling::LabelGuided];

    fn drawn(strategy: SnippetSampling, ratio: f64, cells: usize, truth: &[CellInstance]) -> Vec<usize> {
        draw(Sampled { ratio, strategy }, 4, cells, truth, &mut Stream::new(1, "test"))
    }

    #[test]
    fn as_many_as_the_release_draws() {
        for strategy in STRATEGIES {
            assert_eq!(drawn(strategy, 0.3, 128, &[]).len(), 40, "{strategy:?}");
            assert_eq!(drawn(strategy, 0.3, 32, &[]).len(), 12, "{strategy:?}");
            assert_eq!(drawn(strategy, 1e-6, 3, &[]).len(), 3, "{strategy:?}");
        }
    }

    #[test]
    fn blocks_are_contiguous_and_grids_even() {
        let block = drawn(SnippetSampling::Block, 0.3, 128, &[]);
        assert!(block.windows(2).all(|w| w[1] == w[0] + 1));
        let grid = drawn(SnippetSampling::Grid, 0.25, 128, &[]);
        assert!(grid.windows(2).all(|w| w[1] == w[0] + 4), "{grid:?}");
    }

    #[test]
    fn labels_guide_to_their_instances_first() {
        let truth = [CellInstance { start: 10.5, end: 19.5, label: 0 }];
        let mut drawn = drawn(SnippetSampling::LabelGuided, 0.1, 100, &truth);
        drawn.truncate(10);
        drawn.sort_unstable();
        assert_eq!(drawn, (10..20).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_draw_is_of_distinct_snippets_and_ratio_one_takes_all(cells in 1usize..200, ratio in 0.01f64..=1.0, which in 0usize..4) {
            let mut some = drawn(STRATEGIES[which], ratio, cells, &[]);
            some.sort_unstable();
            some.dedup();
            prop_assert!(some.len() as f64 >= (cells as f64 * ratio).floor() && some.iter().all(|&s| s < cells));
            let mut all = drawn(STRATEGIES[which], 1.0, cells, &[]);
            all.sort_unstable();
            prop_assert_eq!(all, (0..cells).collect::<Vec<_>>());
        }
    }
}
