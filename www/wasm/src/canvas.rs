//! A canvas as a surface for charts: plotters' canvas backend with three faults mended.
//!
//! It knows nothing of device pixels, so lines are blurred on a dense screen; here the canvas has as many pixels as the
//! screen and the context is scaled. It measures text with an element in the page's body, which a content security policy
//! without inline styles makes wrong and which a worker does not have; here the context measures. Its mitred line joins
//! grow spikes on steep data; here joins are round.

use llmperforacle::plot::{ChartError, UNITS_PER_PX};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use plotters_canvas::CanvasBackend;
use wasm_bindgen::JsCast;
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement};

pub struct HiDpiCanvas {
    inner: CanvasBackend,
    context: CanvasRenderingContext2d,
    /// In units of the surface.
    size: (u32, u32),
}

type Failure = <CanvasBackend as DrawingBackend>::ErrorType;
type Drawn = Result<(), DrawingErrorKind<Failure>>;

impl HiDpiCanvas {
    /// Clears the canvas and gives it `width` by `height` css px of `device_pixel_ratio` device pixels each. Its size on the
    /// page is left to the style sheet.
    pub fn new(canvas: HtmlCanvasElement, width: f64, height: f64, device_pixel_ratio: f64) -> Result<HiDpiCanvas, ChartError> {
        let failed = |what: &str| ChartError::Backend(what.to_owned());
        // Beyond this no eye sees a difference, and browsers refuse large canvases.
        let ratio = device_pixel_ratio.clamp(1.0, 4.0);
        let pixels = |px: f64| (px * ratio).round().max(1.0) as u32;
        canvas.set_width(pixels(width));
        canvas.set_height(pixels(height));
        let context: CanvasRenderingContext2d = canvas
            .get_context("2d")
            .ok()
            .flatten()
            .and_then(|context| context.dyn_into().ok())
            .ok_or_else(|| failed("the canvas has no 2d context"))?;
        let units = |px: f64| (px * UNITS_PER_PX).round();
        let (scale_x, scale_y) = (f64::from(canvas.width()) / units(width), f64::from(canvas.height()) / units(height));
        context.set_transform(scale_x, 0.0, 0.0, scale_y, 0.0, 0.0).map_err(|_| failed("the canvas cannot be scaled"))?;
        context.set_line_join("round");
        let size = (units(width) as u32, units(height) as u32);
        let inner = CanvasBackend::with_canvas_object(canvas).ok_or_else(|| failed("the canvas has no 2d context"))?;
        Ok(HiDpiCanvas { inner, context, size })
    }
}

impl DrawingBackend for HiDpiCanvas {
    type ErrorType = Failure;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }
    fn ensure_prepared(&mut self) -> Drawn {
        self.inner.ensure_prepared()
    }
    fn present(&mut self) -> Drawn {
        self.inner.present()
    }
    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        self.inner.draw_pixel(point, color)
    }
    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.inner.draw_line(from, to, style)
    }
    fn draw_rect<S: BackendStyle>(&mut self, upper_left: BackendCoord, lower_right: BackendCoord, style: &S, fill: bool) -> Drawn {
        self.inner.draw_rect(upper_left, lower_right, style, fill)
    }
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        self.inner.draw_path(path, style)
    }
    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        self.inner.draw_circle(center, radius, style, fill)
    }
    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        self.inner.fill_polygon(path, style)
    }
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, pos: BackendCoord) -> Drawn {
        self.inner.draw_text(text, style, pos)
    }
    fn estimate_text_size<S: BackendTextStyle>(&self, text: &str, style: &S) -> Result<(u32, u32), DrawingErrorKind<Failure>> {
        // The font as the inner backend sets it to draw.
        self.context.set_font(&format!("{} {}px {}", style.style().as_str(), style.size(), style.family().as_str()));
        // A context that cannot measure (none is known) gets half the font's size for each letter.
        let width = self.context.measure_text(text).map_or(style.size() * 0.5 * text.len() as f64, |metrics| metrics.width());
        Ok((width.ceil() as u32, style.size().ceil() as u32))
    }
}
