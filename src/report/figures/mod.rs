//! Figures: data first ([`Chart`]), drawn by one backend ([`svg::draw`]).

pub mod chart;
pub mod charts;
pub mod svg;

pub use chart::{Axis, Chart, Scale, Series, Tick};
