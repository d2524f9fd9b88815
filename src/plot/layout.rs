//! The furniture every chart shares: margins from measured labels, titles, grid, ticks, marks.

use super::axis::{self, Room, Scale, Tick, shown};
use super::options::{ChartOptions, Mark};
use super::pen::{Anchor, Pen, Point, Rect, crisp};
use super::surface::Surface;
use super::{ChartError, Dash, Frame};

/// What a chart knows of one of its axes before it is laid out.
pub struct Axis<'a> {
    pub label: &'a str,
    pub unit: &'a str,
    pub log: bool,
    /// Shown range, data units. For an axis that runs from larger to smaller, the second is the smaller.
    pub range: (f64, f64),
    pub grid: bool,
    /// Only whole numbers.
    pub whole: bool,
    /// Ticks in the order of their importance, instead of round numbers; those without room are left out.
    pub fixed: Option<Vec<Tick>>,
}

/// A chart laid out, its grid and ticks drawn, ready for its data.
pub struct Plot<'a> {
    pub pen: Pen<'a>,
    pub x: Scale,
    pub y: Scale,
    pub clip: Rect,
}

/// Where vertical marks have their labels: where the data leave room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LabelsAt {
    Top,
    Bottom,
}

const PAD_PX: f64 = 8.0;
/// From a tick label to the plot.
const TICK_GAP_PX: f64 = 6.0;

/// Chooses one axis' range: what the caller fixed stays, the rest is rounded outwards from the data's range, to one of the ticks that
/// [`x_intervals`] and [`y_intervals`] leave room for.
pub fn range(data: (f64, f64), fixed: (Option<f64>, Option<f64>), log: bool, unit: &str, intervals: f64) -> (f64, f64) {
    let (mut low, mut high) = data;
    if log && fixed.0.is_some_and(|min| min <= 0.0) {
        // A logarithmic axis cannot start there: the caller's end is no end.
        return range(data, (None, fixed.1), log, unit, intervals);
    }
    low = fixed.0.unwrap_or(low);
    high = fixed.1.unwrap_or(high);
    if low >= high {
        // All data in one place, or outside what the caller fixed.
        high = match (fixed.1, log) {
            (Some(max), true) => return (max / 10.0, max),
            (Some(max), false) => return (max - 1.0, max),
            (None, true) => low * 10.0,
            (None, false) if low > 0.0 => low * 2.0,
            (None, false) => low + 1.0,
        };
    }
    let (nice_low, nice_high) = if log { axis::nice_log_range(low, high) } else { axis::nice_range(low, high, intervals, unit) };
    (fixed.0.unwrap_or(nice_low), fixed.1.unwrap_or(nice_high))
}

/// Top and bottom of the plot.
fn vertical(options: &ChartOptions, x_titled: bool, y_titled: bool) -> (f64, f64) {
    let line_px = options.theme.font_size_px * 1.4;
    let top = if y_titled { PAD_PX + line_px * 1.25 } else { PAD_PX + line_px / 2.0 };
    let bottom = options.height - PAD_PX / 2.0 - if x_titled { 2.0 * line_px } else { line_px };
    (top, crisp(bottom.max(top + 10.0)))
}

/// Steps of ticks that a y axis has room for.
pub fn y_intervals(options: &ChartOptions) -> f64 {
    let (top, bottom) = vertical(options, !options.x_label.is_empty(), !options.y_label.is_empty());
    axis::intervals(bottom - top, axis::Y_STEP_PX)
}

/// Steps of ticks that an x axis has room for, about: how wide the y labels are is not known yet.
pub fn x_intervals(options: &ChartOptions) -> f64 {
    axis::intervals(options.width - 5.0 * options.theme.font_size_px, axis::X_STEP_PX)
}

impl<'a> Plot<'a> {
    pub fn new(surface: &'a mut dyn Surface, options: &'a ChartOptions, x: &Axis<'_>, y: &Axis<'_>) -> Result<Plot<'a>, ChartError> {
        let mut pen = Pen::new(surface, &options.theme);
        background(&mut pen, options)?;
        let line_px = options.theme.font_size_px * 1.4;
        let (y_title, x_title) = (title(y), title(x));
        let (top, bottom) = vertical(options, !x_title.is_empty(), !y_title.is_empty());
        let y_room = Room {
            length_px: bottom - top,
            extent_px: &|_| options.theme.font_size_px,
            gap_px: line_px * 0.7,
            least_step_px: axis::Y_STEP_PX,
            whole: y.whole,
        };
        let y_ticks = ticks(y, &y_room);

        let mut y_width: f64 = 0.0;
        for tick in &y_ticks {
            y_width = y_width.max(pen.text_width(&tick.label, false)?);
        }
        // On a narrow picture labels may take a third and no more; longer ones are cut below.
        let y_width = y_width.min(options.width / 3.0);
        let left = crisp(PAD_PX + y_width + TICK_GAP_PX);

