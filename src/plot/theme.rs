//! Colours, dashes and fonts: everything about a chart's looks that its caller decides.

use std::str::FromStr;

use plotters::style::RGBAColor;
use serde::{Deserialize, Deserializer};

use super::ChartError;

/// A colour, as CSS writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Color {
    pub red: u8,
    pub green: u8,
    pub blue: u8,
    /// From 0 (invisible) to 1.
    pub alpha: f64,
}

impl Color {
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Color {
        Color { red, green, blue, alpha: 1.0 }
    }

    /// The same colour, `share` times as opaque.
    pub fn faded(self, share: f64) -> Color {
        Color { alpha: self.alpha * share, ..self }
    }

    /// This colour laid over `below`, as an opaque one: overlapping shapes then do not add up.
    pub fn over(self, below: Color) -> Color {
        let mix = |top: u8, bottom: u8| (f64::from(top) * self.alpha + f64::from(bottom) * (1.0 - self.alpha)).round() as u8;
        Color::rgb(mix(self.red, below.red), mix(self.green, below.green), mix(self.blue, below.blue))
    }

    pub(super) fn backend(self) -> RGBAColor {
        RGBAColor(self.red, self.green, self.blue, self.alpha)
    }
}

impl FromStr for Color {
    type Err = ChartError;

    fn from_str(text: &str) -> Result<Color, ChartError> {
        let parsed = match text.trim() {
            "transparent" => Some(Color { alpha: 0.0, ..Color::rgb(0, 0, 0) }),
            hex if hex.starts_with('#') => from_hex(&hex[1..]),
            function => from_function(function),
        };
        parsed.ok_or_else(|| ChartError::Color { color: text.to_owned() })
    }
}

fn from_hex(digits: &str) -> Option<Color> {
    let value = u32::from_str_radix(digits, 16).ok()?;
    let byte = |shift: u32| (value >> shift) as u8;
    let nibble = |shift: u32| ((value >> shift) & 0xf) as u8 * 17;
    match digits.len() {
        3 => Some(Color::rgb(nibble(8), nibble(4), nibble(0))),
        6 => Some(Color::rgb(byte(16), byte(8), byte(0))),
        8 => Some(Color { alpha: f64::from(byte(0)) / 255.0, ..Color::rgb(byte(24), byte(16), byte(8)) }),
        _ => None,
    }
}

fn from_function(text: &str) -> Option<Color> {
    let inside = text.strip_prefix("rgba(").or_else(|| text.strip_prefix("rgb("))?.strip_suffix(')')?;
    let parts: Vec<&str> = inside.split([',', ' ', '/']).filter(|part| !part.is_empty()).collect();
    let byte = |part: &str| part.parse::<f64>().ok().filter(|v| (0.0..=255.0).contains(v)).map(|v| v.round() as u8);
    let alpha = match parts.get(3) {
        None => 1.0,
        Some(part) => part.parse::<f64>().ok().filter(|v| (0.0..=1.0).contains(v))?,
    };
    match parts.len() {
        3 | 4 => Some(Color { alpha, ..Color::rgb(byte(parts[0])?, byte(parts[1])?, byte(parts[2])?) }),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Color {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Color, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How a line is broken up. Series differ by dash as well as by colour, so that colour is never alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dash {
    #[default]
    Solid,
    Dashed,
    Dotted,
    DashDot,
}

impl Dash {
    /// Lengths of strokes and gaps in turn, css px; empty for a solid line.
    pub(super) fn pattern(self) -> &'static [f64] {
        match self {
            Dash::Solid => &[],
            Dash::Dashed => &[7.0, 4.0],
            Dash::Dotted => &[2.0, 3.0],
            Dash::DashDot => &[9.0, 3.0, 2.0, 3.0],
        }
    }
}

/// Colours and font of everything but the data.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Theme {
    /// Laid under the whole picture.
    pub background: Color,
    /// Titles of axes, labels of marks.
    pub text: Color,
    /// Tick labels.
    pub muted: Color,
    pub grid: Color,
    /// Base line and marks.
    pub axis: Color,
    /// As CSS writes it, such as `Inter, sans-serif`.
    pub font_family: String,
    /// Size of tick labels, css px.
    pub font_size_px: f64,
}

impl Default for Theme {
    /// Dark on white, for files.
    fn default() -> Theme {
        Theme {
            background: Color::rgb(255, 255, 255),
            text: Color::rgb(31, 35, 40),
            muted: Color::rgb(89, 99, 110),
            grid: Color::rgb(228, 231, 235),
            axis: Color::rgb(125, 133, 144),
            font_family: "system-ui, Helvetica, Arial, sans-serif".to_owned(),
            font_size_px: 12.0,
        }
    }
}

/// Colours for series in files, told apart by the colour-blind too (Okabe and Ito 2008, darkened to 3:1 on white), with
/// dashes that differ between neighbours.
pub const PALETTE: [(Color, Dash); 6] = [
    (Color::rgb(0, 114, 178), Dash::Solid),
    (Color::rgb(213, 94, 0), Dash::Dashed),
    (Color::rgb(0, 138, 101), Dash::DashDot),
    (Color::rgb(184, 92, 148), Dash::Dotted),
    (Color::rgb(148, 116, 0), Dash::Solid),
    (Color::rgb(42, 130, 174), Dash::Dashed),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_as_css_writes_them() {
        let parse = |text: &str| text.parse::<Color>();
        assert_eq!(parse("#0af"), Ok(Color::rgb(0, 170, 255)));
        assert_eq!(parse("#00AAff"), Ok(Color::rgb(0, 170, 255)));
        assert_eq!(parse(" rgb(0, 170, 255)"), Ok(Color::rgb(0, 170, 255)));
        assert_eq!(parse("rgb(0 170 255 / 0.5)"), Ok(Color { alpha: 0.5, ..Color::rgb(0, 170, 255) }));
        assert_eq!(parse("rgba(1,2,3,0)").unwrap().alpha, 0.0);
        assert_eq!(parse("transparent").unwrap().alpha, 0.0);
        for wrong in ["", "#12", "#ggg", "red", "rgb(1,2)", "rgb(1,2,300)", "rgb(1,2,3,4)", "#é1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_colour_over_another_is_opaque_and_between_them() {
        let half = Color::rgb(0, 0, 0).faded(0.5).over(Color::rgb(255, 255, 255));
        assert_eq!(half, Color::rgb(128, 128, 128));
    }

    /// WCAG 2.2, relative luminance and contrast ratio.
    #[test]
    fn the_palette_stands_out_from_white() {
        let channel = |byte: u8| {
            let c = f64::from(byte) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { crate::math::pow((c + 0.055) / 1.055, 2.4) }
        };
        let luminance = |c: Color| 0.2126 * channel(c.red) + 0.7152 * channel(c.green) + 0.0722 * channel(c.blue);
        for (color, _) in PALETTE {
            let contrast = 1.05 / (luminance(color) + 0.05);
            assert!(contrast >= 3.0, "{color:?}: {contrast}");
        }
        let theme = Theme::default();
        for color in [theme.text, theme.muted] {
            assert!(1.05 / (luminance(color) + 0.05) >= 4.5, "{color:?}");
        }
    }
}
