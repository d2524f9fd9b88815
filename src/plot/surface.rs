//! What charts draw on: any plotters backend, behind one object-safe trait, so that the charts are compiled once.

use plotters::style::text_anchor::Pos;
use plotters::style::{Color as _, FontDesc, FontFamily, FontStyle, ShapeStyle, TextStyle};
use plotters_backend::{BackendCoord, DrawingBackend, DrawingErrorKind};

use super::{ChartError, Color};

/// plotters' coordinates are integers. A backend under a chart counts in tenths of a css px, so that slopes are smooth and
/// hairlines can be set on pixel centres: its `get_size` is ten times the picture's size in css px, and font sizes are in
/// the same unit.
pub const UNITS_PER_PX: f64 = 10.0;

/// A text's looks.
pub struct TextLook<'a> {
    pub color: Color,
    pub family: &'a str,
    /// In units of the surface.
    pub size: f64,
    pub bold: bool,
    pub anchor: Pos,
}

/// The five things a chart draws. All lengths in units of the surface ([`UNITS_PER_PX`]).
pub trait Surface {
    fn path(&mut self, points: &[BackendCoord], color: Color, width: u32) -> Result<(), ChartError>;
    fn polygon(&mut self, points: &[BackendCoord], color: Color) -> Result<(), ChartError>;
    fn rect(&mut self, upper_left: BackendCoord, lower_right: BackendCoord, color: Color) -> Result<(), ChartError>;
    fn dot(&mut self, center: BackendCoord, radius: u32, color: Color) -> Result<(), ChartError>;
    fn text(&mut self, text: &str, at: BackendCoord, look: &TextLook<'_>) -> Result<(), ChartError>;
    fn text_width(&self, text: &str, look: &TextLook<'_>) -> Result<f64, ChartError>;
    fn present(&mut self) -> Result<(), ChartError>;
}

/// A plotters backend as a surface.
pub struct OnBackend<DB>(pub DB);

fn failed<E: std::error::Error + Send + Sync>(error: DrawingErrorKind<E>) -> ChartError {
    ChartError::Backend(error.to_string())
}

fn shape(color: Color, width: u32) -> ShapeStyle {
    ShapeStyle { color: color.backend(), filled: true, stroke_width: width }
}

fn style<'a>(look: &TextLook<'a>) -> TextStyle<'a> {
    let weight = if look.bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::Name(look.family), look.size, weight);
    TextStyle { font, color: look.color.backend().to_backend_color(), pos: look.anchor }
}

impl<DB: DrawingBackend> Surface for OnBackend<DB> {
    fn path(&mut self, points: &[BackendCoord], color: Color, width: u32) -> Result<(), ChartError> {
        self.0.draw_path(points.iter().copied(), &shape(color, width)).map_err(failed)
    }

    fn polygon(&mut self, points: &[BackendCoord], color: Color) -> Result<(), ChartError> {
        self.0.fill_polygon(points.iter().copied(), &shape(color, 0)).map_err(failed)
    }

    fn rect(&mut self, upper_left: BackendCoord, lower_right: BackendCoord, color: Color) -> Result<(), ChartError> {
        self.0.draw_rect(upper_left, lower_right, &shape(color, 0), true).map_err(failed)
    }

    fn dot(&mut self, center: BackendCoord, radius: u32, color: Color) -> Result<(), ChartError> {
        self.0.draw_circle(center, radius, &shape(color, 0), true).map_err(failed)
    }

    fn text(&mut self, text: &str, at: BackendCoord, look: &TextLook<'_>) -> Result<(), ChartError> {
        self.0.draw_text(text, &style(look), at).map_err(failed)
    }

    fn text_width(&self, text: &str, look: &TextLook<'_>) -> Result<f64, ChartError> {
        self.0.estimate_text_size(text, &style(look)).map(|(width, _)| f64::from(width)).map_err(failed)
    }

    fn present(&mut self) -> Result<(), ChartError> {
        self.0.present().map_err(failed)
    }
}
