//! Renderers: a page to the bytes of files. They differ in markup only.

mod html;
mod json;
mod markdown;

use std::path::PathBuf;

pub use html::Html;
pub use json::Json;
pub use markdown::Markdown;

use super::{Error, Page};

/// A file to write, relative to the report's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Relative path.
    pub path: PathBuf,
    /// Content.
    pub bytes: Vec<u8>,
}

impl Artifact {
    pub(super) fn new(path: impl Into<PathBuf>, text: String) -> Self {
        Self { path: path.into(), bytes: text.into_bytes() }
    }
}

/// Turns a page into files.
pub trait Renderer {
    /// The files of this form.
    ///
    /// # Errors
    /// A figure or template fails.
    fn render(&self, page: &Page) -> Result<Vec<Artifact>, Error>;
}

/// Every renderer.
pub fn all() -> [&'static dyn Renderer; 3] {
    [&Html, &Markdown, &Json]
}
