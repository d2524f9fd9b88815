//! Wall-clock time stamps: `2023-11-16 18:15:46.6805900`, `2024-05-10 00:00:00+00:00`, `2024-10-15T12:00:00.269Z`.

use crate::units::PS_PER_S;

/// Picoseconds since 1970-01-01 UTC; a stamp without a zone counts as UTC.
pub(super) fn parse(text: &[u8]) -> Option<i128> {
    let (date, rest) = text.split_at_checked(10)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *date else { return None };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(m0, m1)?, two(d0, d1)?);
    let (separator, rest) = rest.split_first()?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [h0, h1, b':', i0, i1, b':', s0, s1] = *clock else { return None };
    let (hour, minute, second) = (two(h0, h1)?, two(i0, i1)?, two(s0, s1)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range || !matches!(separator, b' ' | b'T' | b't') {
        return None;
    }
    let (fraction_ps, zone) = fraction(rest)?;
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second - zone_s(zone)?;
    Some(i128::from(seconds) * i128::from(PS_PER_S) + i128::from(fraction_ps))
}

/// Picoseconds of `.digits`, if there, and what follows. Digits after the twelfth are refused.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > 12 {
        return None;
    }
    let padded = digits[..count].iter().copied().chain(std::iter::repeat(b'0')).take(12);
    Some((padded.fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0')), &digits[count..]))
}

/// Seconds that the zone is ahead of UTC.
fn zone_s(zone: &[u8]) -> Option<i64> {
    let (sign, [h0, h1, rest @ ..]) = (match zone {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        _ => return None,
    }) else {
        return None;
    };
    let minutes = match rest {
        [] => 0,
        [b':', m0, m1] | [m0, m1] => two(*m0, *m1)?,
        _ => return None,
    };
    Some(sign * (two(*h0, *h1)? * 60 + minutes) * 60)
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_unix_times() {
        // Seconds by `date -u -d ... +%s`.
        for (text, seconds, ps) in [
            ("1970-01-01 00:00:00", 0, 0),
            ("2000-02-29T23:59:59Z", 951_868_799, 0),
            ("2023-11-16 18:15:46.6805900", 1_700_158_546, 680_590_000_000),
            ("2024-05-12 00:00:00+00:00", 1_715_472_000, 0),
            ("2024-05-12 02:00:00.5+02:00", 1_715_472_000, 500_000_000_000),
            ("2024-10-15T12:00:00.269-0330", 1_729_006_200, 269_000_000_000),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(seconds * i128::from(PS_PER_S) + ps), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not() {
        for text in
            ["", "2024-05-12", "2024-13-12 00:00:00", "2024-05-12 25:00:00", "2024-05-12 00:00:00.", "2024-05-12 00:00:00 PST", "12.5"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