        // The last label may reach beyond the plot's right edge by half its width.
        let guess = options.width - left - PAD_PX;
        let width_of = |pen: &Pen<'_>, label: &str| pen.text_width(label, false).unwrap_or(label.len() as f64 * options.theme.font_size_px);
        let x_ticks_in = |pen: &Pen<'_>, length_px: f64| {
            let extent = |label: &str| width_of(pen, label);
            ticks(x, &Room { length_px, extent_px: &extent, gap_px: 14.0, least_step_px: axis::X_STEP_PX, whole: x.whole })
        };
        let overhang = x_ticks_in(&pen, guess).last().map_or(0.0, |tick| width_of(&pen, &tick.label) / 2.0);
        let right = crisp((options.width - PAD_PX - overhang).max(left + 10.0));
        let mut x_ticks = x_ticks_in(&pen, right - left);

        let x_scale = Scale { min: x.range.0, max: x.range.1, log: x.log, start_px: left, end_px: right };
        let y_scale = Scale { min: y.range.0, max: y.range.1, log: y.log, start_px: bottom, end_px: top };
        // With another length the last label may be another: none is ever cut.
        x_ticks.retain(|tick| {
            let half = width_of(&pen, &tick.label) / 2.0;
            let at = x_scale.px(tick.value);
            at - half >= 0.0 && at + half <= options.width
        });

        let mut plot = Plot { pen, x: x_scale, y: y_scale, clip: Rect { left, top, right, bottom } };
        plot.grid(x, y, &x_ticks, &y_ticks)?;
        plot.labels(&x_ticks, &y_ticks, y_width)?;
        plot.titles(&x_title, &y_title, options)?;
        Ok(plot)
    }

    fn grid(&mut self, x: &Axis<'_>, y: &Axis<'_>, x_ticks: &[Tick], y_ticks: &[Tick]) -> Result<(), ChartError> {
        let Rect { left, top, right, bottom } = self.clip;
        let theme = self.pen.theme;
        for tick in y_ticks.iter().filter(|_| y.grid) {
            let at = crisp(self.y.px(tick.value));
            self.pen.line((left, at), (right, at), theme.grid, 1.0)?;
        }
        for tick in x_ticks.iter().filter(|_| x.grid) {
            let at = crisp(self.x.px(tick.value));
            self.pen.line((at, top), (at, bottom), theme.grid, 1.0)?;
        }
        for tick in x_ticks {
            let at = crisp(self.x.px(tick.value));
            self.pen.line((at, bottom), (at, bottom + 4.0), theme.axis, 1.0)?;
        }
        self.pen.line((left, bottom), (right, bottom), theme.axis, 1.0)
    }

    fn labels(&mut self, x_ticks: &[Tick], y_ticks: &[Tick], y_width: f64) -> Result<(), ChartError> {
        let theme = self.pen.theme;
        for tick in y_ticks {
            let label = self.pen.fitted(&tick.label, y_width + 0.5, false)?;
            self.pen.text(&label, (self.clip.left - TICK_GAP_PX, self.y.px(tick.value)), Anchor::RightMiddle, theme.muted, false)?;
        }
        for tick in x_ticks {
            self.pen.text(&tick.label, (self.x.px(tick.value), self.clip.bottom + TICK_GAP_PX), Anchor::CenterTop, theme.muted, false)?;
        }
        Ok(())
    }

    fn titles(&mut self, x_title: &str, y_title: &str, options: &ChartOptions) -> Result<(), ChartError> {
        let theme = self.pen.theme;
        let line_px = theme.font_size_px * 1.4;
        let room = options.width - 2.0 * PAD_PX;
        // The y title lies flat above the axis: read without turning the head, and the plot keeps its width.
        let y_title = self.pen.fitted(y_title, room, false)?;
        self.pen.text(&y_title, (PAD_PX, PAD_PX / 2.0 + 1.0), Anchor::LeftTop, theme.text, false)?;
        let x_title = self.pen.fitted(x_title, room, false)?;
        let half = self.pen.text_width(&x_title, false)? / 2.0;
        let center = ((self.clip.left + self.clip.right) / 2.0).min(options.width - PAD_PX - half).max(PAD_PX + half);
        self.pen.text(&x_title, (center, self.clip.bottom + TICK_GAP_PX + line_px), Anchor::CenterTop, theme.text, false)
    }

    /// Draws marks over the data, the labels of vertical ones at the top or at the bottom. Marks outside the shown range are
    /// outside the picture.
    pub fn marks(&mut self, options: &ChartOptions, labels_at: LabelsAt) -> Result<(), ChartError> {
        let Rect { left, top, right, bottom } = self.clip;
        let dash = Dash::Dashed;
        for mark in &options.y_marks {
            let at = crisp(self.y.px(mark.value));
            if at >= top && at <= bottom {
                self.pen.polyline(&[(left, at), (right, at)], self.clip, self.pen.theme.axis, 1.0, dash)?;
                let above = at - self.pen.theme.font_size_px * 0.75;
                let y = if above - self.pen.theme.font_size_px * 0.6 < top { at + self.pen.theme.font_size_px * 0.75 } else { above };
                self.mark_label(mark, (right - 4.0, y), Anchor::RightMiddle)?;
            }
        }
        for mark in &options.x_marks {
            let at = crisp(self.x.px(mark.value));
            if at >= left && at <= right {
                self.pen.polyline(&[(at, top), (at, bottom)], self.clip, self.pen.theme.axis, 1.0, dash)?;
                let width = self.pen.text_width(&mark.label, false)?;
                let to_the_right = at + 4.0 + width <= right || at - left < right - at;
                let (x, anchor) = if to_the_right { (at + 4.0, Anchor::LeftMiddle) } else { (at - 4.0, Anchor::RightMiddle) };
                let inset = self.pen.theme.font_size_px * 0.75;
                let y = if labels_at == LabelsAt::Top { top + inset } else { bottom - inset };
                self.mark_label(mark, (x, y), anchor)?;
            }
        }
        Ok(())
    }

    /// A label on a patch of background, so that lines beneath do not strike it out.
    fn mark_label(&mut self, mark: &Mark, at: Point, anchor: Anchor) -> Result<(), ChartError> {
        let leftwards = matches!(anchor, Anchor::RightMiddle);
        let room = if leftwards { at.0 - self.clip.left } else { self.clip.right - at.0 };
        let label = self.pen.fitted(&mark.label, room, false)?;
        let width = self.pen.text_width(&label, false)?;
        let half = self.pen.theme.font_size_px * 0.6;
        let left = if leftwards { at.0 - width } else { at.0 };
        let patch = Rect { left: left - 1.0, top: at.1 - half, right: left + width + 1.0, bottom: at.1 + half };
        self.pen.rect(patch, self.pen.theme.background.faded(0.8))?;
        self.pen.text(&label, at, anchor, self.pen.theme.text, false)
    }

    pub fn frame(&self) -> Frame {
        Frame {
            x: self.clip.left,
            y: self.clip.top,
            width: self.clip.right - self.clip.left,
            height: self.clip.bottom - self.clip.top,
            x_min: self.x.min,
            x_max: self.x.max,
            y_min: self.y.min,
            y_max: self.y.max,
            x_log: self.x.log,
            y_log: self.y.log,
            empty: false,
        }
    }
}

