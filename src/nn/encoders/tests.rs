//! The encoders against PyTorch's arrays, published counts, and what they promise.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::conv::Statistics;
use super::{Encoder, Network, VideoEncoder};
use crate::base::fsio;
use crate::config::EncoderConfig;
use crate::nn::macs;
use crate::nn::params::{self, Params};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn config(settings: &str) -> EncoderConfig {
    toml::from_str(settings).unwrap()
}

fn encoder(settings: &str) -> VideoEncoder {
    VideoEncoder::new(&config(settings), 7, Device::Cpu)
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

/// `numbers` of tests/fixtures/make_tsm_resnet.py.
fn numbers(stream: u32, count: usize) -> Vec<f64> {
    let offset = stream.wrapping_mul(0x9e37_79b9);
    let number = |at: usize| {
        let mut x = (at as u32).wrapping_add(offset);
        for (shift, factor) in [(16, 0x7feb_352d), (15, 0x846c_a68b)] {
            x = (x ^ x >> shift).wrapping_mul(factor);
        }
        f64::from(x ^ x >> 16) / f64::from(1u32 << 31) / 2.0
    };
    (0..count).map(number).collect()
}

fn tensor(values: impl Iterator<Item = f64>, size: &[i64]) -> Tensor {
    Tensor::from_slice(&values.map(|v| v as f32).collect::<Vec<_>>()).view(size)
}

/// `value` of tests/fixtures/make_tsm_resnet.py.
fn value(name: &str, stream: u32, size: &[i64]) -> Tensor {
    let numbers = numbers(stream, size.iter().product::<i64>() as usize).into_iter();
    if let &[out, _, height, width] = size {
        let bound = (6.0 / (out * height * width) as f64).sqrt();
        tensor(numbers.map(|u| (2.0 * u - 1.0) * bound), size)
    } else if name.ends_with("running_mean") || name.ends_with("bias") {
        tensor(numbers.map(|u| 0.4 * (u - 0.5)), size)
    } else {
        tensor(numbers.map(|u| u + 0.5), size)
    }
}

fn agrees_with_pytorch(network: &str) {
    let encoder = encoder(&format!("network = 'tsm-{network}'\nwidth = 8"));
    let mut names: Vec<(String, Vec<i64>)> = encoder.tensors().into_iter().map(|(name, t)| (name, t.size())).collect();
    names.sort();
    let given = names.into_iter().enumerate().map(|(stream, (name, size))| {
        let tensor = value(&name, stream as u32, &size);
        (name, tensor)
    });
    encoder.assign("numbers", given.collect()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/tsm_{network}.safetensors"));
    let size = [2, 3, 8, 32, 32];
    let clips = tensor(numbers(1000, size.iter().product::<i64>() as usize).into_iter(), &size) * 2.0 - 1.0;
    let outputs = encoder.network.outputs(&clips, Kind::Float);
    let feature = encoder.forward(&clips);
    let upstream = tensor(numbers(1001, feature.numel()).into_iter(), &feature.size());
    let entries = encoder.params().entries();
    let weights: Vec<&Tensor> = entries.iter().map(|(_, t)| t).collect();
    let gradients = Tensor::run_backward(&[(&feature * upstream).sum(Kind::Float)], &weights, false, false);
    let mut compared = 0;
    for (name, wanted) in params::read_tensors(&path).unwrap() {
        let (got, tolerance) = match (name.strip_prefix("gradient."), name.strip_prefix("layer")) {
            (Some(weight), _) => (&gradients[entries.iter().position(|(n, _)| n == weight).unwrap()], 1e-4),
            (_, Some(layer)) => (&outputs[layer.parse::<usize>().unwrap()], 2e-5),
            _ if name == "stem" => (&outputs[0], 2e-5),
            _ => (&feature, 2e-5),
        };
        let deviation = largest(&(got - &wanted)) / largest(&wanted);
        assert!(deviation <= tolerance, "{network} {name}: {deviation:e}");
        compared += 1;
    }
    assert_eq!(compared, 13);
}

#[test]
fn shifted_resnets_agree_with_pytorch() {
    agrees_with_pytorch("resnet18");
    agrees_with_pytorch("resnet50");
}

#[test]
fn parameters_are_as_many_as_published() {
    for (network, count, channels) in [
        ("tsm-resnet18", 11_176_512, 512),
        ("tsm-resnet34", 21_284_672, 512),
        ("tsm-resnet50", 23_508_032, 2048),
        ("r2plus1d-34", 63_491_975, 512),
    ] {
        let encoder = encoder(&format!("network = '{network}'"));
        assert_eq!((encoder.params().count(), encoder.params().size(), encoder.channels()), (count, count, channels), "{network}");
    }
}

#[test]
fn frozen_stages_and_norms_are_not_trained() {
    let published = encoder("network = 'r2plus1d-34'\nfrozen_stages = 2");
    assert_eq!((published.params().count(), published.params().size()), (59_478_090, 63_491_975));
    let fixed = encoder("network = 'r2plus1d-34'\nfrozen_stages = 2\ntrain_norms = false");
    assert_eq!(fixed.params().count(), 59_478_090 - 40_778);
    for (stages, first) in [(0, "layer1.0.conv1.weight"), (1, "layer2.0.conv1.weight")] {
        let encoder = encoder(&format!("network = 'tsm-resnet18'\nwidth = 8\nfrozen_stages = {stages}"));
        assert_eq!(encoder.params().entries()[0].0, first);
        let feature = encoder.forward(&Tensor::randn([1, 3, 2, 32, 32], FLOAT));
        feature.sum(Kind::Float).backward();
        for (name, tensor) in encoder.params().tensors() {
            let trained = encoder.params().entries().iter().any(|(n, _)| n == name);
            assert_eq!((tensor.requires_grad(), tensor.grad().defined()), (trained, trained), "{name}");
        }
    }
    let all_frozen = encoder("network = 'tsm-resnet18'\nwidth = 8\nfrozen_stages = 4");
    assert!(all_frozen.params().entries().is_empty());
}

#[test]
fn a_frame_costs_what_the_literature_says() {
    let encoder = encoder("network = 'tsm-resnet18'");
    let clips = Tensor::zeros([1, 3, 2, 224, 224], FLOAT);
    let (_, macs) = macs::count(|| tch::no_grad(|| encoder.forward(&clips)));
    assert_eq!(macs / 2, 1_813_561_344); // 1.81 G
}

#[test]
fn calibration_gives_every_channel_unit_variance() {
    for network in ["tsm-resnet18", "tsm-resnet50", "r2plus1d-18"] {
        let mut encoder = encoder(&format!("network = '{network}'\nwidth = 8"));
        let clips = Tensor::randn([6, 3, 8, 48, 48], FLOAT) * 3.0 + 1.0;
        let before = largest(&encoder.forward(&clips));
        encoder.calibrate(std::iter::once(clips.shallow_clone()));
        // What the first and the last norm make of the same clips, before its ReLU or sum.
        let moments = |path: &str| {
            let find = |what: &str| encoder.params().tensors().find(|(n, _)| *n == format!("{path}.{what}")).unwrap().1.copy();
            (find("running_mean"), find("running_var"))
        };
        let (mean, variance) = moments(if network == "r2plus1d-18" { "stem.1" } else { "bn1" });
        let stem = encoder.network.stem.path[0].without_relu();
        let frames = clips.permute([0, 2, 3, 4, 1]).contiguous();
        let normal = tch::no_grad(|| stem.forward(&frames, Statistics::Running));
        let (deviation, centre) =
            (normal.std_dim(Some([0i64, 1, 2, 3].as_slice()), true, false), normal.mean_dim([0i64, 1, 2, 3].as_slice(), false, None));
        assert!(largest(&(deviation - 1.0)) < 1e-2 && largest(&centre) < 1e-2, "{network}: {mean} {variance}");
        // A layer's output is a sum of ReLUs of such; without statistics it grows with depth.
        let after = largest(&tch::no_grad(|| encoder.forward(&clips)));
        assert!(after.is_finite() && after < 20.0 && after > 0.1, "{network}: {before} {after}");
    }
}

#[test]
fn calibration_averages_over_clips_and_touches_statistics_only() {
    let settings = "network = 'tsm-resnet18'\nwidth = 8";
    let first = Tensor::randn([4, 3, 2, 32, 32], FLOAT);
    let second = Tensor::randn([2, 3, 2, 32, 32], FLOAT) + 1.0;
    let mean = |batches: &[&Tensor]| {
        let mut encoder = encoder(settings);
        encoder.calibrate(batches.iter().map(|t| t.shallow_clone()));
        let own = self::encoder(settings);
        for ((name, a), (_, b)) in encoder.params().weights().zip(own.params().weights()) {
            assert_eq!(a, b, "{name}");
        }
        encoder.params().tensors().find(|(n, _)| *n == "bn1.running_mean").unwrap().1.copy()
    };
    let both = mean(&[&first, &second]);
    let wanted = (mean(&[&first]) * 4.0 + mean(&[&second]) * 2.0) / 6.0;
    assert!(largest(&(both - wanted)) < 1e-6);
    assert_eq!(largest(&mean(&[])), 0.0);
}

#[test]
fn what_is_saved_is_loaded_with_its_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    let settings = "network = 'r2plus1d-18'\nwidth = 8";
    let clips = Tensor::randn([2, 3, 8, 32, 32], FLOAT);
    let mut first = VideoEncoder::new(&config(settings), 1, Device::Cpu);
    first.calibrate(std::iter::once(clips.shallow_clone()));
    first.save(&path).unwrap();
    let forward = |encoder: &VideoEncoder| tch::no_grad(|| encoder.forward(&clips));
    let second = VideoEncoder::new(&config(settings), 2, Device::Cpu);
    assert_ne!(forward(&first), forward(&second));
    second.load(&path).unwrap();
    assert_eq!(forward(&first), forward(&second));
    let mut third = VideoEncoder::new(&config(settings), 2, Device::Cpu);
    let sentence = third.start_from(&path).unwrap();
    assert!(sentence.contains("encoder.safetensors") && sentence.contains("tensors"), "{sentence}");
    assert_eq!(forward(&first), forward(&third));
}

#[test]
fn weights_of_a_release_are_taken_by_what_they_belong_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tsm.safetensors");
    let settings = "network = 'tsm-resnet18'\nwidth = 8";
    let source = VideoEncoder::new(&config(settings), 1, Device::Cpu);
    let wrap = |name: &str| {
        format!("module.base_model.{}", name.replace("conv1.weight", "conv1.net.weight").replacen("base_model.conv1.net", "conv1", 1))
    };
    let mut named: Vec<(String, Tensor)> = source
        .tensors()
        .into_iter()
        .map(|(name, t)| (if name.starts_with("layer") { wrap(&name) } else { format!("module.base_model.{name}") }, t))
        .collect();
    named.push(("module.new_fc.weight".into(), Tensor::zeros([10, 64], FLOAT)));
    params::save_tensors(&path, named.iter().map(|(n, t)| (n.as_str(), t))).unwrap();
    let mut encoder = encoder(settings);
    let sentence = encoder.start_from(&path).unwrap();
    assert!(sentence.contains("under `base_model.`"), "{sentence}");
    for ((name, a), (_, b)) in encoder.params().tensors().zip(source.params().tensors()) {
        assert_eq!(a, b, "{name}");
    }
    named[0].1 = Tensor::full(named[0].1.size(), f64::NAN, FLOAT);
    params::save_tensors(&path, named.iter().map(|(n, t)| (n.as_str(), t))).unwrap();
    assert!(encoder.start_from(&path).unwrap_err().to_string().contains("conv1.weight holds NaN"));
}

