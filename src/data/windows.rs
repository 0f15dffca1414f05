//! From the snippets of a whole video to inputs of a fixed length: sliding windows (THUMOS style) or rescaling
//! (ActivityNet style), and the ground truth that belongs to each.

use half::f16;

use super::features::Features;

/// An instance in cells of an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellInstance {
    /// First cell, fractional.
    pub start: f64,
    /// End in cells, fractional.
    pub end: f64,
    /// Class index.
    pub label: usize,
}

/// First cells of the windows over `total` cells: multiples of `stride`, the last one shifted left to end with the video.
/// A video shorter than a window has one (OpenTAD's `SlidingWindowDataset`, without its duplicate of the last window).
pub fn window_starts(total: usize, length: usize, stride: usize) -> Vec<usize> {
    if total <= length {
        return vec![0];
    }
    let mut starts: Vec<usize> = (0..).map(|k| k * stride).take_while(|start| start + length < total).collect();
    starts.push(total - length);
    starts
}

/// As [`window_starts`], but the last window begins on the stride and runs over the end (TadTR at inference).
pub fn window_starts_on_stride(total: usize, length: usize, stride: usize) -> Vec<usize> {
    let more = total.saturating_sub(length).div_ceil(stride);
    (0..=more).map(|k| k * stride).collect()
}

/// Instances seen by the window [start, start + length), in its cells: cut `margin` cells outside of its borders, kept when
/// more than `keep_share` of the instance is left.
pub fn instances_in_window(instances: &[CellInstance], start: usize, length: usize, margin: f64, keep_share: f64) -> Vec<CellInstance> {
    let origin = start as f64;
    let (low, high) = (origin - margin, origin + length as f64 + margin);
    let cut = |i: &CellInstance| {
        let (s, e) = (i.start.max(low), i.end.min(high));
        let kept = CellInstance { start: s - origin, end: e - origin, label: i.label };
        (e - s > keep_share * (i.end - i.start) && e > s).then_some(kept)
    };
    instances.iter().filter_map(cut).collect()
}

/// Means of `factor` consecutive snippets; a shorter rest at the end is averaged as it is.
pub fn mean_pool(features: Features, factor: usize) -> Features {
    if factor == 1 {
        return features;
    }
    let channels = features.channels;
    let mut data = Vec::with_capacity(features.data.len() / factor + channels);
    for group in features.data.chunks(factor * channels) {
        let rows = (group.len() / channels) as f32;
        data.extend((0..channels).map(|c| group.iter().skip(c).step_by(channels).sum::<f32>() / rows));
    }
    Features { time: data.len() / channels, channels, data }
}

/// Rescales a whole video to `cells` steps as the authors of ETAD do (`torchvision_pool_data`): RoI align of one box over
/// everything, half-cell aligned, the mean of ceil(T / cells) linear samples per step; input and box are rounded to half
/// precision first, the arithmetic is double.
pub fn rescale(features: &Features, cells: usize) -> Features {
    let (time, channels) = (features.time, features.channels);
    let source: Vec<f64> = features.data.iter().map(|&v| f16::from_f32(v).to_f64()).collect();
    let length = f16::from_f64(time as f64).to_f64();
    let bin = length / cells as f64;
    let samples = bin.ceil().max(1.0) as usize;
    let mut data = Vec::with_capacity(cells * channels);
    let mut sums = vec![0.0f64; channels];
    for r in 0..cells {
        sums.fill(0.0);
        for i in 0..samples {
            let y = -0.5 + r as f64 * bin + (i as f64 + 0.5) * bin / samples as f64;
            if !(y >= -1.0 && y <= time as f64) {
                continue;
            }
            let y = y.max(0.0);
            let low = (y as usize).min(time - 1);
            let share = if low == time - 1 { 0.0 } else { y - low as f64 };
            let high = (low + 1).min(time - 1);
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum += (1.0 - share) * source[low * channels + c] + share * source[high * channels + c];
            }
        }
        data.extend(sums.iter().map(|sum| (sum / samples as f64) as f32));
    }
    Features { time: cells, channels, data }
}

/// Stretches a whole video to `cells` steps by linear interpolation between snippet centres, edges repeated (as
/// ActionFormer does on ActivityNet; PyTorch's `interpolate` without aligned corners).
pub fn stretch(features: &Features, cells: usize) -> Features {
    let (time, channels) = (features.time, features.channels);
    let scale = time as f32 / cells as f32;
    let mut data = Vec::with_capacity(cells * channels);
    for r in 0..cells {
        let at = ((r as f32 + 0.5) * scale - 0.5).max(0.0);
        let low = (at as usize).min(time - 1);
        let (high, share) = ((low + 1).min(time - 1), at - low as f32);
        let row = |t: usize| &features.data[t * channels..][..channels];
        data.extend(row(low).iter().zip(row(high)).map(|(a, b)| (1.0 - share) * a + share * b));
    }
    Features { time: cells, channels, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_video_and_the_last_one_ends_with_it() {
        assert_eq!(window_starts(100, 128, 64), [0]);
        assert_eq!(window_starts(128, 128, 64), [0]);
        assert_eq!(window_starts(300, 128, 64), [0, 64, 128, 172]);
        assert_eq!(window_starts(256, 128, 64), [0, 64, 128]);
    }

    #[test]
    fn windows_on_the_stride_may_run_over_the_end() {
        assert_eq!(window_starts_on_stride(90, 128, 96), [0]);
        assert_eq!(window_starts_on_stride(128, 128, 96), [0]);
        assert_eq!(window_starts_on_stride(224, 128, 96), [0, 96]);
        assert_eq!(window_starts_on_stride(300, 128, 96), [0, 96, 192]);
    }

    #[test]
    fn stretching_is_linear_between_snippet_centres() {
        let features = Features { time: 2, channels: 1, data: vec![0.0, 4.0] };
        assert_eq!(stretch(&features, 4).data, [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn instances_are_cut_and_mostly_outside_ones_dropped() {
        let instances = [CellInstance { start: 10.0, end: 20.0, label: 1 }, CellInstance { start: 28.0, end: 38.0, label: 2 }];
        let kept = instances_in_window(&instances, 12, 20, 0.0, 0.5);
        assert_eq!(kept, [CellInstance { start: 0.0, end: 8.0, label: 1 }]);
        let kept = instances_in_window(&instances, 12, 20, 1.0, 0.4);
        assert_eq!(kept, [CellInstance { start: -1.0, end: 8.0, label: 1 }, CellInstance { start: 16.0, end: 21.0, label: 2 }]);
    }

    #[test]
    fn pooling_averages_and_keeps_the_rest() {
        let features = Features { time: 3, channels: 2, data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(mean_pool(features, 2), Features { time: 2, channels: 2, data: vec![2.0, 3.0, 5.0, 6.0] });
    }

    #[test]
    fn rescaling_a_constant_keeps_it() {
        let features = Features { time: 37, channels: 1, data: vec![0.5; 37] };
        assert!(rescale(&features, 128).data.iter().all(|&v| (v - 0.5).abs() < 1e-6));
    }
}