/// Says that there is nothing to draw, in the middle of the picture.
pub fn empty(surface: &mut dyn Surface, options: &ChartOptions) -> Result<Frame, ChartError> {
    let mut pen = Pen::new(surface, &options.theme);
    background(&mut pen, options)?;
    let text = options.empty_text.as_deref().unwrap_or("No data yet");
    let text = pen.fitted(text, options.width - 2.0 * PAD_PX, false)?;
    pen.text(&text, (options.width / 2.0, options.height / 2.0), Anchor::CenterMiddle, options.theme.muted, false)?;
    Ok(Frame {
        x: PAD_PX,
        y: PAD_PX,
        width: options.width - 2.0 * PAD_PX,
        height: options.height - 2.0 * PAD_PX,
        x_min: 0.0,
        x_max: 1.0,
        y_min: 0.0,
        y_max: 1.0,
        x_log: false,
        y_log: false,
        empty: true,
    })
}

pub fn background(pen: &mut Pen<'_>, options: &ChartOptions) -> Result<(), ChartError> {
    pen.rect(Rect { left: 0.0, top: 0.0, right: options.width, bottom: options.height }, options.theme.background)
}

/// An axis' label with its unit, if the ticks do not carry it.
fn title(axis: &Axis<'_>) -> String {
    let unit = shown(axis.unit, axis.range.0.abs().max(axis.range.1.abs()), axis.log).title_unit;
    match (axis.label.is_empty(), unit.is_empty()) {
        (true, true) => String::new(),
        (true, false) => unit.to_owned(),
        (false, true) => axis.label.to_owned(),
        (false, false) => format!("{} ({unit})", axis.label),
    }
}

fn ticks(axis: &Axis<'_>, room: &Room<'_>) -> Vec<Tick> {
    let (low, high) = if axis.range.0 <= axis.range.1 { axis.range } else { (axis.range.1, axis.range.0) };
    let Some(fixed) = &axis.fixed else {
        return if axis.log { axis::log_ticks(low, high, axis.unit, room) } else { axis::linear_ticks(low, high, axis.unit, room) };
    };
    let mut kept: Vec<Tick> = Vec::new();
    for tick in fixed {
        let apart = |other: &Tick| (tick.value - other.value).abs() / (high - low) * room.length_px;
        if kept.iter().all(|other| apart(other) >= (room.extent_px)(&tick.label) * 1.2) {
            kept.push(tick.clone());
        }
    }
    kept
}
