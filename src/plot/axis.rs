//! From data to pixels and to tick labels: scales, nice ticks (1, 2, 5), number formats.

use crate::math::{log10, pow};

/// An axis' mapping between data and css px.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Data at `start_px`.
    pub min: f64,
    /// Data at `end_px`.
    pub max: f64,
    pub log: bool,
    pub start_px: f64,
    pub end_px: f64,
}

impl Scale {
    /// On a logarithmic axis, zero and less lie infinitely far before the start.
    pub fn px(&self, value: f64) -> f64 {
        let share = if self.log {
            (log10(value.max(0.0)) - log10(self.min)) / (log10(self.max) - log10(self.min))
        } else {
            (value - self.min) / (self.max - self.min)
        };
        self.start_px + share * (self.end_px - self.start_px)
    }

    pub fn value(&self, px: f64) -> f64 {
        let share = (px - self.start_px) / (self.end_px - self.start_px);
        if self.log { self.min * pow(self.max / self.min, share) } else { self.min + share * (self.max - self.min) }
    }
}

/// A labelled place on an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Data units.
    pub value: f64,
    pub label: String,
}

/// How a unit is shown: data are multiplied by `factor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown<'a> {
    pub factor: f64,
    /// Written in the axis' title; empty where the ticks carry it.
    pub title_unit: &'a str,
    style: LabelStyle,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LabelStyle {
    Plain,
    Percent,
    /// Each label with its own unit of time; data in ms.
    Time,
}

/// Chooses how `unit` is shown on an axis that reaches up to `max`.
pub fn shown(unit: &str, max: f64, log: bool) -> Shown<'_> {
    match unit {
        "%" => Shown { factor: 100.0, title_unit: "", style: LabelStyle::Percent },
        "ms" if log => Shown { factor: 1.0, title_unit: "", style: LabelStyle::Time },
        "ms" if max >= 10_000.0 => Shown { factor: 1e-3, title_unit: "s", style: LabelStyle::Plain },
        _ => Shown { factor: 1.0, title_unit: unit, style: LabelStyle::Plain },
    }
}

/// The power of ten of a positive number's first digit.
fn floor_log10(value: f64) -> f64 {
    let power = log10(value).floor();
    // log10 may be off by a bit just below a power of ten.
    if pow(10.0, power + 1.0) <= value { power + 1.0 } else { power }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `least`.
fn nice_step(least: f64) -> f64 {
    let power = pow(10.0, floor_log10(least));
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Ends of a linear axis rounded outwards to ticks, with `intervals` between ticks at most (see [`linear_ticks`]).
pub fn nice_range(min: f64, max: f64, intervals: f64, unit: &str) -> (f64, f64) {
    let factor = shown(unit, max, false).factor;
    let (low, high) = (min * factor, max * factor);
    let mut step = nice_step((high - low) / intervals);
    loop {
        let down = (low / step + 1e-9).floor() * step;
        let up = ((high / step - 1e-9).ceil() * step).max(down + step);
        // Rounding has widened the range, which may ask for wider steps, which may widen the range.
        let wider = nice_step((up - down) / intervals);
        if wider <= step {
            return (down / factor, up / factor);
        }
        step = wider;
    }
}

/// Ends of a logarithmic axis rounded outwards to 1, 2 or 5 times a power of ten.
pub fn nice_log_range(min: f64, max: f64) -> (f64, f64) {
    let below = |v: f64| {
        let power = pow(10.0, floor_log10(v));
        [5.0, 2.0].into_iter().map(|m| m * power).find(|n| *n <= v * (1.0 + 1e-9)).unwrap_or(power)
    };
    let above = |v: f64| nice_step(v);
    let (low, high) = (below(min), above(max));
    if high > low * 1.5 { (low, high) } else { (low, low * 10.0) }
}

/// How much room labels need along the axis, css px: the extent of a label, and the least gap between two.
pub struct Room<'a> {
    pub length_px: f64,
    pub extent_px: &'a dyn Fn(&str) -> f64,
    pub gap_px: f64,
    /// Ticks are no denser than this, however short their labels.
    pub least_step_px: f64,
    /// Only whole numbers (request numbers).
    pub whole: bool,
}

impl Room<'_> {
    /// Whether labels fit beside each other at their places.
    fn holds(&self, ticks: &[Tick], place: &dyn Fn(f64) -> f64) -> bool {
        ticks.windows(2).all(|pair| {
            let apart = (place(pair[1].value) - place(pair[0].value)).abs() * self.length_px;
            apart >= ((self.extent_px)(&pair[0].label) + (self.extent_px)(&pair[1].label)) / 2.0 + self.gap_px
        })
    }
}

