//! What a folder of features holds, found out from its files: their form, names, dimension, layout and time base.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::array;
use super::features::{FeaturesConfig, Kind, Layout};
use super::{Dataset, Video};
use crate::base::fsio;

/// Forms by the ending of the file's name.
const KINDS: [(&str, Kind); 3] = [(".npy", Kind::Npy), (".npz", Kind::Npz), (".safetensors", Kind::Safetensors)];
/// A stride in frames is taken for a whole number when it is this near to one.
const NEAR: f64 = 0.03;

/// The settings that read the features in `folder`, of as many videos of `dataset` as have some.
///
/// # Errors
/// What is wrong with the folder, as a sentence.
pub fn features(folder: &Path, dataset: &Dataset) -> Result<FeaturesConfig, String> {
    let here = folder.display();
    let names = fsio::list(folder).map_err(|e| e.to_string())?;
    let Naming { kind, prefix, files } = Naming::of(&names, dataset).ok_or_else(|| {
        let first = names.first().map_or_else(|| "it is empty".to_owned(), |name| format!("there is {name:?}"));
        let video = dataset.videos.keys().next().map(String::as_str).unwrap_or_default();
        format!("{here} has no feature file of any video: {first}, and the annotations have {video:?}; name files VIDEO.npy, .npz or .safetensors")
    })?;
    let mut shapes = BTreeMap::new();
    for (video, name) in files {
        let path = folder.join(name);
        let mut file = array::open(&path, kind, None).map_err(|error| match error {
            array::Error::File(e) => e.to_string(),
            array::Error::Malformed(problem) => format!("{}: {problem}", path.display()),
        })?;
        file.squeeze();
        let &[rows, columns] = file.shape.as_slice() else {
            return Err(format!("{} has shape {:?}; store one two-dimensional array per video", path.display(), file.shape));
        };
        shapes.insert(video, [rows, columns]);
    }
    let (dim, layout) = orientation(&shapes)?;
    let time = |shape: &[usize; 2]| if layout == Layout::TimeChannels { shape[0] } else { shape[1] };
    let times: Vec<(&Video, usize)> = shapes.iter().map(|(video, shape)| (&dataset.videos[*video], time(shape))).collect();
    let base = TimeBase::of(&times);
    Ok(FeaturesConfig {
        path: PathBuf::from(folder),
        kind,
        dim,
        stride: base.stride,
        clip: None,
        rate: base.rate,
        count: base.count,
        layout,
        prefix,
        array: None,
    })
}

/// How the files are named.
struct Naming<'a> {
    kind: Kind,
    prefix: String,
    /// Video and file.
    files: Vec<(&'a str, &'a str)>,
}

impl<'a> Naming<'a> {
    /// The one that most videos follow.
    fn of(names: &'a [String], dataset: &'a Dataset) -> Option<Self> {
        let mut best: Option<Self> = None;
        for (ending, kind) in KINDS {
            let stems: BTreeMap<&str, &str> = names.iter().filter_map(|name| Some((name.strip_suffix(ending)?, name.as_str()))).collect();
            let prefixes: BTreeSet<&str> = dataset
                .videos
                .keys()
                .take(20)
                .flat_map(|video| stems.keys().filter_map(move |stem| stem.strip_suffix(video.as_str())))
                .collect();
            for prefix in prefixes {
                let file = |video: &'a String| Some((video.as_str(), *stems.get(format!("{prefix}{video}").as_str())?));
                let files: Vec<_> = dataset.videos.keys().filter_map(file).collect();
                if best.as_ref().is_none_or(|best| files.len() > best.files.len()) {
                    best = Some(Self { kind, prefix: prefix.to_owned(), files });
                }
            }
        }
        best.filter(|best| !best.files.is_empty())
    }
}

