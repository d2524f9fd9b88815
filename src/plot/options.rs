//! What a caller may ask of any chart.

use serde::Deserialize;

use super::{ChartError, Theme};

/// A labelled straight line across the plot: a service-level objective, a capacity.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Where on the axis, in data units.
    pub value: f64,
    pub label: String,
}

/// How neighbouring points of a line are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineMode {
    /// A straight line.
    #[default]
    Linear,
    /// A value holds until the next point.
    Step,
}

/// Size, words and ranges of a chart.
///
/// Units `ms` and `%` are understood: milliseconds are shown as seconds where they are many, and `%` data are fractions
/// of one. Any other unit is written as it is given.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ChartOptions {
    /// css px.
    pub width: f64,
    /// css px.
    pub height: f64,
    /// Pixels of the screen in one css px; only a canvas uses it.
    pub device_pixel_ratio: Option<f64>,
    pub theme: Theme,
    pub x_label: String,
    pub x_unit: String,
    pub y_label: String,
    pub y_unit: String,
    pub x_log: bool,
    pub y_log: bool,
    /// Shown range, data units; what is absent follows from the data.
    pub x_min: Option<f64>,
    pub x_max: Option<f64>,
    pub y_min: Option<f64>,
    pub y_max: Option<f64>,
    /// Vertical lines.
    pub x_marks: Vec<Mark>,
    /// Horizontal lines.
    pub y_marks: Vec<Mark>,
    /// What to say when there is nothing to draw. Absent: "No data yet".
    pub empty_text: Option<String>,
    /// Lines only.
    pub mode: LineMode,
    /// Lines only: a dot at each point, as long as there are few.
    pub markers: bool,
    /// Lines only: a tint between line and zero.
    pub fill: bool,
    /// Lines only: the y axis starts at zero. Absent means true.
    pub y_from_zero: Option<bool>,
    /// Timeline only.
    pub queued_color: Option<super::Color>,
    pub prefill_color: Option<super::Color>,
    pub decode_color: Option<super::Color>,
    pub rejected_color: Option<super::Color>,
}

impl ChartOptions {
    pub(super) fn checked(&self) -> Result<(), ChartError> {
        // Also catches NaN.
        if !(self.width >= 80.0 && self.height >= 60.0 && self.width <= 20_000.0 && self.height <= 20_000.0) {
            return Err(ChartError::TooSmall { width: self.width, height: self.height });
        }
        for (axis, min, max, log) in [("x", self.x_min, self.x_max, self.x_log), ("y", self.y_min, self.y_max, self.y_log)] {
            let (low, high) = (min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX));
            let usable = low.is_finite() && high.is_finite() && low < high && !(log && high <= 0.0);
            if !usable {
                return Err(ChartError::Range { axis, min: low, max: high });
            }
        }
        Ok(())
    }
}
