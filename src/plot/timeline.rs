//! The life of every request of a run: queued, prefill, decode, one above the other in order of arrival.
//!
//! While a request has three pixels or more, it has a bar of its own. Beyond that a row of pixels stands for many, and
//! each of its cells shows the phase that most of the row's requests spent that time in, the fainter the fewer did.

use super::bin::Coverage;
use super::layout::{self, Axis, LabelsAt, Plot};
use super::options::ChartOptions;
use super::pen::Rect;
use super::surface::Surface;
use super::{ChartError, Color, Frame};

/// Columns of equal length in order of arrival; ms, NaN for never.
pub struct Timeline<'a> {
    pub arrival_ms: &'a [f64],
    pub scheduled_ms: &'a [f64],
    pub first_token_ms: &'a [f64],
    pub finish_ms: &'a [f64],
    /// 2 for a rejected request; see `metrics::Status`.
    pub status: &'a [u8],
    /// End of the simulation: what is unfinished is drawn up to it.
    pub end_ms: f64,
}

const REJECTED: u8 = 2;
/// Its phases end where its client gave up, which stands in `finish_ms`.
const CANCELLED: u8 = 3;
/// From this height on a request has a bar of its own, css px.
const OWN_BAR_PX: f64 = 3.0;
/// Height of a row that stands for many, css px.
const ROW_PX: f64 = 2.0;
/// Shades of a cell: the share of a row's requests above which it applies, and its strength.
const SHADES: [(f64, f64); 4] = [(0.6, 1.0), (0.3, 0.7), (0.1, 0.45), (0.01, 0.25)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Prefill,
    Decode,
}

const PHASES: [Phase; 3] = [Phase::Queued, Phase::Prefill, Phase::Decode];

impl Timeline<'_> {
    fn checked(&self) -> Result<(), ChartError> {
        let expected = self.arrival_ms.len();
        let columns = [
            ("scheduledMs", self.scheduled_ms.len()),
            ("firstTokenMs", self.first_token_ms.len()),
            ("finishMs", self.finish_ms.len()),
            ("status", self.status.len()),
        ];
        match columns.into_iter().find(|(_, got)| *got != expected) {
            Some((column, got)) => Err(ChartError::Length { column: column.to_owned(), got, expected }),
            None => Ok(()),
        }
    }

    /// Start and end of a request's phase, s; empty where it never was in it.
    fn phase(&self, request: usize, phase: Phase) -> (f64, f64) {
        if self.status[request] == REJECTED {
            return (0.0, 0.0);
        }
        let given_up = self.status[request] == CANCELLED && !self.finish_ms[request].is_nan();
        let end_ms = if given_up { self.finish_ms[request] } else { self.end_ms };
        let or_end = |ms: f64| if ms.is_nan() { end_ms } else { ms.min(end_ms) };
        let scheduled = or_end(self.scheduled_ms[request]);
        let first_token = or_end(self.first_token_ms[request]);
        let (from, to) = match phase {
            Phase::Queued => (self.arrival_ms[request], scheduled),
            Phase::Prefill => (scheduled, first_token),
            Phase::Decode => (first_token, or_end(self.finish_ms[request])),
        };
        (from / 1e3, to / 1e3)
    }
}

struct Colors {
    queued: Color,
    prefill: Color,
    decode: Color,
    rejected: Color,
}

impl Colors {
    fn of(&self, phase: Phase) -> Color {
        match phase {
            Phase::Queued => self.queued,
            Phase::Prefill => self.prefill,
            Phase::Decode => self.decode,
        }
    }
}

/// Draws the timeline. The x axis is in s, the y axis the request's number from 1, downwards; `y_min` and `y_max` zoom to
/// the requests between them.
pub fn timeline(surface: &mut dyn Surface, data: &Timeline<'_>, options: &ChartOptions) -> Result<Frame, ChartError> {
    options.checked()?;
    data.checked()?;
    let count = data.arrival_ms.len();
    let end_s = data.finish_ms.iter().chain(data.arrival_ms).copied().fold(data.end_ms, f64::max) / 1e3;
    if count == 0 || end_s.is_nan() || end_s <= 0.0 {
        return layout::empty(surface, options);
    }
    let mut x_range = (options.x_min.unwrap_or(0.0), options.x_max.unwrap_or(end_s));
    if x_range.0 >= x_range.1 {
        x_range = (0.0, end_s);
    }
    let first = options.y_min.map_or(0, |min| (min - 1.0).max(0.0) as usize).min(count - 1);
    let last = options.y_max.map_or(count, |max| max.max(0.0) as usize).clamp(first + 1, count);
    let or = |given: &'_ str, default: &'static str| if given.is_empty() { default.to_owned() } else { given.to_owned() };
    let (x_label, y_label) = (or(&options.x_label, "Time"), or(&options.y_label, "Request, in order of arrival"));
    let x = Axis { label: &x_label, unit: "s", log: false, range: x_range, grid: true, whole: false, fixed: None };
    // Request n fills the space from n - 0.5 to n + 0.5.
    let y_range = (last as f64 + 0.5, first as f64 + 0.5);
    let y = Axis { label: &y_label, unit: "", log: false, range: y_range, grid: false, whole: true, fixed: None };
    let mut plot = Plot::new(surface, options, &x, &y)?;

    let (queued, decode) = (options.theme.grid, Color::rgb(0, 114, 178));
    let colors = Colors {
        queued: options.queued_color.unwrap_or(queued),
        prefill: options.prefill_color.unwrap_or(Color::rgb(213, 94, 0)),
        decode: options.decode_color.unwrap_or(decode),
        rejected: options.rejected_color.unwrap_or(options.theme.text),
    };
    let height_px = plot.clip.bottom - plot.clip.top;
    if height_px / (last - first) as f64 >= OWN_BAR_PX {
        bars(&mut plot, data, first..last, &colors)?;
    } else {
        rows(&mut plot, data, first..last, &colors)?;
    }
    plot.marks(options, LabelsAt::Top)?;
    Ok(plot.frame())
}

