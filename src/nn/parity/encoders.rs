//! Parts of the video encoders.

use tch::Kind;

use super::fixture::{Error, Fixture, device};
use crate::nn::encoders::Network;
use crate::nn::params::Params;

/// Outputs are up to 3, sums of some thousand products.
const OUTPUT: f64 = 2e-5;

/// Stem and two layers of one block each, with statistics that are not the identity.
pub(super) fn r2plus1d_parts(f: &mut Fixture) -> Result<(), Error> {
    let mut params = Params::new(0, device());
    let width = f.get("state.stem.3.weight")?.size()[0];
    let network = Network::r2plus1d(&mut params, &[1, 1], width);
    params.assign("state of r2plus1d_parts", f.group("state."))?;
    let outputs = tch::no_grad(|| Ok::<_, Error>(network.outputs(&f.get("x")?, Kind::Float)))?;
    for (key, output) in ["stem", "layer1", "layer2"].iter().zip(&outputs) {
        f.compare(key, output, OUTPUT)?;
    }
    Ok(())
}
