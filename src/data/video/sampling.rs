//! Which frames of a video make up a snippet: arithmetic alone.

use super::config::Snippets;

/// How snippets are cut out of any video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampling {
    /// How many, or how far apart.
    pub snippets: Snippets,
    /// Frames per snippet.
    pub clip: usize,
    /// From one frame of a snippet to the next.
    pub step: usize,
}

impl Sampling {
    /// Snippets of a video with `frames` frames; at least 1.
    pub fn count(&self, frames: usize) -> usize {
        match self.snippets {
            Snippets::Count(count) => count,
            Snippets::Stride(stride) => frames.div_ceil(stride).max(1),
        }
    }

    /// The frames of snippet `index`, in a video with `frames` of them (at least 1).
    ///
    /// `count`: starts are evenly spaced so that the first snippet begins with the video and the last one ends with it,
    /// rounded half to even; beyond the end it goes on from the beginning (ETAD's release). A single snippet lies in the middle.
    /// `stride`: the middle of the snippet is that of its interval; beyond an end the outermost frame is repeated.
    pub fn frames(&self, index: usize, frames: usize) -> impl Iterator<Item = usize> + use<> {
        let Self { snippets, clip, step } = *self;
        let (last, span) = (frames as i64 - 1, ((clip - 1) * step + 1) as i64);
        let room = frames as i64 - span;
        let start = match snippets {
            Snippets::Count(1) => room.div_euclid(2),
            Snippets::Count(count) => (index as f64 * room as f64 / (count - 1) as f64).round_ties_even() as i64,
            Snippets::Stride(stride) => (index * stride) as i64 + (stride as i64 - span).div_euclid(2),
        };
        (0..clip).map(move |at| {
            let frame = start + (at * step) as i64;
            let inside = match snippets {
                Snippets::Count(_) => frame.rem_euclid(last + 1),
                Snippets::Stride(_) => frame.clamp(0, last),
            };
            inside as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(snippets: Snippets, clip: usize, step: usize, index: usize, total: usize) -> Vec<usize> {
        Sampling { snippets, clip, step }.frames(index, total).collect()
    }

    #[test]
    fn counted_snippets_run_from_the_first_frame_to_the_last() {
        let count = Snippets::Count(5);
        assert_eq!(frames(count, 4, 1, 0, 20), [0, 1, 2, 3]);
        assert_eq!(frames(count, 4, 1, 1, 20), [4, 5, 6, 7]);
        assert_eq!(frames(count, 4, 1, 4, 20), [16, 17, 18, 19]);
        assert_eq!(frames(count, 2, 8, 4, 20), [11, 19]);
        // 0.5 and 1.5 round to the even neighbour, as numpy does.
        assert_eq!(frames(Snippets::Count(3), 1, 1, 1, 2), [0]);
        assert_eq!(frames(Snippets::Count(3), 1, 1, 1, 4), [2]);
    }

    #[test]
    fn a_single_snippet_lies_in_the_middle() {
        assert_eq!(frames(Snippets::Count(1), 4, 1, 0, 10), [3, 4, 5, 6]);
        assert_eq!(frames(Snippets::Count(1), 1, 1, 0, 1), [0]);
    }

    #[test]
    fn counted_snippets_longer_than_the_video_wrap_around() {
        assert_eq!(frames(Snippets::Count(2), 4, 1, 0, 3), [0, 1, 2, 0]);
        assert_eq!(frames(Snippets::Count(2), 4, 1, 1, 3), [2, 0, 1, 2]);
        assert_eq!(frames(Snippets::Count(3), 4, 2, 2, 1), [0, 0, 0, 0]);
    }

    #[test]
    fn strided_snippets_are_centred_and_stay_inside() {
        let stride = Snippets::Stride(4);
        assert_eq!(frames(stride, 4, 1, 2, 40), [8, 9, 10, 11]);
        assert_eq!(frames(stride, 8, 1, 2, 40), [6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(frames(stride, 2, 1, 2, 40), [9, 10]);
        assert_eq!(frames(stride, 8, 1, 0, 40), [0, 0, 0, 1, 2, 3, 4, 5]);
        assert_eq!(frames(stride, 4, 1, 2, 10), [8, 9, 9, 9]);
        assert_eq!(frames(stride, 3, 8, 0, 1), [0, 0, 0]);
    }

    #[test]
    fn strided_snippets_cover_the_video() {
        let sampling = Sampling { snippets: Snippets::Stride(4), clip: 4, step: 1 };
        assert_eq!([0, 1, 4, 5, 61].map(|total| sampling.count(total)), [1, 1, 1, 2, 16]);
        let covered: Vec<usize> = (0..16).flat_map(|index| sampling.frames(index, 64)).collect();
        assert_eq!(covered, (0..64).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_frame_exists(
            total in 1usize..400, clip in 1usize..40, step in 1usize..9, number in 1usize..200, counted: bool, at in 0.0..1.0f64,
        ) {
            let snippets = if counted { Snippets::Count(number) } else { Snippets::Stride(number) };
            let sampling = Sampling { snippets, clip, step };
            let count = sampling.count(total);
            let index = (at * count as f64) as usize;
            let chosen: Vec<usize> = sampling.frames(index, total).collect();
            prop_assert_eq!(chosen.len(), clip);
            prop_assert!(chosen.iter().all(|&frame| frame < total));
            // Where the video is long enough for the snippet, its frames are equally far apart.
            if counted && total > (clip - 1) * step {
                prop_assert!(chosen.windows(2).all(|pair| pair[1] == pair[0] + step));
            }
        }

        #[test]
        fn later_snippets_are_not_earlier(total in 50usize..400, clip in 1usize..17, number in 1usize..200, counted: bool) {
            let snippets = if counted { Snippets::Count(number) } else { Snippets::Stride(number) };
            let sampling = Sampling { snippets, clip, step: 1 };
            let first: Vec<usize> = (0..sampling.count(total)).map(|i| sampling.frames(i, total).next().unwrap()).collect();
            prop_assert!(first.is_sorted());
        }
    }
}