#[test]
fn weights_of_another_encoder_are_refused_with_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let refusal = |ours: &str, theirs: &str| {
        encoder(theirs).save(&path).unwrap();
        encoder(ours).start_from(&path).unwrap_err().to_string()
    };
    let eighteen = "network = 'tsm-resnet18'\nwidth = 8";
    let text = refusal(eighteen, "network = 'tsm-resnet34'\nwidth = 8");
    assert!(text.contains("not in the model (layer1.2.bn1.bias") && text.ends_with("they look like weights of ResNet-34"), "{text}");
    let text = refusal(eighteen, "network = 'r2plus1d-18'\nwidth = 8");
    assert!(text.contains("not in the file (conv1.weight") && text.ends_with("they look like weights of R(2+1)D-18"), "{text}");
    let text = refusal(eighteen, "network = 'tsm-resnet18'\nwidth = 16");
    assert!(text.contains("conv1.weight is [16, 3, 7, 7] in the file and [8, 3, 7, 7] in the model"), "{text}");
    assert!(text.ends_with("check `weights`, `network` and `width` of the encoder"), "{text}");
    fsio::replace(&path, b"nothing").unwrap();
    assert!(encoder(eighteen).start_from(&path).unwrap_err().to_string().contains("neither a checkpoint"));
}

