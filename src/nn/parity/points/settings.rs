//! From a manifest of the authors' settings to a network of ours.

use std::path::Path;

use serde_json::Value;

use crate::config::points::Points;
use crate::config::settings::{Common, Preset};
use crate::config::{ActionFormerConfig, TemporalMaxerConfig, TriDetConfig};
use crate::nn::models::actionformer::{ActionFormer, Structure};
use crate::nn::models::points::PointNetwork;
use crate::nn::models::temporalmaxer::TemporalMaxer;
use crate::nn::models::tridet::TriDet;
use crate::nn::params::Params;
use crate::nn::parity::fixture::Error;

/// A manifest, or a part of it, whose values are asked for by path.
pub(super) struct Manifest<'a> {
    file: &'a Path,
    value: &'a Value,
}

/// Settings of one of the three models.
pub(super) enum Settings {
    ActionFormer(ActionFormerConfig, Structure),
    TemporalMaxer(TemporalMaxerConfig),
    TriDet(TriDetConfig),
}

impl<'a> Manifest<'a> {
    pub(super) fn new(file: &'a Path, value: &'a Value) -> Self {
        Self { file, value }
    }

    /// What is at a path such as `/config/model/embd_dim`.
    pub(super) fn at(&self, path: &str) -> Result<&'a Value, Error> {
        let missing = || Error::Missing { path: self.file.to_owned(), key: path.to_owned() };
        self.value.pointer(path).ok_or_else(missing)
    }

    fn typed<T>(&self, path: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T, Error> {
        read(self.at(path)?).ok_or_else(|| Error::Missing { path: self.file.to_owned(), key: format!("{path} (of the expected type)") })
    }

    pub(super) fn number(&self, path: &str) -> Result<f64, Error> {
        self.typed(path, Value::as_f64)
    }

    pub(super) fn count(&self, path: &str) -> Result<usize, Error> {
        self.typed(path, |v| v.as_u64().map(|n| n as usize))
    }

    fn channels(&self, path: &str) -> Result<i64, Error> {
        Ok(self.count(path)? as i64)
    }

    fn flag(&self, path: &str) -> Result<bool, Error> {
        self.typed(path, Value::as_bool)
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<f64>, Error> {
        self.typed(path, |v| v.as_array()?.iter().map(Value::as_f64).collect())
    }

    pub(super) fn text(&self, path: &str) -> Result<&'a str, Error> {
        let value = self.at(path)?;
        value.as_str().ok_or_else(|| Error::Missing { path: self.file.to_owned(), key: format!("{path} (a text)") })
    }

    /// The settings of the network, of its losses and of its post-processing.
    pub(super) fn settings(&self) -> Result<Settings, Error> {
        self.options()?;
        let arch = self.list("/config/model/backbone_arch")?;
        let embedding_layers = arch.first().copied().unwrap_or(0.0) as usize;
        let stem_layers = if arch.len() > 2 { arch[1] as usize } else { 0 };
        let levels = arch.last().copied().unwrap_or(0.0) as usize + 1;
        let dim = self.channels("/config/model/embd_dim")?;
        Ok(match self.text("/model")? {
            "actionformer" => {
                let preset = ActionFormerConfig::preset(Preset::Thumos14).expect("there is a THUMOS14 preset");
                let windows = match self.at("/config/model/n_mha_win_size")? {
                    Value::Array(_) => self.list("/config/model/n_mha_win_size")?,
                    _ => vec![self.number("/config/model/n_mha_win_size")?; levels],
                };
                let top_down = self.text("/config/model/fpn_type")? == "fpn";
                let structure = Structure {
                    windows: windows.into_iter().map(|w| w.max(0.0) as usize).collect(),
                    relative: self.flag("/config/model/use_rel_pe")?,
                    top_down: if top_down { Some(self.channels("/config/model/fpn_dim")?) } else { None },
                };
                let config = ActionFormerConfig {
                    common: self.common(preset.common.clone())?,
                    points: self.points(levels)?,
                    dim,
                    heads: self.channels("/config/model/n_head")?,
                    embedding_layers,
                    stem_layers,
                    position: self.flag("/config/model/use_abs_pe")?,
                    drop_path: self.number("/config/train_cfg/droppath")?,
                    ..preset
                };
                Settings::ActionFormer(config, structure)
            }
            "temporalmaxer" => {
                let preset = TemporalMaxerConfig::preset(Preset::Thumos14).expect("there is a THUMOS14 preset");
                let points = self.points(levels)?;
                Settings::TemporalMaxer(TemporalMaxerConfig {
                    common: self.common(preset.common.clone())?,
                    points,
                    dim,
                    embedding_layers,
                    ..preset
                })
            }
            _ => {
                let preset = TriDetConfig::preset(Preset::Thumos14).expect("there is a THUMOS14 preset");
                let config = TriDetConfig {
                    common: self.common(preset.common.clone())?,
                    points: self.points(levels)?,
                    dim,
                    mlp_dim: self.channels("/config/model/sgp_mlp_dim")?,
                    sgp_window: self.channels("/config/model/n_sgp_win_size")?,
                    sgp_factor: self.number("/config/model/k")?,
                    sgp_init: self.number("/config/model/init_conv_vars")?,
                    embedding_layers,
                    stem_layers,
                    position: self.flag("/config/model/use_abs_pe")?,
                    drop_path: self.number("/config/train_cfg/droppath")?,
                    bins: self.channels("/config/model/num_bins")?,
                    iou_power: self.number("/config/model/iou_weight_power")?,
                    ..preset
                };
                Settings::TriDet(config)
            }
        })
    }

    fn common(&self, common: Common) -> Result<Common, Error> {
        Ok(Common { window: self.count("/config/model/max_seq_len")?, ..common })
    }

    fn points(&self, levels: usize) -> Result<Points, Error> {
        let class_wise = self.flag("/config/test_cfg/multiclass_nms")?;
        Ok(Points {
            levels,
            range: self.number("/config/model/regression_range/0/1")?,
            centre_radius: match self.at("/config/model/assigner") {
                Ok(_) => self.number("/config/model/assigner/center_radius")?,
                Err(_) => self.number("/config/train_cfg/center_sample_radius")?,
            },
            head_dim: self.channels("/config/model/head_dim")?,
            head_layers: self.count("/config/model/head_num_layers")?,
            loss_norm: self.number("/config/train_cfg/init_loss_norm")?,
            reg_weight: self.number("/config/train_cfg/loss_weight")?,
            label_smoothing: self.number("/config/train_cfg/label_smoothing")?,
            min_score: self.number("/config/test_cfg/pre_nms_thresh")?,
            candidates: self.count("/config/test_cfg/pre_nms_topk")?,
            min_length: self.number("/config/test_cfg/duration_thresh")?,
            nms_sigma: self.number("/config/test_cfg/nms_sigma")?,
            nms_keep: self.count("/config/test_cfg/max_seg_num")?,
            class_wise,
            offset_start: 0.0,
            voting: if class_wise { 0.0 } else { self.number("/config/test_cfg/voting_thresh")? },
        })
    }

    /// Refuses options of the authors' constructors that change the network and of which no network is built here: each has one
    /// value that it must have, where a model knows it.
    fn options(&self) -> Result<(), Error> {
        let (backbone, necks): (&str, &[&str]) = match self.text("/model")? {
            "actionformer" => ("convTransformer", &["identity", "fpn"]),
            "temporalmaxer" => ("convPooler", &["identity"]),
            _ => ("SGP", &["identity"]),
        };
        let wanted = [
            ("backbone_type", Value::from(backbone)),
            ("embd_kernel_size", Value::from(3)),
            ("head_kernel_size", Value::from(3)),
            ("boudary_kernel_size", Value::from(3)),
            ("embd_with_ln", Value::from(true)),
            ("fpn_with_ln", Value::from(true)),
            ("head_with_ln", Value::from(true)),
            ("scale_factor", Value::from(2)),
            ("fpn_start_level", Value::from(0)),
            ("use_trident_head", Value::from(true)),
            ("downsample_type", Value::from("max")),
        ];
        let necks = (!necks.iter().any(|neck| self.text("/config/model/fpn_type").is_ok_and(|t| t == *neck)))
            .then(|| ("fpn_type", Value::from(necks.join(" or "))));
        for (key, value) in wanted.into_iter().chain(necks) {
            super::super::fixture::only(self.file, self.value, "/config/model", key, &value)?;
        }
        Ok(())
    }

    /// Settings that the model is built without: each with the one value that it stands for, and whether the manifest has it.
    pub(super) fn assumptions(&self, levels: usize, points: &Points) -> Result<Vec<(String, bool)>, Error> {
        let train = [("cls_prior_prob", Value::from(0.01)), ("head_empty_cls", Value::Array(Vec::new())), ("dropout", Value::from(0.0))];
        let test = [("nms_method", Value::from("soft")), ("min_score", self.at("/config/test_cfg/pre_nms_thresh")?.clone())];
        let assigner = [("iou_weight", 2), ("cls_weight", 1), ("keep_percent", 1), ("confuse_weight", 0)];
        let assigner = assigner.map(|(key, value)| (key, Value::from(value)));
        // A key that a model does not know is left out of its manifest.
        let same = |folder: &str, key: &str, value: &Value| {
            let path = format!("{folder}/{key}");
            let found = self.value.pointer(&path)?;
            let equal = match (found.as_f64(), value.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-12,
                _ => found == value,
            };
            Some((path, equal))
        };
        let groups: [(&str, &[(&str, Value)]); 3] =
            [("/config/train_cfg", &train), ("/config/test_cfg", &test), ("/config/model/assigner", &assigner)];
        let mut all: Vec<(String, bool)> =
            groups.iter().flat_map(|(folder, keys)| keys.iter().filter_map(|(key, value)| same(folder, key, value))).collect();
        for (level, (low, high)) in points.ranges().into_iter().enumerate().take(levels) {
            let path = format!("/config/model/regression_range/{level}");
            let equal = self.list(&path)? == [low, high];
            all.push((path, equal));
        }
        if self.at("/config/model/assigner").is_err() {
            all.push(("/config/train_cfg/center_sample".into(), self.text("/config/train_cfg/center_sample")? == "radius"));
        }
        Ok(all)
    }
}

impl Settings {
    pub(super) fn points(&self) -> &Points {
        match self {
            Self::ActionFormer(c, _) => &c.points,
            Self::TemporalMaxer(c) => &c.points,
            Self::TriDet(c) => &c.points,
        }
    }

    pub(super) fn common(&self) -> &Common {
        match self {
            Self::ActionFormer(c, _) => &c.common,
            Self::TemporalMaxer(c) => &c.common,
            Self::TriDet(c) => &c.common,
        }
    }

    /// Builds the network.
    pub(super) fn build(&self, params: &mut Params, channels: i64, classes: i64) -> Box<dyn PointNetwork> {
        match self {
            Self::ActionFormer(config, structure) => Box::new(ActionFormer::with(params, config, structure, channels, Some(classes))),
            Self::TemporalMaxer(config) => Box::new(TemporalMaxer::new(params, config, channels, Some(classes))),
            Self::TriDet(config) => Box::new(TriDet::new(params, config, channels, Some(classes))),
        }
    }
}
