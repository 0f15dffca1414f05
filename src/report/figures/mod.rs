//! Figures: data first ([`Chart`]), drawn by one backend ([`svg::draw`]).

pub mod chart;
pub mod charts;
pub mod end_to_end;
pub mod forecast;
pub mod labels;
pub mod names;
pub mod png;
pub mod svg;
pub mod usage;

pub use chart::{Axis, Chart, Labels, Mark, Scale, Series, Tick};
