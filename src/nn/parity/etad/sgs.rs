//! The fixture of ETAD's sequentialised gradient sampling: a small encoder in front of the detector of `detector_small`.

use std::convert::Infallible;

use tch::{Kind, Tensor};

use super::network::{OUTPUT, Small};
use crate::config::settings::Optimiser;
use crate::nn::encoders::Encoder;
use crate::nn::end_to_end::step::{Course, Place, step};
use crate::nn::network::Terms;
use crate::nn::optim::{Adam, AdamOptions, Gradients};
use crate::nn::params::{Init, Params};
use crate::nn::parity::fixture::{Error, Fixture, device};

/// Of gradients and features, relative to the norm of what is expected: the gradient passes through a cascade in single precision.
const RELATIVE: f64 = 1e-4;

/// Between gradients over all snippets, chunk by chunk, and plain back-propagation.
const SAME: f64 = 1e-6;

const CHUNK: usize = 4;

/// Two convolutions, each followed by a ReLU, and the mean over time and space.
struct Toy {
    params: Params,
    layers: [[Tensor; 2]; 2],
}

impl Toy {
    fn new(f: &Fixture) -> Result<Self, Error> {
        let mut params = Params::new(0, device());
        let mut layer = |name: &str, output: i64, input: i64| {
            let weight = params.add(&format!("{name}.weight"), &[output, input, 3, 3, 3], Init::Constant(0.0));
            [weight, params.add(&format!("{name}.bias"), &[output], Init::Constant(0.0))]
        };
        let layers = [layer("conv1", 8, 3), layer("conv2", 16, 8)];
        params.assign("enc of sgs", f.group("enc."))?;
        Ok(Self { params, layers })
    }
}

impl Encoder for Toy {
    fn forward(&self, clips: &Tensor) -> Tensor {
        let [first, second] = &self.layers;
        let x = clips.conv3d(&first[0], Some(&first[1]), 1, 1, 1, 1).relu();
        let x = x.conv3d(&second[0], Some(&second[1]), 2, 1, 1, 1).relu();
        x.mean_dim([2, 3, 4].as_slice(), false, Kind::Float)
    }

    fn channels(&self) -> i64 {
        16
    }
}

/// Recomputes the fixture: gradients, one optimiser step of the encoder, and that all snippets give plain back-propagation.
pub(super) fn check(f: &mut Fixture, small: &Small) -> Result<(), Error> {
    let (params, etad) = small.model()?;
    let toy = Toy::new(f)?;
    let frames = f.get("frames")?;
    let [inputs, time] = [0, 1].map(|d| frames.size()[d] as usize);
    let order = Vec::<i64>::try_from(f.get("snippet_order")?.reshape([-1])).expect("whole numbers");
    let orders = |count: usize| -> Vec<Vec<usize>> {
        order.chunks_exact(time).map(|row| row[..count].iter().map(|&cell| cell as usize).collect()).collect()
    };
    let run = |f: &Fixture, again: Option<usize>| -> Result<_, Error> {
        let course = Course::new(time, CHUNK, &vec![time; inputs], again.map(orders).as_deref());
        let asked: Vec<Vec<Place>> = course.asked().cloned().collect();
        let mut asked = asked.iter();
        let clips = || {
            let places = asked.next().expect("as many chunks as the course has");
            let clips: Vec<Tensor> = places.iter().map(|&(b, t)| frames.get(b as i64).get(t as i64)).collect();
            Ok::<_, Infallible>(Tensor::stack(&clips, 0))
        };
        let mut seen = None;
        let prepared = |x: &Tensor| small.batch(f, x.shallow_clone(), "anchors", "gt_", "");
        let mut failed = None;
        let detector = |x: &Tensor| {
            let mut gradients = Gradients::none(&params);
            gradients.watch(x);
            let terms = match prepared(x) {
                Ok(batch) => etad.backward(&params, &batch, &mut gradients, |_| {}),
                Err(error) => {
                    failed = Some(error);
                    Terms::new()
                }
            };
            let of_x = gradients.of_watched();
            seen = of_x.as_ref().map(|g| (x.detach(), g.shallow_clone()));
            (terms, of_x)
        };
        let Ok((terms, gradients)) = step((&toy, &toy.params), &course, None, clips, detector);
        match failed {
            Some(error) => Err(error),
            None => Ok((terms, gradients, seen)),
        }
    };
    let drawn = 12;
    let (terms, gradients, seen) = run(f, Some(drawn))?;
    if let Some((features, gradient)) = seen {
        f.compare("feat", &features, OUTPUT)?;
        f.compare_norm("feat_grad", &gradient, RELATIVE)?;
    }
    if let Some((_, cost)) = terms.read().last() {
        f.compare("loss.cost", &Tensor::from(*cost), OUTPUT)?;
    }
    let named = |gradients: &Gradients| -> Vec<(String, Tensor)> {
        let pairs = toy.params.entries().iter().zip(gradients.as_slice());
        pairs.filter_map(|((name, _), g)| Some((name.clone(), g.as_ref()?.shallow_clone()))).collect()
    };
    for (name, gradient) in named(&gradients) {
        f.compare_norm(&format!("encgrad.{name}"), &gradient, RELATIVE)?;
    }
    let (_, all, _) = run(f, Some(time))?;
    let (_, plain, _) = run(f, None)?;
    for (name, chunked) in named(&all) {
        f.compare_norm(&format!("encgrad_full.{name}"), &chunked, RELATIVE)?;
    }
    let whole = |gradients: &Gradients| Tensor::cat(&named(gradients).iter().map(|(_, g)| g.reshape([-1])).collect::<Vec<_>>(), 0);
    let (chunked, plain) = (whole(&all), whole(&plain));
    let deviation = ((chunked - &plain).norm() / plain.norm()).double_value(&[]);
    f.note("ratio 1 against plain back-propagation", deviation, SAME, true);
    let mut adam = Adam::new(&toy.params, AdamOptions { rule: Optimiser::Adamw, weight_decay: 1e-4, spare_plain: false, slow: &[] });
    adam.step(&toy.params, &gradients, 1e-3);
    for (name, weight) in toy.params.entries() {
        f.compare(&format!("enc_after.{name}"), weight, OUTPUT)?;
    }
    Ok(())
}
