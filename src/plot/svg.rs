//! Charts as SVG text.

use plotters::prelude::SVGBackend;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontFamily, FontStyle, FontTransform,
    text_anchor,
};

use super::{ChartError, ChartOptions, Frame, OnBackend, Surface, UNITS_PER_PX};

/// Draws a chart into an SVG document of `options.width` by `options.height`.
pub fn svg(
    options: &ChartOptions,
    draw: impl FnOnce(&mut dyn Surface) -> Result<Frame, ChartError>,
) -> Result<(String, Frame), ChartError> {
    options.checked()?;
    let size = |px: f64| (px * UNITS_PER_PX).round() as u32;
    let (width, height) = (size(options.width), size(options.height));
    let mut text = String::new();
    let frame = {
        let mut surface = OnBackend(Svg(SVGBackend::with_string(&mut text, (width, height))));
        let frame = draw(&mut surface)?;
        surface.present()?;
        frame
    };
    // plotters writes the size in units; the picture is that many tenths of a px.
    let body = text.split_once(">\n").map_or("", |(_, body)| body);
    let head = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {width} {height}\" stroke-linejoin=\"round\">\n",
        options.width, options.height
    );
    Ok((head + body, frame))
}

/// plotters' SVG backend with two faults mended: its fonts come out smaller than asked for by a factor of 1.24, and it
/// takes every letter for equally wide.
struct Svg<'a>(SVGBackend<'a>);

const FONT_FACTOR: f64 = 1.24;

/// Widths of letters in thousandths of the font size: Helvetica's (Adobe AFM), the widest of the usual sans-serif fonts
/// for digits, so labels are never thought too narrow.
fn letter_width(letter: char) -> f64 {
    let thousandths = match letter {
        'i' | 'j' | 'l' | '\'' => 222.0,
        ' ' | '.' | ',' | ':' | ';' | '!' | '/' | 'I' | 'f' | 't' | '|' => 278.0,
        '(' | ')' | 'r' | '-' => 333.0,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'J' => 500.0,
        'a'..='z' if letter != 'm' && letter != 'w' => 556.0,
        '0'..='9' => 556.0,
        'A' | 'B' | 'E' | 'K' | 'P' | 'S' | 'V' | 'X' | 'Y' => 667.0,
        'F' | 'L' | 'T' | 'Z' => 611.0,
        'C' | 'D' | 'H' | 'N' | 'R' | 'U' | 'w' => 722.0,
        'G' | 'O' | 'Q' => 778.0,
        'm' | 'M' => 833.0,
        '%' => 889.0,
        'W' => 944.0,
        '…' => 1000.0,
        _ if letter.is_ascii() => 584.0,
        _ => 1000.0,
    };
    thousandths / 1000.0
}

/// A text style with its size multiplied.
struct Scaled<'a, S>(&'a S);

impl<S: BackendTextStyle> BackendTextStyle for Scaled<'_, S> {
    type FontError = S::FontError;
    fn color(&self) -> BackendColor {
        self.0.color()
    }
    fn size(&self) -> f64 {
        self.0.size() * FONT_FACTOR
    }
    fn transform(&self) -> FontTransform {
        self.0.transform()
    }
    fn style(&self) -> FontStyle {
        self.0.style()
    }
    fn anchor(&self) -> text_anchor::Pos {
        self.0.anchor()
    }
    fn family(&self) -> FontFamily<'_> {
        self.0.family()
    }
    fn layout_box(&self, text: &str) -> Result<((i32, i32), (i32, i32)), Self::FontError> {
        self.0.layout_box(text)
    }
    fn draw<E, DrawFunc: FnMut(i32, i32, BackendColor) -> Result<(), E>>(
        &self,
        text: &str,
        pos: BackendCoord,
        draw: DrawFunc,
    ) -> Result<Result<(), E>, Self::FontError> {
        self.0.draw(text, pos, draw)
    }
}

type Drawn<'a> = Result<(), DrawingErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl<'a> DrawingBackend for Svg<'a> {
    type ErrorType = <SVGBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }
    fn ensure_prepared(&mut self) -> Drawn<'a> {
        self.0.ensure_prepared()
    }
    fn present(&mut self) -> Drawn<'a> {
        self.0.present()
    }
    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn<'a> {
        self.0.draw_pixel(point, color)
    }
    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn<'a> {
        self.0.draw_line(from, to, style)
    }
    fn draw_rect<S: BackendStyle>(&mut self, upper_left: BackendCoord, lower_right: BackendCoord, style: &S, fill: bool) -> Drawn<'a> {
        self.0.draw_rect(upper_left, lower_right, style, fill)
    }
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn<'a> {
        self.0.draw_path(path, style)
    }
    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn<'a> {
        self.0.draw_circle(center, radius, style, fill)
    }
    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn<'a> {
        self.0.fill_polygon(path, style)
    }
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, pos: BackendCoord) -> Drawn<'a> {
        self.0.draw_text(text, &Scaled(style), pos)
    }
    fn estimate_text_size<S: BackendTextStyle>(&self, text: &str, style: &S) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        let bold = if matches!(style.style(), FontStyle::Bold) { 1.07 } else { 1.0 };
        let width = text.chars().map(letter_width).sum::<f64>() * style.size() * bold;
        Ok((width.ceil() as u32, style.size().ceil() as u32))
    }
}
