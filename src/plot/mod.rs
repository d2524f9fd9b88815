//! Charts. One drawing code over plotters' `DrawingBackend` makes SVG text (exports, tests, reports) and, through the
//! backend in `www/wasm`, canvas pictures in the page.
//!
//! Whatever the input's length, it is reduced to what the pixels can show before anything is drawn (`bin`). A chart
//! knows nothing of simulations: it takes columns of numbers, colours and words. It returns the [`Frame`] it drew in, so
//! that a caller can lay a crosshair over it. Legends are the caller's too.

mod axis;
mod bars;
mod bin;
mod cdf;
mod layout;
mod lines;
mod options;
mod pen;
mod surface;
mod svg;
mod theme;
mod timeline;

pub use bars::{Bar, bars};
pub use cdf::{CdfSeries, cdf};
pub use lines::{Abscissa, LineSeries, lines};
pub use options::{ChartOptions, LineMode, Mark};
pub use surface::{OnBackend, Surface, UNITS_PER_PX};
pub use svg::svg;
pub use theme::{Color, Dash, PALETTE, Theme};
pub use timeline::{Timeline, timeline};

use serde::Serialize;

/// Where the plot is in the picture, and which data its edges stand for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    /// Left edge of the plot, css px from the picture's left edge.
    pub x: f64,
    /// Top edge, css px from the picture's top edge.
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// Data at the left edge.
    pub x_min: f64,
    /// Data at the right edge.
    pub x_max: f64,
    /// Data at the bottom edge. Above `y_max` where the axis runs downwards (timeline).
    pub y_min: f64,
    /// Data at the top edge.
    pub y_max: f64,
    pub x_log: bool,
    pub y_log: bool,
    /// There was nothing to draw; the ranges mean nothing.
    pub empty: bool,
}

/// Why a chart could not be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChartError {
    #[error("drawing failed: {0}")]
    Backend(String),
    #[error("a chart needs at least 80 by 60 pixels, not {width} by {height}")]
    TooSmall { width: f64, height: f64 },
    #[error("`{column}` has {got} values where {expected} are needed")]
    Length { column: String, got: usize, expected: usize },
    #[error("the x values of `{series}` must ascend")]
    NotAscending { series: String },
    #[error("`{color}` is not a colour: write #rgb, #rrggbb, rgb(r, g, b) or transparent")]
    Color { color: String },
    #[error("{axis} cannot run from {min} to {max}")]
    Range { axis: &'static str, min: f64, max: f64 },
}