/// Ticks are no denser than this along a vertical and a horizontal axis, css px.
pub const Y_STEP_PX: f64 = 32.0;
pub const X_STEP_PX: f64 = 64.0;

/// How many steps of ticks an axis has at most.
pub fn intervals(length_px: f64, least_step_px: f64) -> f64 {
    (length_px / least_step_px).max(2.0)
}

/// Ticks of a linear axis from `min` to `max`, as dense as their labels allow.
pub fn linear_ticks(min: f64, max: f64, unit: &str, room: &Room<'_>) -> Vec<Tick> {
    let shown = shown(unit, max, false);
    let (low, high) = (min * shown.factor, max * shown.factor);
    let mut step = nice_step((high - low) / intervals(room.length_px, room.least_step_px));
    if room.whole {
        step = step.max(1.0);
    }
    let place = |value: f64| (value - min) / (max - min);
    loop {
        let ticks = linear_ticks_by(low, high, step, shown);
        if ticks.len() <= 2 || room.holds(&ticks, &place) {
            // Two that do not fit are worse than one.
            return if room.holds(&ticks, &place) { ticks } else { ticks.into_iter().take(1).collect() };
        }
        step = nice_step(step * 1.5);
    }
}

fn linear_ticks_by(low: f64, high: f64, step: f64, shown: Shown<'_>) -> Vec<Tick> {
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    let (divisor, suffix) = si_of_axis(low.abs().max(high.abs()));
    let decimals = (-floor_log10(step / divisor * (1.0 + 1e-9))).clamp(0.0, 12.0) as usize;
    // None, when the step is wider than the axis and no multiple of it lies inside.
    let count = (last - first + 1.0).max(0.0) as usize;
    (0..count)
        .map(|i| {
            let value = (first + i as f64) * step;
            let number = if value == 0.0 { "0".to_owned() } else { format!("{:.decimals$}{suffix}", value / divisor) };
            let label = if shown.style == LabelStyle::Percent { number + "%" } else { number };
            Tick { value: value / shown.factor, label: minus(label) }
        })
        .collect()
}

/// Ticks of a logarithmic axis: 1-2-5 in every decade if they fit, else 1, else every second, third … decade.
pub fn log_ticks(min: f64, max: f64, unit: &str, room: &Room<'_>) -> Vec<Tick> {
    let shown = shown(unit, max, true);
    let place = |value: f64| (log10(value) - log10(min)) / (log10(max) - log10(min));
    let (first, last) = (floor_log10(min), floor_log10(max) + 1.0);
    let decades = (last - first) as usize + 1;
    let candidates: [(&[f64], usize); 3] = [(&[1.0, 2.0, 5.0], 1), (&[1.0, 3.0], 1), (&[1.0], 1)];
    let spaced = (2..=decades).map(|every| (&[1.0][..], every));
    for (multiples, every) in candidates.into_iter().chain(spaced) {
        let ticks: Vec<Tick> = (0..decades)
            .filter(|i| (first + *i as f64).rem_euclid(every as f64) == 0.0)
            .flat_map(|i| multiples.iter().map(move |m| m * pow(10.0, first + i as f64)))
            .filter(|v| *v >= min * (1.0 - 1e-9) && *v <= max * (1.0 + 1e-9))
            .map(|value| Tick { value, label: log_label(value, shown) })
            .collect();
        if ticks.len() < 2 {
            break;
        }
        if room.holds(&ticks, &place) {
            return ticks;
        }
    }
    // Less than a decade is in view: evenly stepped numbers at their logarithmic places.
    let mut step = nice_step((max - min) / 8.0);
    loop {
        let ticks: Vec<Tick> = (0..=16)
            .map(|i| ((min / step - 1e-9).ceil() + f64::from(i)) * step)
            .take_while(|v| *v <= max * (1.0 + 1e-9))
            .map(|value| Tick { value, label: log_label(value, shown) })
            .collect();
        if ticks.len() <= 1 || room.holds(&ticks, &place) {
            return ticks;
        }
        step = nice_step(step * 1.5);
    }
}

