//! Charts as SVG: what is written where, that nothing leaves the picture, that every input is survived.

#![allow(clippy::unwrap_used)]

use llmperforacle::math::log10;
use llmperforacle::plot::{
    Abscissa, Bar, CdfSeries, ChartError, ChartOptions, Color, Dash, Frame, LineMode, LineSeries, Mark, PALETTE, Theme, Timeline, bars,
    cdf, lines, svg, timeline,
};
use proptest::prelude::*;

fn options(width: f64, height: f64) -> ChartOptions {
    ChartOptions { width, height, theme: Theme::default(), ..ChartOptions::default() }
}

fn series(values: &[f64]) -> CdfSeries<'_> {
    CdfSeries { name: "run", color: Color::rgb(0, 114, 178), dash: Dash::Solid, values }
}

fn line(values: &[f64]) -> LineSeries<'_> {
    LineSeries { name: "run", color: Color::rgb(0, 114, 178), dash: Dash::Solid, x: Abscissa::Even { start: 0.0, step: 1.0 }, values }
}

/// An element of the picture.
#[derive(Debug)]
struct Element {
    tag: String,
    attributes: Vec<(String, String)>,
    text: String,
}

impl Element {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{name} in {self:?}"))
    }

    /// Corners of everything but text, in css px.
    fn points(&self) -> Vec<(f64, f64)> {
        let at = |x: &str, y: &str| (self.number(x) / 10.0, self.number(y) / 10.0);
        match self.tag.as_str() {
            "rect" => {
                let (x, y) = at("x", "y");
                let (width, height) = at("width", "height");
                assert!(width >= 0.0 && height >= 0.0, "{self:?}");
                vec![(x, y), (x + width, y + height)]
            }
            "circle" => {
                let ((x, y), (r, _)) = (at("cx", "cy"), at("r", "r"));
                vec![(x - r, y - r), (x + r, y + r)]
            }
            "polyline" | "polygon" => self
                .get("points")
                .unwrap()
                .split_whitespace()
                .map(|pair| {
                    let (x, y) = pair.split_once(',').unwrap();
                    (x.parse::<f64>().unwrap() / 10.0, y.parse::<f64>().unwrap() / 10.0)
                })
                .collect(),
            "text" => {
                // No letter of a sans-serif font is wider than its size; digits and small letters have about half.
                let (x, y) = at("x", "y");
                let size = self.number("font-size") / 10.0;
                let width = self.text.chars().count() as f64 * size * 0.5;
                let left = match self.get("text-anchor") {
                    Some("end") => x - width,
                    Some("middle") => x - width / 2.0,
                    _ => x,
                };
                let top = if self.get("dy") == Some("0.76em") { y } else { y - 0.38 * size };
                vec![(left, top), (left + width, top + 0.76 * size)]
            }
            other => panic!("unexpected element {other}"),
        }
    }
}

fn elements(picture: &str) -> Vec<Element> {
    let body = picture.split_once(">\n").unwrap().1;
    let mut found: Vec<Element> = Vec::new();
    for part in body.split('<').skip(1).filter(|part| !part.starts_with('/')) {
        let (head, text) = part.split_once('>').unwrap();
        let (tag, rest) = head.trim_end_matches('/').split_once(' ').unwrap();
        let mut attributes = Vec::new();
        let mut pieces = rest.split('"');
        while let (Some(key), Some(value)) = (pieces.next(), pieces.next()) {
            attributes.push((key.trim().trim_end_matches('=').to_owned(), value.to_owned()));
        }
        found.push(Element { tag: tag.to_owned(), attributes, text: text.trim().to_owned() });
    }
    found
}

fn texts(picture: &str) -> Vec<String> {
    elements(picture).into_iter().filter(|e| e.tag == "text").map(|e| e.text).collect()
}

/// Nothing may leave the picture, no label may lie on another, and the frame lies inside.
fn assert_tidy(picture: &str, frame: Frame, options: &ChartOptions) {
    assert!(frame.x >= 0.0 && frame.x + frame.width <= options.width, "{frame:?}");
    assert!(frame.y >= 0.0 && frame.y + frame.height <= options.height, "{frame:?}");
    assert!(frame.width > 0.0 && frame.height > 0.0, "{frame:?}");
    let all = elements(picture);
    for element in &all {
        for (x, y) in element.points() {
            let inside = x >= -0.01 && y >= -0.01 && x <= options.width + 0.01 && y <= options.height + 0.01;
            assert!(inside, "({x}, {y}) is outside: {element:?}");
        }
    }
    let boxes: Vec<_> = all
        .iter()
        .filter(|e| e.tag == "text" && !e.text.is_empty())
        .map(|e| {
            let points = e.points();
            (points[0], points[1], &e.text)
        })
        .collect();
    for (index, a) in boxes.iter().enumerate() {
        for b in &boxes[index + 1..] {
            let apart = a.1.0 <= b.0.0 || b.1.0 <= a.0.0 || a.1.1 <= b.0.1 || b.1.1 <= a.0.1;
            assert!(apart, "{a:?} lies on {b:?}");
        }
    }
}

