//! Charts as text, and drawn on a real canvas where there is one.

use js_sys::{Array, Float64Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement};

use super::{get, js, message, number};
use crate::charts;

const OPTIONS: &str = "{ width: 600, height: 300, devicePixelRatio: 2, xLabel: 'Time to first token', xUnit: 'ms', xLog: true, yMin: undefined,
    theme: { background: '#ffffff', text: '#111', muted: 'rgb(80, 80, 80)', grid: '#eee', axis: '#888', fontFamily: 'sans-serif', fontSizePx: 12 } }";

fn series(values: &[f64]) -> Array {
    let one = js("{ name: 'vLLM', color: '#ff0000', dash: 'solid' }");
    Reflect::set(&one, &"values".into(), &Float64Array::from(values)).unwrap();
    Array::of1(&one)
}

#[wasm_bindgen_test]
fn a_refusal_is_a_plain_object_that_says_why() {
    let refused = |options: &str, series: Array| message(&charts::svg_cdf(series, js(options)).unwrap_err());
    assert!(refused("{ width: 10, height: 10 }", series(&[1.0])).contains("at least 80 by 60"));
    assert!(refused("{ wdith: 10 }", series(&[1.0])).contains("wdith"));
    assert!(refused("undefined", series(&[1.0])).contains("options: an object is needed"));
    let plain_array = Array::of1(&js("{ name: 'a', color: '#000', dash: 'solid', values: [1, 2] }"));
    assert!(refused(OPTIONS, plain_array).contains("series[0].values: a Float64Array is needed"));
    let colorless = Array::of1(&js("{ name: 'a', color: 'reddish', dash: 'solid', values: new Float64Array(2) }"));
    assert!(refused(OPTIONS, colorless).contains("`reddish` is not a colour"));
}

#[wasm_bindgen_test]
fn charts_are_svg_text_with_their_labels() {
    let picture = charts::svg_cdf(series(&[10.0, 20.0, 40.0, 80.0]), js(OPTIONS)).unwrap();
    for part in ["<svg xmlns=", "width=\"600\"", "Time to first token", "p90", "20 ms", "#FF0000"] {
        assert!(picture.contains(part), "{part} in {picture}");
    }
    let lines =
        charts::svg_lines(series(&[1.0, f64::NAN, 3.0]), js("{ width: 300, height: 200, mode: 'step', xLabel: 'Time', xUnit: 's' }"))
            .unwrap();
    assert!(lines.contains("Time (s)"));
    let bars = Array::of1(&js("{ name: 'vLLM', color: '#123456', value: 1500, low: 1400, high: 1600 }"));
    assert!(charts::svg_bars(bars, js("{ width: 300, height: 120, xUnit: 'tokens/s' }")).unwrap().contains("1.5k tokens/s"));
}

#[wasm_bindgen_test]
fn a_timeline_takes_columns() {
    let data = Object::new();
    for (key, values) in
        [("arrivalMs", [0.0, 1.0]), ("scheduledMs", [5.0, 6.0]), ("firstTokenMs", [9.0, f64::NAN]), ("finishMs", [20.0, f64::NAN])]
    {
        Reflect::set(&data, &key.into(), &Float64Array::from(&values[..])).unwrap();
    }
    Reflect::set(&data, &"status".into(), &Uint8Array::from(&[1, 0][..])).unwrap();
    Reflect::set(&data, &"endMs".into(), &30.0.into()).unwrap();
    let options = "{ width: 300, height: 200, decodeColor: '#0000ff' }";
    assert!(charts::svg_timeline(data.clone().into(), js(options)).unwrap().contains("#0000FF"));
    Reflect::set(&data, &"status".into(), &Uint8Array::new_with_length(1)).unwrap();
    assert!(message(&charts::svg_timeline(data.into(), js(options)).unwrap_err()).contains("`status` has 1 values where 2 are needed"));
}

// ---- canvas ------------------------------------------------------------------------------------------------

/// A canvas in the page, or nothing where there is no page.
fn canvas() -> Option<HtmlCanvasElement> {
    let made = js("typeof document === 'undefined' ? null : document.body.appendChild(document.createElement('canvas'))");
    (!made.is_null()).then(|| made.unchecked_into())
}

fn pixels(canvas: &HtmlCanvasElement) -> Vec<[u8; 4]> {
    let context: CanvasRenderingContext2d = canvas.get_context("2d").unwrap().unwrap().unchecked_into();
    let image = context.get_image_data(0.0, 0.0, canvas.width().into(), canvas.height().into()).unwrap();
    image.data().chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]]).collect()
}

#[wasm_bindgen_test]
fn a_canvas_is_drawn_at_the_density_of_the_screen() {
    let Some(canvas) = canvas() else { return };
    let values: Vec<f64> = (1..=1000).map(f64::from).collect();
    let children = js("document.querySelectorAll('*').length").as_f64();
    let frame = charts::draw_cdf(canvas.clone(), series(&values), js(OPTIONS)).unwrap();
    assert_eq!((canvas.width(), canvas.height()), (1200, 600));
    assert_eq!(js("document.querySelectorAll('*').length").as_f64(), children, "nothing is put into the page to measure text");
    assert_eq!((number(&frame, "xMin"), number(&frame, "xMax")), (1.0, 1000.0));
    assert_eq!(get(&frame, "xLog"), JsValue::TRUE);

    let pixels = pixels(&canvas);
    assert_eq!(pixels[0], [255, 255, 255, 255]);
    let at = |x: f64, y: f64| pixels[(y * 2.0) as usize * 1200 + (x * 2.0) as usize];
    // The median dot, from the frame alone: what a crosshair will do.
    let x = number(&frame, "x") + number(&frame, "width") * (llmperforacle::math::log10(500.5) / 3.0);
    let y = number(&frame, "y") + number(&frame, "height") * 0.5;
    assert_eq!(at(x, y), [255, 0, 0, 255], "the median is where the frame says");
    // Tick labels are left of the plot and below it.
    let ink = |left: f64, right: f64, top: f64, bottom: f64| {
        let (rows, columns) = ((top * 2.0) as usize..(bottom * 2.0) as usize, (left * 2.0) as usize..(right * 2.0) as usize);
        rows.flat_map(|row| columns.clone().map(move |column| row * 1200 + column)).filter(|i| pixels[*i] != [255; 4]).count()
    };
    let (left, bottom) = (number(&frame, "x"), number(&frame, "y") + number(&frame, "height"));
    assert!(ink(0.0, left - 1.0, 20.0, bottom) > 100);
    assert!(ink(left, 600.0, bottom + 6.0, 300.0) > 300);
    assert_eq!(ink(0.0, 600.0, 298.0, 300.0) + ink(598.0, 600.0, 0.0, 300.0), 0, "nothing is cut at the edges");
    canvas.remove();
}

#[wasm_bindgen_test]
fn a_canvas_can_be_drawn_again_in_another_size() {
    let Some(canvas) = canvas() else { return };
    charts::draw_lines(canvas.clone(), series(&[1.0, 2.0]), js(OPTIONS)).unwrap();
    let frame = charts::draw_lines(canvas.clone(), series(&[]), js("{ width: 280, height: 160, devicePixelRatio: 1.5 }")).unwrap();
    assert_eq!((canvas.width(), canvas.height()), (420, 240));
    assert_eq!(get(&frame, "empty"), JsValue::TRUE);
    assert!(pixels(&canvas).iter().any(|p| *p != [255; 4]), "the words are there");
    canvas.remove();
}
