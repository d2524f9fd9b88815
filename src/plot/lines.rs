//! Lines of several runs over a common axis: time series, sweeps.

use super::bin::columns_of_line;
use super::layout::{self, Axis, LabelsAt, Plot};
use super::options::{ChartOptions, LineMode};
use super::pen::Point;
use super::surface::Surface;
use super::{ChartError, Color, Dash, Frame};

/// The x values of a series.
pub enum Abscissa<'a> {
    /// Ascending, as many as there are values.
    Values(&'a [f64]),
    Even {
        start: f64,
        step: f64,
    },
}

/// One run's values. NaN breaks the line.
pub struct LineSeries<'a> {
    pub name: &'a str,
    pub color: Color,
    pub dash: Dash,
    pub x: Abscissa<'a>,
    pub values: &'a [f64],
}

/// Points of a series get a dot each up to this many.
const MARKERS_UP_TO: usize = 60;

impl LineSeries<'_> {
    fn x_at(&self, index: usize) -> f64 {
        match self.x {
            Abscissa::Values(x) => x[index],
            Abscissa::Even { start, step } => start + index as f64 * step,
        }
    }

    fn checked(&self) -> Result<(), ChartError> {
        match self.x {
            Abscissa::Values(x) if x.len() != self.values.len() => {
                Err(ChartError::Length { column: format!("{}.x", self.name), got: x.len(), expected: self.values.len() })
            }
            // NaN compares false.
            Abscissa::Values(x) if !x.windows(2).all(|pair| pair[0] <= pair[1]) => {
                Err(ChartError::NotAscending { series: self.name.to_owned() })
            }
            Abscissa::Even { start, step } if !(start.is_finite() && step.is_finite() && step > 0.0) => {
                Err(ChartError::NotAscending { series: self.name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Index of the first point at or right of `x`.
    fn first_at(&self, x: f64) -> usize {
        match self.x {
            Abscissa::Values(all) => all.partition_point(|v| *v < x),
            // `as` saturates.
            Abscissa::Even { start, step } => (((x - start) / step).ceil() as usize).min(self.values.len()),
        }
    }
}

/// Draws the lines. The y axis starts at zero unless `options.y_from_zero` says otherwise.
pub fn lines(surface: &mut dyn Surface, series: &[LineSeries<'_>], options: &ChartOptions) -> Result<Frame, ChartError> {
    options.checked()?;
    for one in series {
        one.checked()?;
    }
    let Some((x_data, y_data)) = ranges_of(series, options) else {
        return layout::empty(surface, options);
    };
    let x_range = match (x_data, options.mode) {
        // Time ends where the data end: no empty strip at the right.
        ((low, high), _) if low < high && !options.x_log => (options.x_min.unwrap_or(low), options.x_max.unwrap_or(high)),
        (data, _) => layout::range(data, (options.x_min, options.x_max), options.x_log, &options.x_unit, layout::x_intervals(options)),
    };
    let x_range = if x_range.0 < x_range.1 {
        x_range
    } else {
        layout::range(x_data, (None, None), options.x_log, &options.x_unit, layout::x_intervals(options))
    };
    let y_range = layout::range(y_data, (options.y_min, options.y_max), options.y_log, &options.y_unit, layout::y_intervals(options));
    let x =
        Axis { label: &options.x_label, unit: &options.x_unit, log: options.x_log, range: x_range, grid: false, whole: false, fixed: None };
    let y =
        Axis { label: &options.y_label, unit: &options.y_unit, log: options.y_log, range: y_range, grid: true, whole: false, fixed: None };
    let mut plot = Plot::new(surface, options, &x, &y)?;
    let pieces: Vec<Vec<Vec<Point>>> = series.iter().map(|one| pieces(one, &plot, options.mode)).collect();
    if options.fill {
        for (one, pieces) in series.iter().zip(&pieces) {
            for piece in pieces {
                fill(piece, &mut plot, one.color)?;
            }
        }
    }
    for (one, pieces) in series.iter().zip(&pieces) {
        for piece in pieces {
            plot.pen.polyline(piece, plot.clip, one.color, 2.0, one.dash)?;
        }
        dots(one, pieces, &mut plot, options)?;
    }
    plot.marks(options, LabelsAt::Top)?;
    Ok(plot.frame())
}

type Range = (f64, f64);

/// Ranges of all points; `None` when there is none.
fn ranges_of(series: &[LineSeries<'_>], options: &ChartOptions) -> Option<(Range, Range)> {
    let mut x_range = (f64::INFINITY, f64::NEG_INFINITY);
    let mut y_range = x_range;
    for one in series.iter().filter(|one| !one.values.is_empty()) {
        let shown = |v: f64, log: bool| v.is_finite() && !(log && v <= 0.0);
        let ends = [
            one.x_at(if options.x_log { one.first_at(f64::MIN_POSITIVE).min(one.values.len() - 1) } else { 0 }),
            one.x_at(one.values.len() - 1),
        ];
        for x in ends.into_iter().filter(|x| shown(*x, options.x_log)) {
            x_range = (x_range.0.min(x), x_range.1.max(x));
        }
        // Comparisons alone: NaN loses them.
        for &y in one.values {
            if y < y_range.0 && shown(y, options.y_log) {
                y_range.0 = y;
            }
            if y > y_range.1 && y < f64::INFINITY {
                y_range.1 = y;
            }
        }
    }
    if options.y_from_zero.unwrap_or(true) && !options.y_log {
        y_range.0 = y_range.0.min(0.0);
    }
    let some = x_range.0 <= x_range.1 && y_range.0 <= y_range.1 && y_range.1 > f64::NEG_INFINITY;
    some.then_some((x_range, y_range))
}

/// A series in css px, reduced to the plot's columns; one point beyond each edge is kept so that the line reaches it.
fn pieces(one: &LineSeries<'_>, plot: &Plot<'_>, mode: LineMode) -> Vec<Vec<Point>> {
    let width = (plot.clip.right - plot.clip.left).max(1.0) as usize;
    let count = one.values.len();
    let mut columns: Vec<usize> = (0..=width)
        .map(|column| one.first_at(plot.x.value(plot.clip.left + (plot.clip.right - plot.clip.left) * column as f64 / width as f64)))
        .collect();
    columns[0] = columns[0].saturating_sub(1);
    if let Some(last) = columns.last_mut() {
        *last = (*last + 1).min(count);
    }
    // The two ends moved outwards; the inner ones may not lie outside them.
    for index in 1..columns.len() {
        columns[index] = columns[index].max(columns[index - 1]);
    }
    // Where a logarithmic axis has no place for a value, the line runs off the plot.
    let far = |px: f64, low: f64, high: f64| px.clamp(low - 1e5, high + 1e5);
    let x_px = |x: f64| far(plot.x.px(x), plot.clip.left, plot.clip.right);
    let y_px = |y: f64| far(plot.y.px(y), plot.clip.top, plot.clip.bottom);
    columns_of_line(one.values, &columns, &|index| one.x_at(index))
        .into_iter()
        .map(|piece| {
            let points = piece.into_iter().map(|(x, y)| (x_px(x), y_px(y)));
            match mode {
                LineMode::Linear => points.collect(),
                LineMode::Step => stepped(points),
            }
        })
        .collect()
}

fn stepped(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut steps: Vec<Point> = Vec::new();
    for (x, y) in points {
        if let Some(&(_, before)) = steps.last() {
            steps.push((x, before));
        }
        steps.push((x, y));
    }
    steps
}

/// A tint from the line down to the axis.
fn fill(piece: &[Point], plot: &mut Plot<'_>, color: Color) -> Result<(), ChartError> {
    let clip = plot.clip;
    let inside = |(x, y): Point| (x.clamp(clip.left, clip.right), y.clamp(clip.top, clip.bottom));
    let mut area: Vec<Point> = piece.iter().map(|p| inside(*p)).collect();
    let (Some(&(first, _)), Some(&(last, _))) = (area.first(), area.last()) else { return Ok(()) };
    area.push((last, clip.bottom));
    area.push((first, clip.bottom));
    plot.pen.polygon(&area, color.faded(0.12))
}

fn dots(one: &LineSeries<'_>, pieces: &[Vec<Point>], plot: &mut Plot<'_>, options: &ChartOptions) -> Result<(), ChartError> {
    let few = one.values.len() <= MARKERS_UP_TO;
    for piece in pieces {
        // A point alone makes no line and would be lost.
        if (options.markers && few) || piece.len() == 1 {
            for &at in piece {
                let inside = at.0 >= plot.clip.left && at.0 <= plot.clip.right && at.1 >= plot.clip.top && at.1 <= plot.clip.bottom;
                if inside {
                    plot.pen.dot(at, 3.5, one.color)?;
                }
            }
        }
    }
    Ok(())
}
