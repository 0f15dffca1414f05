//! Figures: data first ([`Chart`]), drawn by one backend ([`svg::draw`]).

pub mod chart;
pub mod charts;
pub mod labels;
pub mod svg;
pub mod usage;

pub use chart::{Axis, Chart, Labels, Scale, Series, Tick};
