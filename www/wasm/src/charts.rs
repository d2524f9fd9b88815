//! The charts of `llmperforacle::plot`, on a canvas or as SVG text.

use js_sys::Array;
use llmperforacle::plot::{
    self, Abscissa, Bar, CdfSeries, ChartError, ChartOptions, Color, Dash, Frame, LineSeries, OnBackend, Surface, Timeline,
};
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use crate::canvas::HiDpiCanvas;
use crate::js::{self, Thrown, thrown};

/// Latency distributions of several runs.
#[wasm_bindgen(js_name = drawCdf, unchecked_return_type = "Frame")]
pub fn draw_cdf(
    canvas: HtmlCanvasElement,
    #[wasm_bindgen(unchecked_param_type = "CdfSeries[]")] series: Array,
    #[wasm_bindgen(unchecked_param_type = "ChartOptions")] options: JsValue,
) -> Thrown<JsValue> {
    let (options, series) = (chart_options(&options)?, all_series(&series)?);
    on_canvas(canvas, &options, |surface| plot::cdf(surface, &cdf_series(&series), &options))
}

/// See `drawCdf`.
#[wasm_bindgen(js_name = svgCdf)]
pub fn svg_cdf(
    #[wasm_bindgen(unchecked_param_type = "CdfSeries[]")] series: Array,
    #[wasm_bindgen(unchecked_param_type = "ChartOptions")] options: JsValue,
) -> Thrown<String> {
    let (options, series) = (chart_options(&options)?, all_series(&series)?);
    as_svg(&options, |surface| plot::cdf(surface, &cdf_series(&series), &options))
}

/// Time series or sweeps of several runs.
#[wasm_bindgen(js_name = drawLines, unchecked_return_type = "Frame")]
pub fn draw_lines(
    canvas: HtmlCanvasElement,
    #[wasm_bindgen(unchecked_param_type = "LineSeries[]")] series: Array,
    #[wasm_bindgen(unchecked_param_type = "LineOptions")] options: JsValue,
) -> Thrown<JsValue> {
    let (options, series) = (chart_options(&options)?, all_series(&series)?);
    on_canvas(canvas, &options, |surface| plot::lines(surface, &line_series(&series), &options))
}

/// See `drawLines`.
#[wasm_bindgen(js_name = svgLines)]
pub fn svg_lines(
    #[wasm_bindgen(unchecked_param_type = "LineSeries[]")] series: Array,
    #[wasm_bindgen(unchecked_param_type = "LineOptions")] options: JsValue,
) -> Thrown<String> {
    let (options, series) = (chart_options(&options)?, all_series(&series)?);
    as_svg(&options, |surface| plot::lines(surface, &line_series(&series), &options))
}

/// Queue, prefill and decode of every request of one run.
#[wasm_bindgen(js_name = drawTimeline, unchecked_return_type = "Frame")]
pub fn draw_timeline(
    canvas: HtmlCanvasElement,
    #[wasm_bindgen(unchecked_param_type = "TimelineData")] data: JsValue,
    #[wasm_bindgen(unchecked_param_type = "TimelineOptions")] options: JsValue,
) -> Thrown<JsValue> {
    let (options, lives) = (chart_options(&options)?, Lives::read(&data)?);
    on_canvas(canvas, &options, |surface| plot::timeline(surface, &lives.timeline(), &options))
}

/// See `drawTimeline`.
#[wasm_bindgen(js_name = svgTimeline)]
pub fn svg_timeline(
    #[wasm_bindgen(unchecked_param_type = "TimelineData")] data: JsValue,
    #[wasm_bindgen(unchecked_param_type = "TimelineOptions")] options: JsValue,
) -> Thrown<String> {
    let (options, lives) = (chart_options(&options)?, Lives::read(&data)?);
    as_svg(&options, |surface| plot::timeline(surface, &lives.timeline(), &options))
}

/// One number of each run.
#[wasm_bindgen(js_name = drawBars, unchecked_return_type = "Frame")]
pub fn draw_bars(
    canvas: HtmlCanvasElement,
    #[wasm_bindgen(unchecked_param_type = "BarData[]")] bars: Array,
    #[wasm_bindgen(unchecked_param_type = "ChartOptions")] options: JsValue,
) -> Thrown<JsValue> {
    let (options, numbers) = (chart_options(&options)?, Number::read_all(&bars)?);
    on_canvas(canvas, &options, |surface| plot::bars(surface, &as_bars(&numbers), &options))
}

/// See `drawBars`.
#[wasm_bindgen(js_name = svgBars)]
pub fn svg_bars(
    #[wasm_bindgen(unchecked_param_type = "BarData[]")] bars: Array,
    #[wasm_bindgen(unchecked_param_type = "ChartOptions")] options: JsValue,
) -> Thrown<String> {
    let (options, numbers) = (chart_options(&options)?, Number::read_all(&bars)?);
    as_svg(&options, |surface| plot::bars(surface, &as_bars(&numbers), &options))
}