/// A bar for each request. Phases differ in height too: the queue is a thin line, prefill the full height.
fn bars(plot: &mut Plot<'_>, data: &Timeline<'_>, shown: std::ops::Range<usize>, colors: &Colors) -> Result<(), ChartError> {
    let clip = plot.clip;
    let height = ((clip.bottom - clip.top) / shown.len() as f64).min(22.0);
    let bar = if height >= 5.0 { height - 1.5 } else { height - 0.5 };
    for request in shown {
        let middle = plot.y.px(request as f64 + 1.0);
        for phase in PHASES {
            let (from, to) = data.phase(request, phase);
            let (from, to) = (plot.x.px(from).clamp(clip.left, clip.right), plot.x.px(to).clamp(clip.left, clip.right));
            if to > from {
                let share = if phase == Phase::Queued {
                    0.35
                } else if phase == Phase::Prefill {
                    1.0
                } else {
                    0.8
                };
                let half = (bar * share / 2.0).max(0.5);
                plot.pen
                    .rect(Rect { left: from, right: to.max(from + 0.5), top: middle - half, bottom: middle + half }, colors.of(phase))?;
            }
        }
        if data.status[request] == REJECTED {
            rejected(plot, data.arrival_ms[request], middle, bar, colors)?;
        }
    }
    Ok(())
}

/// A short mark where a request was turned away.
fn rejected(plot: &mut Plot<'_>, arrival_ms: f64, middle: f64, height: f64, colors: &Colors) -> Result<(), ChartError> {
    let at = plot.x.px(arrival_ms / 1e3);
    if at < plot.clip.left || at > plot.clip.right {
        return Ok(());
    }
    let left = at.min(plot.clip.right - 3.0);
    plot.pen.rect(Rect { left, right: left + 3.0, top: middle - height / 2.0, bottom: middle + height / 2.0 }, colors.rejected)
}

/// Rows of pixels that stand for many requests each.
fn rows(plot: &mut Plot<'_>, data: &Timeline<'_>, shown: std::ops::Range<usize>, colors: &Colors) -> Result<(), ChartError> {
    let clip = plot.clip;
    let columns = (clip.right - clip.left) as usize;
    let row_count = (((clip.bottom - clip.top) / ROW_PX) as usize).min(shown.len()).max(1);
    let (x_min, per_s) = (plot.x.min, columns as f64 / (plot.x.max - plot.x.min));
    let column_of = |s: f64| (s - x_min) * per_s;
    let mut coverage = PHASES.map(|_| Coverage::new(columns));
    for row in 0..row_count {
        let bound = |row: usize| shown.start + (row as u64 * shown.len() as u64 / row_count as u64) as usize;
        let (first, last) = (bound(row), bound(row + 1));
        let mut turned_away = None;
        for request in first..last {
            for (phase, coverage) in PHASES.into_iter().zip(&mut coverage) {
                let (from, to) = data.phase(request, phase);
                coverage.add(column_of(from), column_of(to));
            }
            if data.status[request] == REJECTED {
                turned_away = Some(data.arrival_ms[request]);
            }
        }
        let y = |row: usize| clip.top + (clip.bottom - clip.top) * row as f64 / row_count as f64;
        let (top, bottom) = (y(row), y(row + 1));
        let amounts = [coverage[0].take(), coverage[1].take(), coverage[2].take()];
        let cell = |column: usize| shade([amounts[0][column], amounts[1][column], amounts[2][column]], (last - first) as f64);
        let mut start = 0;
        for column in 1..=columns {
            if column == columns || cell(column) != cell(start) {
                if let Some((phase, strength)) = cell(start) {
                    let px = |column: usize| clip.left + (clip.right - clip.left) * column as f64 / columns as f64;
                    let color = colors.of(phase).faded(strength).over(plot.pen.theme.background);
                    plot.pen.rect(Rect { left: px(start), right: px(column), top, bottom }, color)?;
                }
                start = column;
            }
        }
        if let Some(arrival_ms) = turned_away {
            rejected(plot, arrival_ms, (top + bottom) / 2.0, bottom - top, colors)?;
        }
    }
    Ok(())
}

/// Phase and strength of a cell.
fn shade(amounts: [f64; 3], requests: f64) -> Option<(Phase, f64)> {
    let total: f64 = amounts.iter().sum();
    // Prefill is short: in a cell it wins from a third of the requests on, else it would vanish under decode.
    let weights = [amounts[0], amounts[1] * 2.0, amounts[2]];
    let mut most = 0;
    for index in 1..3 {
        if weights[index] > weights[most] {
            most = index;
        }
    }
    let (_, strength) = SHADES.into_iter().find(|(share, _)| total / requests > *share)?;
    Some((PHASES[most], strength))
}
