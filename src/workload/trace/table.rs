//! Traces as CSV: columns are found by name, in any order and case.

use std::collections::HashMap;

use super::{Raw, Row, clock};
use crate::config::Diagnostic;
use crate::units::Time;

/// What is known of a kind of table.
pub(super) struct Kind {
    /// Names of the columns with arrival, prompt length and output length; the first is the usual one.
    arrival: &'static [&'static str],
    input: &'static [&'static str],
    output: &'static [&'static str],
    /// Arrivals are wall-clock stamps, and time starts at the first.
    wall_clock: bool,
    example: &'static str,
}

/// Microsoft Azure's LLM inference traces of 2023 and 2024, and the multimodal one of 2025 (its lengths include the images' tokens).
pub(super) const AZURE: Kind = Kind {
    arrival: &["timestamp"],
    input: &["contexttokens"],
    output: &["generatedtokens"],
    wall_clock: true,
    example: "the first line is TIMESTAMP,ContextTokens,GeneratedTokens; a row is 2023-11-16 18:15:46.6805900,374,44",
};

/// Seconds and lengths: the plain form, and the columns of Vidur and splitwise-sim.
pub(super) const PLAIN: Kind = Kind {
    arrival: &["arrival_s", "arrived_at", "arrival_timestamp"],
    input: &["input_tokens", "num_prefill_tokens", "prompt_size"],
    output: &["output_tokens", "num_decode_tokens", "token_size"],
    wall_clock: false,
    example: "the first line is arrival_s,input_tokens,output_tokens; a row is 0.25,374,44",
};

/// Columns a table may have besides.
const SESSION: &[&str] = &["session_id"];
const HASHES: &[&str] = &["hash_ids"];
const ADAPTER: &[&str] = &["lora_name", "lora_id", "adapter"];

/// Lengths of the blocks that hash ids stand for, tokens, of which the largest that fits every row is taken.
const BLOCK_TOKENS: [u32; 6] = [512, 256, 128, 64, 32, 16];

/// Most hash ids of one row: prompts end before.
const MAX_IDS: u64 = 1 << 20;

/// Hash ids of one row, as runs with both ends included.
struct Ids {
    row: usize,
    line: u64,
    runs: Vec<(u64, u64)>,
}

pub(super) fn read(text: &[u8], kind: &Kind, raw: &mut Raw) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    let header = match reader.byte_headers() {
        Ok(header) => header.clone(),
        Err(error) => return raw.error(1, error, kind.example),
    };
    let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_lowercase()).collect();
    let column = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
    let (Some(arrival), Some(input), Some(output)) = (column(kind.arrival), column(kind.input), column(kind.output)) else {
        let missing = [kind.arrival, kind.input, kind.output].into_iter().filter(|known| column(known).is_none()).map(|known| known[0]);
        return raw.error(1, format!("there is no column {}", missing.collect::<Vec<_>>().join(", ")), kind.example);
    };
    let (session, hashes, adapter) = (column(SESSION), column(HASHES), column(ADAPTER));
    let used = [Some(arrival), Some(input), Some(output), session, hashes, adapter];
    let unused: Vec<&str> = (0..names.len()).filter(|i| !used.contains(&Some(*i))).map(|i| names[i].as_str()).collect();
    if !unused.is_empty() {
        raw.warnings.push(Diagnostic::warning(super::PATH, format!("columns of the trace without effect: {}", unused.join(", ")), ""));
    }

    let mut stamps = Vec::new();
    let mut sessions: HashMap<Vec<u8>, u32> = HashMap::new();
    // Kept until the length of the ids' blocks is known.
    let mut ids: Vec<Ids> = Vec::new();
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return raw.error(reader.position().line(), error, kind.example),
        }
        let line = record.position().map_or(0, csv::Position::line);
        let field = |i: usize| record.get(i).unwrap_or_default().trim_ascii();
        let lengths =
            whole(field(input)).and_then(|n| raw.tokens(n)).and_then(|n| Ok((n, whole(field(output)).and_then(|n| raw.tokens(n))?)));
        let (input_tokens, output_tokens) = match lengths {
            Ok(lengths) => lengths,
            Err(message) => {
                raw.error(line, message, kind.example);
                continue;
            }
        };
        let stamp = if kind.wall_clock { clock::parse(field(arrival)) } else { seconds(field(arrival)) };
        let Some(stamp) = stamp else {
            raw.error(line, format!("{:?} is no time", lossy(field(arrival))), kind.example);
            continue;
        };
        let session = session.map(|i| {
            let new = sessions.len() as u32;
            (*sessions.entry(field(i).to_vec()).or_insert(new), 0)
        });
        if let Some(text) = hashes.map(field).filter(|text| !text.is_empty()) {
            match parse_runs(text) {
                Ok(runs) => ids.push(Ids { row: raw.rows.len(), line, runs }),
                Err(message) => {
                    raw.error(line, message, "hash_ids are numbers and runs of them, such as 0 14-27");
                    continue;
                }
            }
        }
        let adapter = match adapter.map_or(Ok(0), |i| raw.adapter(&String::from_utf8_lossy(field(i)))) {
            Ok(adapter) => adapter,
            Err(message) => {
                raw.error(line, message, "");
                continue;
            }
        };
        stamps.push((stamp, line));
        raw.rows.push(Row { time: Time::ZERO, input_tokens, output_tokens, shared: None, session, adapter });
    }
    raw.sessions = sessions.len() as u32;
    times(&stamps, kind, raw);
    contents(&ids, raw);
}