/// The dimension is what all files share; where both are shared, the larger one.
fn orientation(shapes: &BTreeMap<&str, [usize; 2]>) -> Result<(usize, Layout), String> {
    let sizes = |axis: usize| shapes.values().map(|shape| shape[axis]).collect::<BTreeSet<_>>();
    let (rows, columns) = (sizes(0), sizes(1));
    let only = |sizes: &BTreeSet<usize>| sizes.first().copied().filter(|_| sizes.len() == 1);
    match (only(&rows), only(&columns)) {
        (Some(rows), Some(columns)) if rows > columns => Ok((rows, Layout::ChannelsTime)),
        (_, Some(columns)) => Ok((columns, Layout::TimeChannels)),
        (Some(rows), None) => Ok((rows, Layout::ChannelsTime)),
        (None, None) => {
            Err(format!("the feature files share no dimension: there are {} and {} sizes along the two", rows.len(), columns.len()))
        }
    }
}

/// One of the three is known.
#[derive(Debug, Default, PartialEq)]
struct TimeBase {
    stride: Option<f64>,
    rate: Option<f64>,
    count: Option<usize>,
}

impl TimeBase {
    fn of(times: &[(&Video, usize)]) -> Self {
        let lengths: BTreeSet<usize> = times.iter().map(|t| t.1).collect();
        let durations: BTreeSet<u64> = times.iter().map(|t| t.0.duration.to_bits()).collect();
        if let (Some(count), 1, 2..) = (lengths.first(), lengths.len(), durations.len()) {
            return Self { count: Some(*count), ..Self::default() };
        }
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let rate = median(times.iter().map(|(video, time)| *time as f64 / video.duration).collect());
        let frames: Option<Vec<f64>> = times.iter().map(|(video, time)| Some(video.fps? * video.duration / *time as f64)).collect();
        let stride = frames.map(median).filter(|stride| (stride - stride.round()).abs() <= NEAR * stride && *stride >= 1.0);
        match stride {
            Some(stride) => Self { stride: Some(stride.round()), ..Self::default() },
            None => Self { rate: Some((rate * 1e3).round() / 1e3), ..Self::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::data::{FeatureSource, Features};

    fn dataset(durations: &[f64], fps: Option<f64>) -> Dataset {
        let video = |&duration: &f64| Video { subset: "training".into(), duration, fps, frames: None, instances: Vec::new() };
        let videos = durations.iter().enumerate().map(|(i, d)| (format!("vid{i}"), video(d))).collect();
        Dataset { classes: Vec::new(), videos, digest: Digest::of_bytes(b""), notes: Vec::new() }
    }

    fn found(durations: &[f64], fps: Option<f64>, prefix: &str, shape: impl Fn(f64) -> [usize; 2]) -> Result<FeaturesConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        for (i, duration) in durations.iter().enumerate() {
            let [time, channels] = shape(*duration);
            let content = Features { time, channels, data: vec![0.0; time * channels] };
            FeatureSource::write(&folder.path().join(format!("{prefix}vid{i}.npy")), &content).unwrap();
        }
        features(folder.path(), &dataset(durations, fps))
    }

    #[test]
    fn names_dimension_layout_and_time_base_are_found() {
        let lengths = [10.0, 20.0, 33.0];
        let strided = found(&lengths, Some(50.0), "v_", |d| [(d * 5.0) as usize, 7]).unwrap();
        assert_eq!((strided.dim, strided.stride, strided.rate, strided.prefix.as_str()), (7, Some(10.0), None, "v_"));
        let rated = found(&lengths, None, "", |d| [7, (d * 2.5) as usize]).unwrap();
        assert_eq!((rated.dim, rated.rate, rated.layout), (7, Some(2.5), Layout::ChannelsTime));
        let counted = found(&lengths, Some(30.0), "", |_| [100, 256]).unwrap();
        assert_eq!((counted.dim, counted.count, counted.stride), (256, Some(100), None));
    }

    #[test]
    fn a_folder_of_something_else_is_told() {
        let problem = found(&[10.0], None, "other/", |_| [1, 1]).unwrap_err();
        assert!(problem.contains("no feature file of any video") && problem.contains("\"vid0\""), "{problem}");
    }
}
