//! One number for each of a few runs, as bars from zero with the number written beside.

use super::axis::quantity;
use super::layout;
use super::options::ChartOptions;
use super::pen::{Anchor, Pen, Rect, crisp};
use super::surface::Surface;
use super::{ChartError, Color, Frame};

/// A run's number. NaN: there is none.
pub struct Bar<'a> {
    pub name: &'a str,
    pub color: Color,
    pub value: f64,
    /// Ends of a confidence interval.
    pub interval: Option<(f64, f64)>,
}

const PAD_PX: f64 = 8.0;

/// Draws horizontal bars, the first at the top; `options.x_label` is the title. The frame's y axis counts bars from 0 at
/// the top edge downwards.
pub fn bars(surface: &mut dyn Surface, bars: &[Bar<'_>], options: &ChartOptions) -> Result<Frame, ChartError> {
    options.checked()?;
    let reach = |bar: &Bar<'_>| bar.interval.map_or(bar.value, |(_, high)| high.max(bar.value));
    if !bars.iter().any(|bar| bar.value >= 0.0) {
        return layout::empty(surface, options);
    }
    if let Some(bar) = bars.iter().find(|bar| bar.value < 0.0) {
        return Err(ChartError::Range { axis: "x", min: bar.value, max: 0.0 });
    }
    let longest = bars.iter().map(reach).fold(0.0, f64::max);
    let mut pen = Pen::new(surface, &options.theme);
    layout::background(&mut pen, options)?;
    let theme = &options.theme;
    let line_px = theme.font_size_px * 1.4;

    let mut names_px: f64 = 0.0;
    let mut values_px: f64 = 0.0;
    let text_of = |bar: &Bar<'_>| if bar.value.is_nan() { "no data".to_owned() } else { quantity(bar.value, &options.x_unit) };
    for bar in bars {
        names_px = names_px.max(pen.text_width(bar.name, false)?);
        values_px = values_px.max(pen.text_width(&text_of(bar), true)?);
    }
    let names_px = names_px.min(options.width * 0.35);
    let left = crisp(PAD_PX + names_px + 8.0);
    let right = (options.width - PAD_PX - values_px - 6.0).max(left + 10.0);
    let top = if options.x_label.is_empty() { PAD_PX } else { PAD_PX + line_px * 1.25 };
    let bottom = options.height - PAD_PX;
    let row = (bottom - top) / bars.len() as f64;
    let thickness = (row * 0.7).min(28.0);
    let length = |value: f64| if longest > 0.0 { value / longest * (right - left) } else { 0.0 };

    let title = pen.fitted(&options.x_label, options.width - 2.0 * PAD_PX, false)?;
    pen.text(&title, (PAD_PX, PAD_PX / 2.0 + 1.0), Anchor::LeftTop, theme.text, false)?;
    for (index, bar) in bars.iter().enumerate() {
        let middle = top + row * (index as f64 + 0.5);
        let name = pen.fitted(bar.name, names_px + 0.5, false)?;
        pen.text(&name, (left - 8.0, middle), Anchor::RightMiddle, theme.text, false)?;
        let mut end = left;
        if bar.value > 0.0 {
            end = left + length(bar.value).max(1.0);
            pen.rect(Rect { left, right: end, top: middle - thickness / 2.0, bottom: middle + thickness / 2.0 }, bar.color)?;
        }
        if let Some((low, high)) = bar.interval.filter(|(low, high)| low <= high) {
            let (from, to) = (left + length(low.max(0.0)), left + length(high));
            pen.line((from, middle), (to, middle), theme.text, 1.0)?;
            for at in [from, to] {
                pen.line((at, middle - 4.0), (at, middle + 4.0), theme.text, 1.0)?;
            }
            end = end.max(to);
        }
        let (color, bold) = if bar.value.is_nan() { (theme.muted, false) } else { (theme.text, true) };
        pen.text(&text_of(bar), (end + 6.0, middle), Anchor::LeftMiddle, color, bold)?;
    }
    pen.line((left, top), (left, bottom), theme.axis, 1.0)?;
    Ok(Frame {
        x: left,
        y: top,
        width: right - left,
        height: bottom - top,
        x_min: 0.0,
        x_max: if longest > 0.0 { longest } else { 1.0 },
        y_min: bars.len() as f64,
        y_max: 0.0,
        x_log: false,
        y_log: false,
        empty: false,
    })
}