#[test]
fn half_precision_changes_features_little() {
    for network in ["tsm-resnet18", "r2plus1d-18"] {
        let settings = format!("network = '{network}'\nwidth = 8");
        let clips = Tensor::randn([2, 3, 4, 48, 48], FLOAT);
        let mut whole = encoder(&settings);
        let half = encoder(&format!("{settings}\nautocast = true"));
        whole.calibrate(std::iter::once(clips.shallow_clone()));
        half.assign("the other", whole.tensors()).unwrap();
        // Rounding grows from norm to norm of a random network; its first layer is near enough to the beginning.
        let [a, b] =
            [(&whole, Kind::Float), (&half, Kind::BFloat16)].map(|(e, kind)| e.network.outputs(&clips, kind)[1].to_kind(Kind::Float));
        let deviation = largest(&(&a - &b)) / largest(&a);
        assert!(deviation > 1e-4 && deviation < 0.03, "{network}: {deviation}");
        let (a, b) = (whole.forward(&clips), half.forward(&clips));
        assert_eq!((a.kind(), b.kind()), (Kind::Float, Kind::Float));
        assert_ne!(a, b);
        b.sum(Kind::Float).backward();
        assert!(half.params().entries().iter().all(|(_, t)| t.grad().defined() && t.grad().kind() == Kind::Float));
    }
}

