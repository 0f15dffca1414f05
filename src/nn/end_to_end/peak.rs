//! What an update needs of tensor memory, exact to the byte.

use std::convert::Infallible;

use tch::{Device, Kind, Tensor};

use super::sampling;
use super::step::{Course, step};
use crate::base::Stream;
use crate::config::encoder::{Sampled, SnippetSampling};
use crate::nn::encoders::{Encoder, VideoEncoder};
use crate::nn::network::Terms;
use crate::nn::watch;

const INPUTS: usize = 2;
const CHUNK: usize = 4;

/// Largest of the tensor memory of an update beyond what was there before, without the features and their gradient, bytes.
/// The detector is the mean square of the features: next to no memory is its own. With `ratio`, gradients are sampled.
fn peak(encoder: &VideoEncoder, time: usize, ratio: Option<f64>) -> u64 {
    let cells = [time; INPUTS];
    let sampled = |ratio| Sampled { ratio, strategy: SnippetSampling::Random };
    let mut rng = Stream::new(0, "peak");
    let again: Option<Vec<_>> =
        ratio.map(|ratio| cells.iter().map(|&cells| sampling::draw(sampled(ratio), CHUNK, cells, &[], &mut rng)).collect());
    let course = Course::new(time, CHUNK, &cells, again.as_deref());
    let update = || {
        let mut asked = course.asked();
        let frames = || {
            let clips = asked.next().expect("as many chunks as the course has").len() as i64;
            Ok::<_, Infallible>(Tensor::ones([clips, 3, 4, 32, 32], (Kind::Float, Device::Cpu)))
        };
        let detector = |x: &Tensor| (Terms::new(), Some(x.detach() * (2.0 / x.numel() as f64)));
        let Ok((_, gradients)) = step((encoder, encoder.params()), &course, None, frames, detector);
        assert!(gradients.norm().double_value(&[]) > 0.0);
    };
    update();
    let ((), seen) = watch::dispatched(Device::Cpu, update);
    let features = INPUTS * time * encoder.channels() as usize * 4;
    seen.and_then(|seen| seen.memory).expect("no other profiler is open").peak_bytes - features as u64
}

#[test]
fn gradients_of_sampled_snippets_need_the_memory_of_a_chunk_however_many_snippets_there_are() {
    let config = toml::from_str("network = 'tsm-resnet18'\nwidth = 8").unwrap();
    let encoder = VideoEncoder::new(&config, 0, Device::Cpu);
    let [plain, sampled, all] = [None, Some(0.3), Some(1.0)].map(|ratio| peak(&encoder, 32, ratio));
    assert!(sampled as f64 <= 0.3 * plain as f64, "{sampled} of {plain} bytes");
    assert_eq!(all, sampled, "the number of chunks does not matter");
    let longer = peak(&encoder, 64, Some(0.3));
    assert!(longer < sampled + sampled / 100, "{longer} bytes after {sampled}");
}