fn log_label(value: f64, shown: Shown<'_>) -> String {
    match shown.style {
        LabelStyle::Time => duration(value),
        LabelStyle::Percent => number(value * shown.factor) + "%",
        LabelStyle::Plain => number(value * shown.factor),
    }
}

/// A time in ms with the unit that suits it.
pub fn duration(ms: f64) -> String {
    if ms >= 1000.0 {
        number(ms / 1000.0) + " s"
    } else if ms >= 1.0 || ms == 0.0 {
        number(ms) + " ms"
    } else {
        number(ms * 1000.0) + " µs"
    }
}

/// A value with its unit, for labels beside marks and bars.
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ms" => duration(value),
        "%" => number(value * 100.0) + "%",
        "" => number(value),
        unit => format!("{} {unit}", number(value)),
    }
}

/// Three significant digits, thousands as k, M, G.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rounded first: 9999.6 is 10k, not "9999.6".
    let digits = 2.0 - floor_log10(value.abs());
    let rounded = if digits > 0.0 {
        (value * pow(10.0, digits)).round() / pow(10.0, digits)
    } else {
        (value / pow(10.0, -digits)).round() * pow(10.0, -digits)
    };
    let (divisor, suffix) = si(rounded.abs());
    let scaled = rounded / divisor;
    let decimals = (2.0 - floor_log10(scaled.abs() * (1.0 + 1e-12))).clamp(0.0, 12.0) as usize;
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    minus(format!("{text}{suffix}"))
}

/// Divisor and suffix for an axis that reaches `max`: four digits are still read at a glance.
fn si_of_axis(max: f64) -> (f64, &'static str) {
    if max < 1e4 { (1.0, "") } else { si(max) }
}

fn si(value: f64) -> (f64, &'static str) {
    let prefixes = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    prefixes.into_iter().find(|(divisor, _)| value >= divisor * (1.0 - 1e-9)).unwrap_or((1.0, ""))
}

