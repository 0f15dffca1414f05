//! Checks that no single field can make alone. Each answers with the key and what is wrong, as (key, problem).

use super::experiment::{Arch, DatasetConfig, EvaluateConfig, Experiment, Format, Labels, ModelConfig, TargetsConfig};
use super::settings::Temporal;
use crate::data::video::Snippets;
use crate::protocol::ProtocolConfig;
use crate::protocol::settings::{Budget, SplitRule};

pub(super) type Finding = (String, String);

fn ask(ok: bool, key: &str, problem: &str) -> Result<(), Finding> {
    if ok { Ok(()) } else { Err((key.to_owned(), problem.to_owned())) }
}

pub(super) fn experiment(experiment: &Experiment) -> Result<(), Finding> {
    ask(experiment.schema == 1, "schema", &format!("{} is not known to this version; write 1, or use a newer etalon", experiment.schema))?;
    ask(!experiment.name.trim().is_empty(), "name", "is empty; give the experiment a name")?;
    dataset(&experiment.dataset)?;
    protocol(&experiment.protocol)?;
    ask(!experiment.model.is_empty(), "model", "is empty; add a table such as [model.etad] with arch.etad = { preset = \"laptop\" }")?;
    for (name, config) in &experiment.model {
        model(name, config, experiment.protocol.budget)?;
        source(name, config, &experiment.dataset)?;
    }
    for (i, (name, config)) in experiment.model.iter().enumerate() {
        if let Some((twin, _)) = experiment.model.iter().take(i).find(|(_, other)| *other == config) {
            return Err((format!("model.{name}"), format!("has the settings of model.{twin}, so their cells are the same; remove one")));
        }
    }
    evaluate(&experiment.evaluate)?;
    targets(&experiment.fit.targets)?;
    let cell = &experiment.limits.cell;
    ask(!cell.time.0.is_zero(), "limits.cell.time", "must be longer than zero")?;
    ask(cell.attempts >= 1, "limits.cell.attempts", "must be at least 1")
}

fn dataset(dataset: &DatasetConfig) -> Result<(), Finding> {
    if let Some(videos) = &dataset.videos {
        videos.check().map_err(|(key, problem)| (format!("dataset.videos.{key}"), problem.to_owned()))?;
        let built_in = dataset.format == Format::Synthetic;
        ask(built_in || videos.path.is_some(), "dataset.videos.path", "is missing; give the folder of the videos")?;
    }
    if dataset.format == Format::Synthetic {
        ask(dataset.annotations.is_none(), "dataset.annotations", "has no meaning with format = \"synthetic\"; remove it")?;
        ask(dataset.features.is_none(), "dataset.features", "has no meaning with format = \"synthetic\"; remove it")?;
        return match &dataset.synthetic {
            Some(synthetic) => synthetic.check().map_err(|(key, problem)| (format!("dataset.synthetic.{key}"), problem.to_owned())),
            None => Err(("dataset.synthetic".into(), "is missing; add synthetic = {} for the defaults".into())),
        };
    }
    ask(dataset.synthetic.is_none(), "dataset.synthetic", "needs format = \"synthetic\"; change the format or remove the table")?;
    ask(dataset.annotations.is_some(), "dataset.annotations", "is missing; give the path of the annotation JSON")?;
    let Some(features) = &dataset.features else {
        let either = "is missing; give { path, kind, dim, stride or rate }, or `dataset.videos` for models with an encoder";
        return ask(dataset.videos.is_some(), "dataset.features", either);
    };
    ask(features.dim >= 1, "dataset.features.dim", "must be at least 1")?;
    ask(
        [features.stride.is_some(), features.rate.is_some(), features.count.is_some()].iter().filter(|given| **given).count() == 1,
        "dataset.features",
        "needs one of `stride` (frames), `rate` (snippets per second) and `count` (snippets per video)",
    )?;
    let positive = |value: Option<f64>| value.is_none_or(|v| v > 0.0 && v.is_finite());
    ask(features.count != Some(0), "dataset.features.count", "must be a positive number of snippets")?;
    ask(positive(features.clip), "dataset.features.clip", "must be a positive number of frames")?;
    ask(features.clip.is_none() || features.stride.is_some(), "dataset.features.clip", "needs `stride`, also in frames")?;
    ask(positive(features.stride), "dataset.features.stride", "must be a positive number of frames")?;
    ask(positive(features.rate), "dataset.features.rate", "must be a positive number of snippets per second")
}

fn protocol(protocol: &ProtocolConfig) -> Result<(), Finding> {
    let ascending = |values: &[f64]| values.windows(2).all(|pair| pair[0] < pair[1]);
    let fractions: Vec<f64> = protocol.fractions.iter().map(|p| p.value()).collect();
    ask(!fractions.is_empty(), "protocol.fractions", "is empty; list percentages such as [10, 50, 100]")?;
    ask(ascending(&fractions), "protocol.fractions", "must ascend, each once")?;
    ask(!protocol.seeds.is_empty(), "protocol.seeds", "is empty; list seeds such as [0, 1, 2, 3, 4]")?;
    let distinct: std::collections::BTreeSet<_> = protocol.seeds.iter().collect();
    ask(distinct.len() == protocol.seeds.len(), "protocol.seeds", "names a seed twice; each is one cell per fraction")?;
    ask(!protocol.pool.is_empty(), "protocol.pool", "is empty; name the subsets, such as [\"training\", \"validation\"]")?;
    let two = protocol.split != SplitRule::Official || protocol.pool.len() == 2;
    ask(two, "protocol.pool", "needs two subsets with split = \"official\": the training one, then the test one")?;
    ask(protocol.coverage.is_none_or(|c| c.max_draws >= 1), "protocol.coverage.max_draws", "must be at least 1")
}

