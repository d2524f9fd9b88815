//! Drawing in css px: rounds to the surface's units, cuts lines at the plot's edges, breaks them into dashes.

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters_backend::BackendCoord;

use super::surface::{Surface, TextLook, UNITS_PER_PX};
use super::{ChartError, Color, Dash, Theme};

/// A point, css px.
pub type Point = (f64, f64);

/// A rectangle, css px.
#[derive(Clone, Copy, Debug)]
pub struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// Where a text sits relative to its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    LeftTop,
    LeftMiddle,
    RightMiddle,
    CenterTop,
    CenterMiddle,
}

impl Anchor {
    fn pos(self) -> Pos {
        let (h, v) = match self {
            Anchor::LeftTop => (HPos::Left, VPos::Top),
            Anchor::LeftMiddle => (HPos::Left, VPos::Center),
            Anchor::RightMiddle => (HPos::Right, VPos::Center),
            Anchor::CenterTop => (HPos::Center, VPos::Top),
            Anchor::CenterMiddle => (HPos::Center, VPos::Center),
        };
        Pos::new(h, v)
    }
}

pub struct Pen<'a> {
    surface: &'a mut dyn Surface,
    pub theme: &'a Theme,
}

fn units((x, y): Point) -> BackendCoord {
    // `as` saturates, so a point far outside stays outside.
    ((x * UNITS_PER_PX).round() as i32, (y * UNITS_PER_PX).round() as i32)
}

fn width_units(px: f64) -> u32 {
    (px * UNITS_PER_PX).round() as u32
}

/// The middle of the pixel that holds `v`: a hairline there is one sharp pixel.
pub fn crisp(v: f64) -> f64 {
    v.floor() + 0.5
}

impl<'a> Pen<'a> {
    pub fn new(surface: &'a mut dyn Surface, theme: &'a Theme) -> Pen<'a> {
        Pen { surface, theme }
    }

    pub fn line(&mut self, from: Point, to: Point, color: Color, width_px: f64) -> Result<(), ChartError> {
        self.surface.path(&[units(from), units(to)], color, width_units(width_px))
    }

    /// A line through `points`, cut at `clip`.
    pub fn polyline(&mut self, points: &[Point], clip: Rect, color: Color, width_px: f64, dash: Dash) -> Result<(), ChartError> {
        for piece in clipped(points, clip) {
            if dash == Dash::Solid {
                self.stroke(&piece, color, width_px)?;
            } else {
                for stroke in dashed(&piece, dash.pattern(), clip) {
                    self.stroke(&stroke, color, width_px)?;
                }
            }
        }
        Ok(())
    }

    fn stroke(&mut self, points: &[Point], color: Color, width_px: f64) -> Result<(), ChartError> {
        let mut coordinates: Vec<BackendCoord> = points.iter().map(|p| units(*p)).collect();
        coordinates.dedup();
        if coordinates.len() < 2 {
            return Ok(());
        }
        self.surface.path(&coordinates, color, width_units(width_px))
    }

    pub fn polygon(&mut self, points: &[Point], color: Color) -> Result<(), ChartError> {
        let coordinates: Vec<BackendCoord> = points.iter().map(|p| units(*p)).collect();
        self.surface.polygon(&coordinates, color)
    }

    pub fn rect(&mut self, rect: Rect, color: Color) -> Result<(), ChartError> {
        self.surface.rect(units((rect.left, rect.top)), units((rect.right, rect.bottom)), color)
    }

    pub fn dot(&mut self, center: Point, radius_px: f64, color: Color) -> Result<(), ChartError> {
        self.surface.dot(units(center), width_units(radius_px), color)
    }

    pub fn text(&mut self, text: &str, at: Point, anchor: Anchor, color: Color, bold: bool) -> Result<(), ChartError> {
        if text.is_empty() {
            return Ok(());
        }
        let look = TextLook { anchor: anchor.pos(), ..look(self.theme, color, bold) };
        self.surface.text(text, units(at), &look)
    }

    /// css px.
    pub fn text_width(&self, text: &str, bold: bool) -> Result<f64, ChartError> {
        Ok(self.surface.text_width(text, &look(self.theme, self.theme.text, bold))? / UNITS_PER_PX)
    }

    /// The text, or as much of its beginning as fits in `width_px`, with an ellipsis.
    pub fn fitted(&self, text: &str, width_px: f64, bold: bool) -> Result<String, ChartError> {
        if self.text_width(text, bold)? <= width_px {
            return Ok(text.to_owned());
        }
        let mut letters: Vec<char> = text.chars().collect();
        while letters.pop().is_some() {
            let shorter = letters.iter().collect::<String>().trim_end().to_owned() + "…";
            if self.text_width(&shorter, bold)? <= width_px {
                return Ok(shorter);
            }
        }
        Ok(String::new())
    }
}

fn look(theme: &Theme, color: Color, bold: bool) -> TextLook<'_> {
    TextLook { color, family: &theme.font_family, size: theme.font_size_px * UNITS_PER_PX, bold, anchor: Pos::default() }
}