fn times(stamps: &[(i128, u64)], kind: &Kind, raw: &mut Raw) {
    let zero = if kind.wall_clock { stamps.iter().map(|(stamp, _)| *stamp).min().unwrap_or(0) } else { 0 };
    for (i, (stamp, line)) in stamps.iter().enumerate() {
        match u64::try_from(stamp - zero) {
            Ok(ps) if ps < u64::MAX => raw.rows[i].time = Time(ps),
            _ => raw.error(*line, "is more than 213 days after the first", "replay a shorter part"),
        }
    }
}

fn contents(ids: &[Ids], raw: &mut Raw) {
    if ids.is_empty() {
        return;
    }
    let fits = |block: u32| {
        ids.iter().all(|ids| {
            let (count, input) = (count(&ids.runs), u64::from(raw.rows[ids.row].input_tokens));
            count == input / u64::from(block) || count == input.div_ceil(u64::from(block))
        })
    };
    let Some(block) = BLOCK_TOKENS.into_iter().find(|&block| fits(block)) else {
        let message = "hash_ids fit no length of block (16 to 512 tokens) in all rows";
        return raw.error(ids[0].line, message, "a row has one id for every block of its prompt");
    };
    for Ids { row, line, runs } in ids {
        let all = runs.iter().flat_map(|&(first, last)| first..=last);
        match raw.tree.add(all, block, raw.rows[*row].input_tokens) {
            Ok(node) => raw.rows[*row].shared = node,
            Err(message) => raw.error(*line, message, ""),
        }
    }
}

fn count(runs: &[(u64, u64)]) -> u64 {
    runs.iter().map(|(first, last)| last - first + 1).sum()
}

/// Ids as runs, both ends included: `0 14-27`.
fn parse_runs(text: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    let mut runs = Vec::new();
    let mut total = 0u64;
    for part in text.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()) {
        let mut ends = part.splitn(2, |&byte| byte == b'-');
        let first = whole(ends.next().unwrap_or_default())?;
        let last = ends.next().map_or(Ok(first), whole)?;
        let length =
            last.checked_sub(first).and_then(|length| length.checked_add(1)).ok_or_else(|| format!("{} is no run", lossy(part)))?;
        total = total.saturating_add(length);
        if total > MAX_IDS {
            return Err(format!("more than {MAX_IDS} hash ids"));
        }
        runs.push((first, last));
    }
    Ok(runs)
}

/// A whole number, also written as `374.0`.
fn whole(text: &[u8]) -> Result<u64, String> {
    let digits = match text.iter().position(|&byte| byte == b'.') {
        Some(point) if text[point + 1..].iter().all(|&byte| byte == b'0') => &text[..point],
        _ => text,
    };
    let refuse = || format!("{:?} is no whole number", lossy(text));
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(refuse());
    }
    Ok(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Seconds, 0 or more, as picoseconds.
fn seconds(text: &[u8]) -> Option<i128> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let time = Time::from_s(seconds);
    (seconds >= 0.0 && time != Time::NEVER).then_some(i128::from(time.0))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned()
}