fn model(name: &str, model: &ModelConfig, budget: Budget) -> Result<(), Finding> {
    let key = |field: &str| format!("model.{name}.{field}");
    if let Some(common) = model.arch.common() {
        let (updates, other, [unit, other_unit]) = match budget {
            Budget::Steps => (common.steps, u64::from(common.epochs), ["steps", "epochs"]),
            Budget::Epochs => (u64::from(common.epochs), common.steps, ["epochs", "steps"]),
        };
        let unread = format!("asks for `{other_unit} = 0`, but `budget = \"{unit}\"` reads `{unit}`; write `{unit} = 0` with `init`");
        ask(other > 0, &format!("model.{name}"), &unread)?;
        let random = format!("is missing; with `{unit} = 0` nothing is trained, so give the weights to evaluate");
        ask(updates > 0 || model.init.is_some(), &key("init"), &random)?;
    }
    if let Arch::Prior(prior) = &model.arch {
        ask(prior.per_video >= 1, &key("arch.prior.per_video"), "must be at least 1")?;
        ask(model.init.is_none(), &key("init"), "has no meaning for the prior, which has no weights; remove it")?;
        ask(model.labels == Labels::default(), &key("labels"), "has no meaning for the prior, which predicts classes itself; remove it")?;
    }
    if let Arch::External(external) = &model.arch {
        external.check().map_err(|(field, problem)| (key(&format!("arch.external.{field}")), problem))?;
        ask(model.init.is_none(), &key("init"), "has no meaning for a command; give it the weights as an argument")?;
        ask(model.labels == Labels::default(), &key("labels"), "has no meaning for a command, which predicts classes itself; remove it")?;
    }
    match (model.labels, &model.video_scores) {
        (Labels::External, None) => {
            Err((key("video_scores"), "is missing; labels = \"external\" needs { path = \"scores.json\", top = 2 }".into()))
        }
        (Labels::External, Some(scores)) => ask(scores.top >= 1, &key("video_scores.top"), "must be at least 1"),
        (_, Some(_)) => Err((key("video_scores"), "is only read with labels = \"external\"; set that or remove the table".into())),
        (_, None) => Ok(()),
    }
}

/// What a model reads.
fn source(name: &str, model: &ModelConfig, dataset: &DatasetConfig) -> Result<(), Finding> {
    let key = |field: &str| format!("model.{name}.{field}");
    let Some(common) = model.arch.common() else {
        return ask(model.encoder.is_none(), &key("encoder"), "has no meaning for what is no network of etalon; remove it");
    };
    let Some(encoder) = &model.encoder else {
        let there = dataset.features.is_some() || dataset.format == Format::Synthetic;
        return ask(there, &key("encoder"), "is missing, and so is `dataset.features`; the model has nothing to read, so give one of them");
    };
    let Some(videos) = &dataset.videos else {
        return Err(("dataset.videos".into(), format!("is missing; model.{name}.encoder reads it: give {{ path, size, snippets, clip }}")));
    };
    encoder.check().map_err(|problem| (key("encoder"), problem))?;
    if let Some([width, height]) = encoder.frames.crop {
        let fits = width <= videos.size[0] && height <= videos.size[1];
        let [w, h] = videos.size;
        ask(fits, &key("encoder.frames.crop"), &format!("is larger than the frames, {w} x {h} (`dataset.videos.size`)"))?;
    }
    if encoder.is_trained() {
        let jointly = "must be 1 where the encoder is trained: every snippet is a cell of its own";
        ask(common.pool == 1, &key("arch: `pool`"), jointly)?;
        let count = if let Snippets::Count(count) = videos.snippets { Some(count) } else { None };
        let one_by_one = common.temporal != Temporal::Rescale || count == Some(common.window);
        let rescale = format!(
            "is {}, but an encoder trained with `temporal = \"rescale\"` needs one snippet per cell: set dataset.videos.snippets = {{ count = {} }}",
            common.window, common.window
        );
        ask(one_by_one, &key("arch: `window`"), &rescale)?;
        ask(encoder.frozen_stages != Some(4), &key("encoder.frozen_stages"), "freezes all of the encoder; write training = \"frozen\"")?;
    }
    Ok(())
}

fn evaluate(evaluate: &EvaluateConfig) -> Result<(), Finding> {
    ask(!evaluate.tiou.is_empty(), "evaluate.tiou", "is empty; list thresholds such as [0.3, 0.5, 0.7]")?;
    ask(evaluate.tiou.iter().all(|&t| t > 0.0 && t < 1.0), "evaluate.tiou", "must lie between 0 and 1, both excluded")?;
    ask(evaluate.tiou.windows(2).all(|pair| pair[0] < pair[1]), "evaluate.tiou", "must ascend, each once")
}

fn targets(targets: &TargetsConfig) -> Result<(), Finding> {
    for size in &targets.sizes {
        let number = size.strip_suffix('x').unwrap_or(size).parse::<f64>();
        let ok = number.is_ok_and(|n| n > 0.0 && n.is_finite());
        ask(ok, "fit.targets.sizes", &format!("{size:?} is neither a multiple such as \"2x\" nor a number of videos such as \"500\""))?;
    }
    ask(targets.map.iter().all(|&m| m > 0.0 && m < 1.0), "fit.targets.map", "must lie between 0 and 1 (0.60, not 60)")
}
