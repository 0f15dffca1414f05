//! The names that tensors have in other releases, made those of our networks.
//!
//! * Around an encoder there often is more: `base_model.`, `backbone.`, `features.` or `encoder.` before its names. Whatever
//!   comes before the name of the first convolution is taken off, and what does not begin with it is no part of the encoder.
//! * TSM wraps the first convolution of every block: `layer1.0.conv1.net.weight`.
//! * Classifiers (`fc`, `new_fc`, `fc_cls`, …) are left out.

use tch::Tensor;

/// First convolutions of the networks.
const FIRST: [&str; 2] = ["conv1.weight", "stem.0.weight"];

/// Tensors under our names, and what was before these.
pub(super) struct Renamed {
    /// Those of the encoder.
    pub(super) tensors: Vec<(String, Tensor)>,
    /// `"backbone."` and the like; empty where there was nothing.
    pub(super) prefix: String,
}

/// Takes the encoder out of the tensors of a file. Of a file without a first convolution everything stays as it is.
pub(super) fn rename(tensors: Vec<(String, Tensor)>) -> Renamed {
    let is_classifier = |name: &str| name.split('.').any(|part| part.starts_with("fc") || part == "new_fc");
    let mut tensors: Vec<(String, Tensor)> =
        tensors.into_iter().filter(|(name, _)| !is_classifier(name)).map(|(name, tensor)| (name.replace(".net.", "."), tensor)).collect();
    // `layer1.0.conv1.weight` ends like a first convolution; the shortest name is it.
    let before = |name: &str| FIRST.iter().find_map(|first| name.strip_suffix(first).map(str::to_owned));
    let before = tensors.iter().filter_map(|(name, _)| before(name)).filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
    let prefix = before.min_by_key(String::len).unwrap_or_default();
    tensors.retain(|(name, _)| name.starts_with(&prefix));
    tensors.iter_mut().for_each(|(name, _)| drop(name.drain(..prefix.len())));
    Renamed { tensors, prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(names: &[&str]) -> (String, Vec<String>) {
        let tensors = names.iter().map(|&name| (name.to_owned(), Tensor::from(0.0))).collect();
        let Renamed { tensors, prefix } = rename(tensors);
        (prefix, tensors.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn prefixes_wrappers_and_classifiers_of_releases_come_off() {
        let of = |prefix: &str, names: &[&str]| (prefix.to_owned(), names.iter().map(|&name| name.to_owned()).collect());
        // torchvision
        assert_eq!(renamed(&["conv1.weight", "layer1.0.conv1.weight", "fc.bias"]), of("", &["conv1.weight", "layer1.0.conv1.weight"]));
        // TSM
        assert_eq!(
            renamed(&["base_model.conv1.weight", "base_model.layer1.0.conv1.net.weight", "new_fc.weight"]),
            of("base_model.", &["conv1.weight", "layer1.0.conv1.weight"])
        );
        // TSP
        assert_eq!(
            renamed(&["features.stem.0.weight", "features.layer1.0.conv1.0.3.weight", "fc1.weight", "fc2.weight"]),
            of("features.", &["stem.0.weight", "layer1.0.conv1.0.3.weight"])
        );
        // What else there is belongs to something else; without a first convolution nothing is known to.
        assert_eq!(renamed(&["neck.a", "backbone.stem.0.weight"]), of("backbone.", &["stem.0.weight"]));
        assert_eq!(renamed(&["xconv1.weight", "a.b"]), of("", &["xconv1.weight", "a.b"]));
    }
}