fn chart_options(options: &JsValue) -> Thrown<ChartOptions> {
    js::from_object(options, "options")
}

type Draw<'a> = &'a mut dyn Surface;

fn on_canvas(
    canvas: HtmlCanvasElement,
    options: &ChartOptions,
    draw: impl FnOnce(Draw<'_>) -> Result<Frame, ChartError>,
) -> Thrown<JsValue> {
    let canvas = HiDpiCanvas::new(canvas, options.width, options.height, options.device_pixel_ratio.unwrap_or(1.0)).map_err(thrown)?;
    let mut surface = OnBackend(canvas);
    let frame = draw(&mut surface).map_err(thrown)?;
    surface.present().map_err(thrown)?;
    js::to_object(&frame)
}

fn as_svg(options: &ChartOptions, draw: impl FnOnce(Draw<'_>) -> Result<Frame, ChartError>) -> Thrown<String> {
    plot::svg(options, draw).map(|(text, _)| text).map_err(thrown)
}

/// A series of either kind, copied in.
struct Series {
    name: String,
    color: Color,
    dash: Dash,
    values: Vec<f64>,
    x: Option<Vec<f64>>,
    x_start: f64,
    x_step: f64,
}

fn all_series(list: &Array) -> Thrown<Vec<Series>> {
    list.iter()
        .enumerate()
        .map(|(index, one)| {
            let what = format!("series[{index}]");
            let dash = js::string(&one, "dash", &what)?;
            Ok(Series {
                name: js::string(&one, "name", &what)?,
                color: js::string(&one, "color", &what)?.parse().map_err(thrown)?,
                dash: dash_named(&dash).ok_or_else(|| thrown(format!("{what}.dash: `{dash}` is not solid, dashed, dotted or dashdot")))?,
                values: js::column(&one, "values", &what)?,
                x: js::optional_column(&one, "x", &what)?,
                x_start: js::optional_number(&one, "xStart", &what)?.unwrap_or(0.0),
                x_step: js::optional_number(&one, "xStep", &what)?.unwrap_or(1.0),
            })
        })
        .collect()
}

fn dash_named(name: &str) -> Option<Dash> {
    match name {
        "solid" => Some(Dash::Solid),
        "dashed" => Some(Dash::Dashed),
        "dotted" => Some(Dash::Dotted),
        "dashdot" => Some(Dash::DashDot),
        _ => None,
    }
}

fn cdf_series(all: &[Series]) -> Vec<CdfSeries<'_>> {
    all.iter().map(|one| CdfSeries { name: &one.name, color: one.color, dash: one.dash, values: &one.values }).collect()
}

fn line_series(all: &[Series]) -> Vec<LineSeries<'_>> {
    all.iter()
        .map(|one| {
            let x = match &one.x {
                Some(x) => Abscissa::Values(x),
                None => Abscissa::Even { start: one.x_start, step: one.x_step },
            };
            LineSeries { name: &one.name, color: one.color, dash: one.dash, x, values: &one.values }
        })
        .collect()
}

/// A timeline's columns, copied in.
struct Lives {
    arrival_ms: Vec<f64>,
    scheduled_ms: Vec<f64>,
    first_token_ms: Vec<f64>,
    finish_ms: Vec<f64>,
    status: Vec<u8>,
    end_ms: f64,
}

impl Lives {
    fn read(data: &JsValue) -> Thrown<Lives> {
        let column = |key| js::column(data, key, "data");
        Ok(Lives {
            arrival_ms: column("arrivalMs")?,
            scheduled_ms: column("scheduledMs")?,
            first_token_ms: column("firstTokenMs")?,
            finish_ms: column("finishMs")?,
            status: js::bytes(data, "status", "data")?,
            end_ms: js::number(data, "endMs", "data")?,
        })
    }

    fn timeline(&self) -> Timeline<'_> {
        Timeline {
            arrival_ms: &self.arrival_ms,
            scheduled_ms: &self.scheduled_ms,
            first_token_ms: &self.first_token_ms,
            finish_ms: &self.finish_ms,
            status: &self.status,
            end_ms: self.end_ms,
        }
    }
}

/// A bar's data, copied in.
struct Number {
    name: String,
    color: Color,
    value: f64,
    interval: Option<(f64, f64)>,
}

impl Number {
    fn read_all(list: &Array) -> Thrown<Vec<Number>> {
        list.iter()
            .enumerate()
            .map(|(index, one)| {
                let what = format!("bars[{index}]");
                let (low, high) = (js::optional_number(&one, "low", &what)?, js::optional_number(&one, "high", &what)?);
                Ok(Number {
                    name: js::string(&one, "name", &what)?,
                    color: js::string(&one, "color", &what)?.parse().map_err(thrown)?,
                    value: js::number(&one, "value", &what)?,
                    interval: low.zip(high),
                })
            })
            .collect()
    }
}

fn as_bars(numbers: &[Number]) -> Vec<Bar<'_>> {
    numbers.iter().map(|one| Bar { name: &one.name, color: one.color, value: one.value, interval: one.interval }).collect()
}