/// A true minus sign.
fn minus(label: String) -> String {
    label.replacen('-', "\u{2212}", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(length_px: f64, extent: &dyn Fn(&str) -> f64) -> Room<'_> {
        Room { length_px, extent_px: extent, gap_px: 10.0, least_step_px: 40.0, whole: false }
    }

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|t| t.label.as_str()).collect()
    }

    const LETTERS: &dyn Fn(&str) -> f64 = &|label| 7.0 * label.chars().count() as f64;

    #[test]
    fn linear_ticks_are_round_numbers() {
        assert_eq!(labels(&linear_ticks(0.0, 1.0, "", &room(200.0, LETTERS))), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&linear_ticks(0.0, 12_000.0, "tokens/s", &room(200.0, LETTERS))), ["0", "5k", "10k"]);
        assert_eq!(labels(&linear_ticks(0.0, 0.5, "%", &room(150.0, LETTERS))), ["0%", "20%", "40%"]);
        assert_eq!(labels(&linear_ticks(-2.0, 2.0, "", &room(300.0, LETTERS))), ["−2", "−1", "0", "1", "2"]);
    }

    #[test]
    fn many_milliseconds_are_shown_as_seconds() {
        let ticks = linear_ticks(0.0, 60_000.0, "ms", &room(200.0, LETTERS));
        assert_eq!(labels(&ticks), ["0", "20", "40", "60"]);
        assert_eq!(ticks[1].value, 20_000.0);
        assert_eq!(shown("ms", 60_000.0, false).title_unit, "s");
        assert_eq!(shown("ms", 600.0, false).title_unit, "ms");
    }

    #[test]
    fn log_ticks_thin_out_as_room_shrinks() {
        let ticks = |px| log_ticks(1.0, 1e4, "ms", &room(px, LETTERS));
        assert_eq!(labels(&ticks(900.0))[..4], ["1 ms", "2 ms", "5 ms", "10 ms"]);
        assert_eq!(labels(&ticks(300.0)), ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert_eq!(labels(&ticks(170.0)), ["1 ms", "100 ms", "10 s"]);
    }

    #[test]
    fn a_log_axis_within_a_decade_still_has_ticks() {
        assert!(labels(&log_ticks(310.0, 480.0, "ms", &room(400.0, LETTERS))).contains(&"400 ms"));
    }

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.001234, "0.00123"),
            (1.0, "1"),
            (12.34, "12.3"),
            (999.9, "1k"),
            (1234.0, "1.23k"),
            (45_678.0, "45.7k"),
            (2e6, "2M"),
            (-1500.0, "−1.5k"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(quantity(0.5, "%"), "50%");
        assert_eq!(quantity(1234.0, "ms"), "1.23 s");
        assert_eq!(quantity(0.25, "ms"), "250 µs");
        assert_eq!(quantity(3000.0, "tokens/s"), "3k tokens/s");
    }

    #[test]
    fn ranges_round_outwards() {
        assert_eq!(nice_range(0.0, 93.0, 5.0, ""), (0.0, 100.0));
        assert_eq!(nice_range(0.0, 100.0, 5.0, ""), (0.0, 100.0));
        assert_eq!(nice_log_range(3.0, 70.0), (2.0, 100.0));
        assert_eq!(nice_log_range(5.0, 5.0), (5.0, 50.0));
    }

    proptest! {
        #[test]
        fn ticks_stay_inside_and_apart(low in -1e6..1e6, span in 1e-3..1e9, px in 60.0..2000.0) {
            let (min, max) = (low, low + span);
            let ticks = linear_ticks(min, max, "", &room(px, LETTERS));
            for tick in &ticks {
                prop_assert!(tick.value >= min - span * 1e-6 && tick.value <= max + span * 1e-6);
            }
            for pair in ticks.windows(2) {
                prop_assert!((pair[1].value - pair[0].value) / span * px >= 10.0);
                prop_assert!(pair[0].label != pair[1].label || span < low.abs() * 1e-9);
            }
        }

        #[test]
        fn a_range_holds_its_data(min in -1e5..1e5, span in 1e-3..1e6, a in 1e-3..1e3, ratio in 1.0..1e4) {
            let (low, high) = nice_range(min, min + span, 5.0, "");
            prop_assert!(low <= min + span * 1e-6 && high >= min + span * (1.0 - 1e-6));
            let (low, high) = nice_log_range(a, a * ratio);
            prop_assert!(low <= a * 1.000_001 && high >= a * ratio * 0.999_999);
        }

        #[test]
        fn scales_invert(min in 0.1..10.0, span in 0.1..1e5, share in 0.0..1.0, log: bool) {
            let scale = Scale { min, max: min + span, log, start_px: 300.0, end_px: 20.0 };
            let px = 20.0 + share * 280.0;
            prop_assert!((scale.px(scale.value(px)) - px).abs() < 1e-6);
        }
    }
}