#[test]
fn a_second_network_shares_the_weights_of_the_first() {
    let settings = config("network = 'tsm-resnet18'\nwidth = 8\nfrozen_stages = 1");
    let first = VideoEncoder::new(&settings, 1, Device::Cpu);
    let mut params = first.params().again();
    let second = Network::new(&mut params, &settings);
    let clips = Tensor::randn([1, 3, 2, 32, 32], FLOAT);
    let same = || tch::no_grad(|| first.forward(&clips) == second.forward(&clips, Kind::Float, Statistics::Running));
    assert!(same());
    assert_eq!((params.count(), params.size()), (first.params().count(), first.params().size()));
    tch::no_grad(|| drop(params.entries()[0].1.shallow_clone().g_mul_scalar_(2.0)));
    assert!(same());
}

#[test]
#[should_panic(expected = "conv1.weight has another size")]
fn sharing_with_a_network_of_another_size_is_a_mistake() {
    let first = encoder("network = 'tsm-resnet18'\nwidth = 8");
    let _ = Network::new(&mut first.params().again(), &config("network = 'tsm-resnet18'\nwidth = 16"));
}

#[test]
fn random_weights_follow_from_the_seed_and_another_stream_than_the_detectors() {
    let weights =
        |seed: u64| VideoEncoder::new(&config("network = 'tsm-resnet18'\nwidth = 8"), seed, Device::Cpu).params().entries()[0].1.copy();
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
    let deviation = weights(1).std(false).double_value(&[]);
    let kaiming = (2.0 / (8.0 * 49.0f64)).sqrt();
    assert!((deviation / kaiming - 1.0).abs() < 0.1, "{deviation} {kaiming}");
    let mut other = Params::new(1, Device::Cpu);
    let _ = Network::new(&mut other, &config("network = 'tsm-resnet18'\nwidth = 8"));
    assert_ne!(weights(1), other.entries()[0].1);
}