/// The parts of a polyline inside a rectangle (Liang and Barsky 1984, segment by segment).
fn clipped(points: &[Point], clip: Rect) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    let mut open = false;
    for pair in points.windows(2) {
        match clipped_segment(pair[0], pair[1], clip) {
            None => open = false,
            Some((from, to, cut_at_end)) => {
                match pieces.last_mut() {
                    Some(piece) if open => piece.push(to),
                    _ => pieces.push(vec![from, to]),
                }
                open = !cut_at_end;
            }
        }
    }
    pieces
}

fn clipped_segment(from: Point, to: Point, clip: Rect) -> Option<(Point, Point, bool)> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    if dx.is_nan() || dy.is_nan() {
        return None;
    }
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for (slope, room) in [(-dx, from.0 - clip.left), (dx, clip.right - from.0), (-dy, from.1 - clip.top), (dy, clip.bottom - from.1)] {
        if slope == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if slope < 0.0 {
            enter = enter.max(room / slope);
        } else {
            leave = leave.min(room / slope);
        }
    }
    if enter > leave {
        return None;
    }
    let at = |t: f64| (from.0 + t * dx, from.1 + t * dy);
    let start = if enter > 0.0 { at(enter) } else { from };
    let end = if leave < 1.0 { at(leave) } else { to };
    Some((start, end, leave < 1.0))
}

/// Cuts a polyline into dashes. Of a line that fills the plot with its ups and downs the dashes are measured along x alone:
/// along its length they would be as many as the pixels, and unreadable. The gaps never are: one of some pixels of x would
/// swallow whole peaks.
fn dashed(points: &[Point], pattern: &[f64], clip: Rect) -> Vec<Vec<Point>> {
    let length = |a: Point, b: Point| crate::math::sqrt((b.0 - a.0) * (b.0 - a.0) + (b.1 - a.1) * (b.1 - a.1));
    let total: f64 = points.windows(2).map(|p| length(p[0], p[1])).sum();
    let jagged = total > 4.0 * (clip.right - clip.left + clip.bottom - clip.top);
    let measure = |phase: usize, a: Point, b: Point| if jagged && phase.is_multiple_of(2) { (b.0 - a.0).abs() } else { length(a, b) };

    let mut strokes = Vec::new();
    let mut phase = 0;
    let mut left = pattern[0];
    let mut stroke: Vec<Point> = points.first().copied().into_iter().collect();
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        let mut rest = measure(phase, from, to);
        while rest > left {
            let t = left / rest;
            from = (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1));
            if phase % 2 == 0 {
                stroke.push(from);
                strokes.push(std::mem::take(&mut stroke));
            } else {
                stroke = vec![from];
            }
            phase = (phase + 1) % pattern.len();
            left = pattern[phase];
            rest = measure(phase, from, to);
        }
        left -= rest;
        if phase % 2 == 0 {
            stroke.push(to);
        }
    }
    if stroke.len() > 1 {
        strokes.push(stroke);
    }
    strokes
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Rect = Rect { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };

    #[test]
    fn a_line_through_the_plot_is_cut_at_both_edges() {
        assert_eq!(clipped(&[(-10.0, 5.0), (20.0, 5.0)], CLIP), [[(0.0, 5.0), (10.0, 5.0)]]);
        assert_eq!(clipped(&[(-5.0, 0.0), (5.0, 10.0)], CLIP), [[(0.0, 5.0), (5.0, 10.0)]]);
        assert!(clipped(&[(-5.0, 0.0), (-1.0, 10.0)], CLIP).is_empty());
        assert!(clipped(&[(1.0, f64::NAN), (2.0, 1.0)], CLIP).is_empty());
    }

    #[test]
    fn a_line_that_leaves_and_returns_makes_two_pieces() {
        let pieces = clipped(&[(1.0, 5.0), (3.0, 15.0), (5.0, 15.0), (7.0, 5.0)], CLIP);
        assert_eq!(pieces, [vec![(1.0, 5.0), (2.0, 10.0)], vec![(6.0, 10.0), (7.0, 5.0)]]);
    }

    #[test]
    fn dashes_follow_the_pattern_round_corners() {
        let strokes = dashed(&[(0.0, 0.0), (5.0, 0.0), (5.0, 9.0)], &[4.0, 3.0], CLIP);
        assert_eq!(strokes, [vec![(0.0, 0.0), (4.0, 0.0)], vec![(5.0, 2.0), (5.0, 6.0)], vec![(5.0, 9.0), (5.0, 9.0)]][..2]);
    }

    #[test]
    fn a_line_that_fills_the_plot_keeps_few_dashes() {
        let zigzag: Vec<Point> = (0..100).map(|i| (f64::from(i) * 0.1, if i % 2 == 0 { 0.0 } else { 10.0 })).collect();
        let strokes = dashed(&zigzag, &[2.0, 1.0], CLIP);
        assert!(strokes.len() <= 6, "{}", strokes.len());
        // And its peaks: what the gaps leave out is no more than one of them each.
        let drawn: usize = strokes.iter().map(|stroke| stroke.iter().filter(|point| point.1 == 10.0).count()).sum();
        assert!(drawn >= 50 - strokes.len(), "{drawn} of 50 peaks");
    }
}