fn drawn_cdf(series: &[CdfSeries<'_>], options: &ChartOptions) -> (String, Frame) {
    let (picture, frame) = svg(options, |surface| cdf(surface, series, options)).unwrap();
    assert_tidy(&picture, frame, options);
    (picture, frame)
}

fn drawn_lines(series: &[LineSeries<'_>], options: &ChartOptions) -> (String, Frame) {
    let (picture, frame) = svg(options, |surface| lines(surface, series, options)).unwrap();
    assert_tidy(&picture, frame, options);
    (picture, frame)
}

fn latency(options: ChartOptions) -> ChartOptions {
    ChartOptions { x_label: "Time to first token".into(), x_unit: "ms".into(), x_log: true, ..options }
}

#[test]
fn a_distribution_marks_its_percentiles_where_they_are() {
    let values: Vec<f64> = (1..=1000).map(f64::from).collect();
    let options = latency(options(600.0, 300.0));
    let (picture, frame) = drawn_cdf(&[series(&values)], &options);
    assert_eq!((frame.x_min, frame.x_max, frame.x_log), (1.0, 1000.0, true));
    assert_eq!((frame.y_min, frame.y_max), (0.0, 1.0));
    let labels = texts(&picture);
    for expected in ["p50", "p90", "p99", "0%", "Share of requests", "Time to first token", "1 ms", "100 ms", "1 s"] {
        assert!(labels.iter().any(|label| label == expected), "{expected} in {labels:?}");
    }
    // log10(500.5 / 1) / log10(1000) of the way from left, half the way up.
    let dots: Vec<(f64, f64)> =
        elements(&picture).iter().filter(|e| e.tag == "circle").map(|e| (e.number("cx") / 10.0, e.number("cy") / 10.0)).collect();
    let median = (frame.x + frame.width * log10(500.5) / 3.0, frame.y + frame.height * 0.5);
    assert!(dots.iter().any(|dot| (dot.0 - median.0).abs() < 0.1 && (dot.1 - median.1).abs() < 0.1), "{median:?} in {dots:?}");
}

/// The height of the curve at any x is the share of values up to there.
#[test]
fn a_distribution_goes_through_the_empirical_shares() {
    let values: Vec<f64> = (0..50_000).map(|i| f64::from(i % 977) * f64::from(i % 31) + 1.0).collect();
    let options = options(500.0, 300.0);
    let (picture, frame) = drawn_cdf(&[series(&values)], &options);
    let curve = elements(&picture).into_iter().filter(|e| e.tag == "polyline").max_by_key(|e| e.points().len()).unwrap().points();
    assert!(curve.len() <= 4 * 500, "{} points", curve.len());
    for &(x, y) in curve.iter().step_by(17) {
        let value = frame.x_min + (x - frame.x) / frame.width * (frame.x_max - frame.x_min);
        let share = 1.0 - (y - frame.y) / frame.height;
        let slack = (frame.x_max - frame.x_min) / frame.width;
        let below = |limit: f64| values.iter().filter(|v| **v <= limit).count() as f64 / values.len() as f64;
        assert!(share >= below(value - slack) - 0.002 && share <= below(value + slack) + 0.002, "{share} at {value}");
    }
}

#[test]
fn axes_carry_their_units() {
    let values: Vec<f64> = (0..100).map(|i| f64::from(i) * 250.0).collect();
    let options = ChartOptions {
        x_label: "Time".into(),
        x_unit: "s".into(),
        y_label: "Throughput".into(),
        y_unit: "tokens/s".into(),
        ..options(600.0, 240.0)
    };
    let (picture, frame) = drawn_lines(&[line(&values)], &options);
    let labels = texts(&picture);
    for expected in ["Time (s)", "Throughput (tokens/s)", "0", "10k", "20k"] {
        assert!(labels.iter().any(|label| label == expected), "{expected} in {labels:?}");
    }
    assert_eq!((frame.x_min, frame.x_max, frame.y_min, frame.y_max), (0.0, 99.0, 0.0, 25_000.0));
}

/// The uppermost grid line is labelled, whatever the data's greatest value and the picture's height.
#[test]
fn the_top_of_an_axis_is_one_of_its_ticks() {
    for height in [140.0, 200.0, 260.0, 400.0] {
        for greatest in [0.37, 1.0, 63.0, 121.0, 6700.0, 24_750.0, 1.3e6] {
            let options = ChartOptions { y_label: "Running".into(), x_label: "Time".into(), ..options(400.0, height) };
            let (picture, frame) = drawn_lines(&[line(&[0.0, greatest])], &options);
            let ticks: Vec<f64> = elements(&picture)
                .iter()
                .filter(|e| e.tag == "text" && e.get("text-anchor") == Some("end"))
                .map(|e| e.number("y") / 10.0)
                .collect();
            assert!(ticks.len() >= 2 && ticks.iter().any(|y| (y - frame.y).abs() < 0.1), "{greatest} at {height}: {ticks:?} {frame:?}");
            assert!(frame.y_max >= greatest && frame.y_max <= 2.01 * greatest);
        }
    }
}

#[test]
fn a_share_is_shown_in_percent() {
    let options =
        ChartOptions { y_label: "KV cache in use".into(), y_unit: "%".into(), mode: LineMode::Step, fill: true, ..options(400.0, 200.0) };
    let (picture, frame) = drawn_lines(&[line(&[0.0, 0.5, 0.97, 0.2])], &options);
    assert!(texts(&picture).iter().any(|label| label == "100%"), "{:?}", texts(&picture));
    assert_eq!(frame.y_max, 1.0);
}

#[test]
fn a_step_line_has_only_level_and_upright_pieces() {
    let options = ChartOptions { mode: LineMode::Step, ..options(400.0, 200.0) };
    let (picture, _) = drawn_lines(&[line(&[1.0, 3.0, 2.0, 5.0])], &options);
    let curve = elements(&picture).into_iter().filter(|e| e.tag == "polyline").max_by_key(|e| e.points().len()).unwrap().points();
    assert!(curve.len() >= 6);
    assert!(curve.windows(2).all(|p| p[0].0 == p[1].0 || p[0].1 == p[1].1), "{curve:?}");
}

#[test]
fn a_zoomed_chart_keeps_the_range_it_was_given() {
    let values: Vec<f64> = (0..1000).map(|i| f64::from(i % 100)).collect();
    let options = ChartOptions { x_min: Some(120.5), x_max: Some(180.0), y_min: Some(20.0), y_max: Some(30.0), ..options(400.0, 200.0) };
    let (_, frame) = drawn_lines(&[line(&values)], &options);
    assert_eq!((frame.x_min, frame.x_max, frame.y_min, frame.y_max), (120.5, 180.0, 20.0, 30.0));
}

#[test]
fn nothing_to_draw_is_said() {
    let options = options(300.0, 200.0);
    for (picture, frame) in [
        drawn_cdf(&[], &options),
        drawn_cdf(&[series(&[]), series(&[f64::NAN])], &options),
        drawn_lines(&[], &options),
        drawn_lines(&[line(&[]), line(&[f64::NAN; 3])], &options),
    ] {
        assert!(frame.empty);
        assert_eq!(texts(&picture), ["No data yet"]);
    }
    let custom = ChartOptions { empty_text: Some("Nothing finished".into()), ..options };
    assert_eq!(texts(&drawn_cdf(&[], &custom).0), ["Nothing finished"]);
}

#[test]
fn marks_are_labelled_and_stay_inside() {
    let marks = |values: &[f64]| values.iter().map(|v| Mark { value: *v, label: format!("SLO {v} ms") }).collect::<Vec<_>>();
    let options = ChartOptions { x_marks: marks(&[1.0, 500.0, 990.0, 5000.0]), ..options(400.0, 200.0) };
    let values: Vec<f64> = (1..=1000).map(f64::from).collect();
    let (picture, _) = svg(&options, |surface| cdf(surface, &[series(&values)], &options)).unwrap();
    let labels = texts(&picture);
    assert!(labels.contains(&"SLO 500 ms".to_owned()) && labels.contains(&"SLO 990 ms".to_owned()));
    assert!(!labels.contains(&"SLO 5000 ms".to_owned()), "a mark outside the range is not drawn");
}

#[test]
fn words_from_outside_are_escaped() {
    let options = ChartOptions { x_label: "<script>&\"".into(), ..options(400.0, 200.0) };
    let (picture, _) = svg(&options, |surface| cdf(surface, &[series(&[1.0, 2.0])], &options)).unwrap();
    assert!(picture.contains("&lt;script&gt;&amp;") && !picture.contains("<script"));
    let hostile = ChartOptions { theme: Theme { font_family: "x\" onload=\"alert(1)".into(), ..Theme::default() }, ..options };
    let (picture, _) = svg(&hostile, |surface| cdf(surface, &[series(&[1.0, 2.0])], &hostile)).unwrap();
    assert!(!picture.contains("onload=\""));
}

#[test]
fn impossible_input_is_refused_in_words() {
    let small = options(50.0, 20.0);
    assert_eq!(svg(&small, |s| cdf(s, &[], &small)).unwrap_err(), ChartError::TooSmall { width: 50.0, height: 20.0 });
    let usual = options(300.0, 200.0);
    let falling = LineSeries { x: Abscissa::Values(&[2.0, 1.0]), ..line(&[1.0, 2.0]) };
    assert!(matches!(svg(&usual, |s| lines(s, &[falling], &usual)), Err(ChartError::NotAscending { .. })));
    let short = LineSeries { x: Abscissa::Values(&[2.0]), ..line(&[1.0, 2.0]) };
    assert!(matches!(svg(&usual, |s| lines(s, &[short], &usual)), Err(ChartError::Length { got: 1, expected: 2, .. })));
    let backwards = ChartOptions { x_min: Some(2.0), x_max: Some(1.0), ..usual };
    assert!(matches!(svg(&backwards, |s| cdf(s, &[], &backwards)), Err(ChartError::Range { axis: "x", .. })));
}

// ---- timeline ----------------------------------------------------------------------------------------------

struct Lives {
    columns: [Vec<f64>; 4],
    status: Vec<u8>,
}

impl Lives {
    /// Requests 10 ms apart: queued for 100 ms, prefill 50 ms, decode 850 ms.
    fn regular(count: usize) -> Lives {
        let at = |offset: f64| (0..count).map(|i| i as f64 * 10.0 + offset).collect();
        Lives { columns: [at(0.0), at(100.0), at(150.0), at(1000.0)], status: vec![1; count] }
    }

    fn data(&self, end_ms: f64) -> Timeline<'_> {
        let [arrival_ms, scheduled_ms, first_token_ms, finish_ms] = &self.columns;
        Timeline { arrival_ms, scheduled_ms, first_token_ms, finish_ms, status: &self.status, end_ms }
    }
}

fn phase_colors(options: ChartOptions) -> ChartOptions {
    ChartOptions {
        queued_color: Some(Color::rgb(1, 1, 1)),
        prefill_color: Some(Color::rgb(2, 2, 2)),
        decode_color: Some(Color::rgb(3, 3, 3)),
        rejected_color: Some(Color::rgb(4, 4, 4)),
        ..options
    }
}

fn of_fill<'a>(all: &'a [Element], fill: &'a str) -> impl Iterator<Item = &'a Element> {
    all.iter().filter(move |e| e.tag == "rect" && e.get("fill") == Some(fill))
}

#[test]
fn few_requests_have_a_bar_for_each_phase_at_its_time() {
    let lives = Lives::regular(10);
    let options = phase_colors(options(600.0, 300.0));
    let (picture, frame) = svg(&options, |s| timeline(s, &lives.data(1090.0), &options)).unwrap();
    assert_tidy(&picture, frame, &options);
    assert_eq!((frame.x_min, frame.x_max, frame.y_min, frame.y_max), (0.0, 1.09, 10.5, 0.5));
    let all = elements(&picture);
    for fill in ["#010101", "#020202", "#030303"] {
        assert_eq!(of_fill(&all, fill).count(), 10, "{fill}");
    }
    let px = |s: f64| frame.x + s / 1.09 * frame.width;
    let first = of_fill(&all, "#030303").next().unwrap().points();
    assert!((first[0].0 - px(0.15)).abs() < 0.1 && (first[1].0 - px(1.0)).abs() < 0.1, "{first:?}");
}

#[test]
fn unfinished_requests_last_to_the_end_and_rejected_ones_are_marked() {
    let mut lives = Lives::regular(3);
    lives.columns[3][0] = f64::NAN;
    lives.columns[1][1] = f64::NAN;
    lives.columns[2][1] = f64::NAN;
    lives.columns[3][1] = f64::NAN;
    lives.status = vec![0, 0, 2];
    let options = phase_colors(options(600.0, 300.0));
    let (picture, frame) = svg(&options, |s| timeline(s, &lives.data(2000.0), &options)).unwrap();
    let all = elements(&picture);
    let right = frame.x + frame.width;
    for fill in ["#030303", "#010101"] {
        assert!(of_fill(&all, fill).any(|e| (e.points()[1].0 - right).abs() < 0.1), "{fill} reaches the end");
    }
    assert_eq!(of_fill(&all, "#040404").count(), 1);
}

/// The outline of many requests is that of few: decode fills the same part of the picture.
#[test]
fn many_requests_are_binned_without_changing_the_picture() {
    let area = |count: usize| {
        let lives = Lives::regular(count);
        let scaled = Lives {
            columns: lives.columns.map(|column| {
                // The same second of requests, however many there are.
                column.iter().enumerate().map(|(i, t)| t - i as f64 * 10.0 + i as f64 * 1000.0 / count as f64).collect()
            }),
            status: lives.status,
        };
        let options = phase_colors(options(600.0, 300.0));
        let (picture, frame) = svg(&options, |s| timeline(s, &scaled.data(2000.0), &options)).unwrap();
        assert_tidy(&picture, frame, &options);
        let all = elements(&picture);
        assert!(all.len() < 5000, "{} elements", all.len());
        let area: f64 = of_fill(&all, "#030303").map(|e| e.number("width") * e.number("height") / 100.0).sum();
        area / (frame.width * frame.height)
    };
    // 850 ms of 2000.
    for count in [1_000, 100_000] {
        assert!((area(count) - 0.425).abs() < 0.02, "{count}: {}", area(count));
    }
}

#[test]
fn columns_of_a_timeline_must_match() {
    let lives = Lives::regular(3);
    let usual = options(300.0, 200.0);
    let data = Timeline { status: &[1], ..lives.data(1000.0) };
    assert!(matches!(svg(&usual, |s| timeline(s, &data, &usual)), Err(ChartError::Length { got: 1, expected: 3, .. })));
    let none = Lives::regular(0);
    assert!(svg(&usual, |s| timeline(s, &none.data(0.0), &usual)).unwrap().1.empty);
}

#[test]
fn bars_are_as_long_as_their_numbers() {
    let options = ChartOptions { x_label: "Throughput".into(), x_unit: "tokens/s".into(), ..options(400.0, 200.0) };
    let bar = |name, value| Bar { name, color: Color::rgb(9, 9, 9), value, interval: None };
    let data = [bar("vLLM", 3000.0), bar("SGLang", 1500.0), bar("TensorRT-LLM", f64::NAN)];
    let (picture, frame) = svg(&options, |s| bars(s, &data, &options)).unwrap();
    assert_tidy(&picture, frame, &options);
    let all = elements(&picture);
    let widths: Vec<f64> = of_fill(&all, "#090909").map(|e| e.number("width")).collect();
    assert_eq!(widths.len(), 2);
    assert!((widths[0] / widths[1] - 2.0).abs() < 0.01);
    for expected in ["3k tokens/s", "1.5k tokens/s", "no data"] {
        assert!(texts(&picture).iter().any(|text| text == expected), "{expected}");
    }
}

// ---- anything goes -----------------------------------------------------------------------------------------

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![6 => 0.0..1e4, 1 => 0.0..1e12, 1 => Just(0.0), 1 => Just(f64::NAN), 1 => -1e3..0.0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_chart_is_tidy(
        values in prop::collection::vec(any_value(), 0..600),
        width in 280..1600u16,
        height in 140..700u16,
        x_log: bool,
        y_log: bool,
        dash in 0..6usize,
        step: bool,
        unit in prop::sample::select(vec!["ms", "s", "%", "tokens/s", ""]),
    ) {
        let options = ChartOptions {
            x_log,
            y_log,
            x_label: "A rather long label for an axis".into(),
            x_unit: unit.into(),
            y_label: "Another label that may not fit".into(),
            y_unit: unit.into(),
            mode: if step { LineMode::Step } else { LineMode::Linear },
            markers: step,
            fill: y_log,
            ..options(width.into(), height.into())
        };
        let (color, dash) = PALETTE[dash];
        drawn_cdf(&[CdfSeries { color, dash, ..series(&values) }], &options);
        drawn_lines(&[LineSeries { color, dash, ..line(&values) }], &options);
    }
}
