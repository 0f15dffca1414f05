//! `dataset.videos` of an experiment: where video files are, and which frames of them a snippet is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::Bytes;

/// Largest width and height that frames are decoded to.
const LARGEST_SIDE: usize = 4096;

/// Where videos are and how they are cut into snippets. The built-in corpus needs no `path`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VideosConfig {
    /// Folder with one file per video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// After the video identifier and a full stop in the file name.
    pub extension: String,
    /// Before the video identifier in the file name, such as `"v_"`.
    pub prefix: String,
    /// Width and height that frames are decoded to, whatever their aspect.
    pub size: [usize; 2],
    /// Frames per second that videos are resampled to. By default a file's own average rate; with `stride`, the annotations'
    /// `fps` where they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// How many snippets, or how far apart.
    pub snippets: Snippets,
    /// Frames per snippet.
    pub clip: usize,
    /// Frames from one frame of a snippet to the next.
    pub step: usize,
    /// What to do with videos that cannot be used.
    pub damaged: Damaged,
    /// Where decoded frames are kept.
    pub cache: CacheConfig,
}

/// How a video is cut into snippets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snippets {
    /// The same number in every video, evenly spaced from its first frame to its last (ETAD: 128).
    Count(usize),
    /// One per this many frames of the constant rate.
    Stride(usize),
}

/// What to do with a video that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damaged {
    /// Refuse the data set.
    #[default]
    Refuse,
    /// Leave the video out and note it.
    Skip,
}

/// Where decoded frames are kept, and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Folder; by default `$ETALON_CACHE`, else `$XDG_CACHE_HOME/etalon`, else `~/.cache/etalon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Frames beyond this are removed, the least recently used video first. Files of the built-in corpus do not count: they
    /// take a tenth of their frames, and a rendered file is like one that was fetched.
    pub limit: Bytes,
}

impl Default for VideosConfig {
    fn default() -> Self {
        Self {
            path: None,
            extension: "mp4".into(),
            prefix: String::new(),
            size: [112, 112],
            fps: None,
            snippets: Snippets::Count(128),
            clip: 16,
            step: 1,
            damaged: Damaged::Refuse,
            cache: CacheConfig::default(),
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { path: None, limit: Bytes(8 << 30) }
    }
}

impl VideosConfig {
    /// Whether videos can be read with these settings. That `path` is missing is for whoever knows the corpus to say.
    ///
    /// # Errors
    /// The key that is out of range, and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let ask = |ok: bool, key, problem| if ok { Ok(()) } else { Err((key, problem)) };
        let plain = |text: &str| !text.contains(['/', '\0']);
        ask(!self.extension.is_empty() && plain(&self.extension), "extension", "must be the end of a file name, such as \"mp4\"")?;
        ask(plain(&self.prefix), "prefix", "must be the beginning of a file name")?;
        let sides = self.size.iter().all(|side| (1..=LARGEST_SIDE).contains(side));
        ask(sides, "size", "must be [width, height], each 1 to 4096")?;
        let rate = self.fps.is_none_or(|fps| (0.01..=1000.0).contains(&fps));
        ask(rate, "fps", "must be 0.01 to 1000 frames per second")?;
        let (Snippets::Count(number) | Snippets::Stride(number)) = self.snippets;
        ask((1..=100_000).contains(&number), "snippets", "must be { count = … } or { stride = … }, 1 to 100000")?;
        ask((1..=1024).contains(&self.clip), "clip", "must be 1 to 1024 frames")?;
        ask((1..=1024).contains(&self.step), "step", "must be 1 to 1024 frames")?;
        ask(self.cache.limit.0 >= 1 << 20, "cache.limit", "must be 1MiB or more")
    }
}

impl CacheConfig {
    /// The folder; `None` when neither the settings nor the environment name one.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let under = |name, rest: &str| variable(name).map(|folder| folder.join(rest));
        self.path
            .clone()
            .or_else(|| variable("ETALON_CACHE"))
            .or_else(|| under("XDG_CACHE_HOME", "etalon"))
            .or_else(|| under("HOME", ".cache/etalon"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_from_a_file_keep_the_defaults_of_what_they_leave_out() {
        let text = "path = \"videos\"\nsnippets = { stride = 4 }\nfps = 15.0\ncache = { limit = \"2GiB\" }\ndamaged = \"skip\"";
        let config: VideosConfig = toml::from_str(text).unwrap();
        let expected = VideosConfig {
            path: Some("videos".into()),
            snippets: Snippets::Stride(4),
            fps: Some(15.0),
            damaged: Damaged::Skip,
            cache: CacheConfig { path: None, limit: Bytes(2 << 30) },
            ..VideosConfig::default()
        };
        assert_eq!(config, expected);
        assert_eq!(toml::from_str::<VideosConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert!(toml::from_str::<VideosConfig>("frames = 3").is_err());
    }

    #[test]
    fn settings_out_of_range_are_refused_by_key() {
        VideosConfig::default().check().unwrap();
        let check = |change: fn(&mut VideosConfig)| {
            let mut config = VideosConfig::default();
            change(&mut config);
            config.check().unwrap_err().0
        };
        assert_eq!(check(|c| c.extension = "../x".into()), "extension");
        assert_eq!(check(|c| c.prefix = "a/b".into()), "prefix");
        assert_eq!(check(|c| c.size = [112, 0]), "size");
        assert_eq!(check(|c| c.fps = Some(f64::NAN)), "fps");
        assert_eq!(check(|c| c.snippets = Snippets::Stride(0)), "snippets");
        assert_eq!(check(|c| c.clip = 0), "clip");
        assert_eq!(check(|c| c.step = 0), "step");
        assert_eq!(check(|c| c.cache.limit = Bytes(0)), "cache.limit");
    }
}
