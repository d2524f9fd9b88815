//! Cumulative distributions of several runs: which share of requests took no longer than x.

use std::borrow::Cow;

use super::axis::Tick;
use super::bin::{ascending, quantile};
use super::layout::{self, Axis, LabelsAt, Plot};
use super::options::ChartOptions;
use super::pen::Point;
use super::surface::Surface;
use super::{ChartError, Color, Dash, Frame};

/// One run's values, in any order; NaN are left out. Ascending ones are drawn without a copy.
pub struct CdfSeries<'a> {
    pub name: &'a str,
    pub color: Color,
    pub dash: Dash,
    pub values: &'a [f64],
}

/// The shares that are read off most often, marked on every curve.
const MARKED: [f64; 3] = [0.5, 0.9, 0.99];
/// With fewer values than this every step is drawn; with more, the share at every half pixel.
const EXACT_BELOW: usize = 400;

/// Draws the distributions. The y axis is the share, whatever `options.y_…` say of label, unit and scale; `y_min` and
/// `y_max` zoom it.
pub fn cdf(surface: &mut dyn Surface, series: &[CdfSeries<'_>], options: &ChartOptions) -> Result<Frame, ChartError> {
    options.checked()?;
    let sorted: Vec<Cow<'_, [f64]>> = series.iter().map(|s| ascending(s.values)).collect();
    let Some(data) = range_of(&sorted, options.x_log) else {
        return layout::empty(surface, options);
    };
    let x_range = layout::range(data, (options.x_min, options.x_max), options.x_log, &options.x_unit, layout::x_intervals(options));
    let zoomed = options.y_min.is_some() || options.y_max.is_some();
    let y_range = (options.y_min.unwrap_or(0.0), options.y_max.unwrap_or(1.0));
    let tick = |value: f64, label: &str| Tick { value, label: label.to_owned() };
    // The tail before its neighbour: on a low picture one of p90 and p99 has to give way.
    let fixed = vec![tick(0.5, "p50"), tick(0.99, "p99"), tick(0.9, "p90"), tick(0.0, "0%"), tick(0.25, "25%"), tick(0.75, "75%")];
    let label = if options.y_label.is_empty() { "Share of requests" } else { &options.y_label };
    let x =
        Axis { label: &options.x_label, unit: &options.x_unit, log: options.x_log, range: x_range, grid: true, whole: false, fixed: None };
    let y = Axis { label, unit: "%", log: false, range: y_range, grid: true, whole: false, fixed: (!zoomed).then_some(fixed) };
    let mut plot = Plot::new(surface, options, &x, &y)?;
    for (series, values) in series.iter().zip(&sorted) {
        let points = curve(values, &plot);
        plot.pen.polyline(&points, plot.clip, series.color, 2.0, series.dash)?;
    }
    for (series, values) in series.iter().zip(&sorted) {
        for share in MARKED {
            let Some(value) = quantile(values, share) else { continue };
            let at = (plot.x.px(value), plot.y.px(share));
            let inside = at.0 >= plot.clip.left && at.0 <= plot.clip.right && at.1 >= plot.clip.top && at.1 <= plot.clip.bottom;
            if inside {
                plot.pen.dot(at, 4.5, plot.pen.theme.background)?;
                plot.pen.dot(at, 3.5, series.color)?;
            }
        }
    }
    plot.marks(options, LabelsAt::Bottom)?;
    Ok(plot.frame())
}

/// Least and greatest value that the axis can show.
fn range_of(sorted: &[Cow<'_, [f64]>], log: bool) -> Option<(f64, f64)> {
    let mut range: Option<(f64, f64)> = None;
    for values in sorted {
        let first = if log { values.partition_point(|v| *v <= 0.0) } else { 0 };
        if let (Some(low), Some(high)) = (values.get(first), values.last()) {
            let (min, max) = range.unwrap_or((*low, *high));
            range = Some((min.min(*low), max.max(*high)));
        }
    }
    // From zero on a linear axis: lengths of time are compared.
    range.map(|(low, high)| if log { (low, high) } else { (low.min(0.0), high) })
}

/// The curve in css px. On a logarithmic axis, values of zero and less lie beyond the left edge but count.
fn curve(values: &[f64], plot: &Plot<'_>) -> Vec<Point> {
    let Some(greatest) = values.last() else { return Vec::new() };
    let count = values.len() as f64;
    let outside = plot.clip.left - 10.0;
    let x_px = |value: f64| plot.x.px(value).max(outside);
    let mut points: Vec<Point> = Vec::new();
    let mut share = 0.0;
    let mut climb = |x: f64, to: f64, share: &mut f64| {
        if to > *share {
            points.push((x, plot.y.px(*share)));
            points.push((x, plot.y.px(to)));
            *share = to;
        }
    };
    if values.len() < EXACT_BELOW {
        let mut index = 0;
        while index < values.len() {
            let next = index + values[index..].partition_point(|v| *v <= values[index]);
            climb(x_px(values[index]), next as f64 / count, &mut share);
            index = next;
        }
        return points;
    }
    let half_pixels = ((plot.clip.right - plot.clip.left) * 2.0) as usize + 1;
    for half in 0..=half_pixels {
        let x = plot.clip.left + half as f64 / 2.0;
        let value = plot.x.value(x);
        climb(x, values.partition_point(|v| *v <= value) as f64 / count, &mut share);
    }
    // The last step falls short of the greatest value by rounding, or is far outside.
    climb(x_px(*greatest), 1.0, &mut share);
    points
}
