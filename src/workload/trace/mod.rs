//! Recorded traces, read from the bytes of their original files.
//!
//! A [`Trace`] is parsed once and shared by all runs. The format is recognised from the content. Rows that had to be changed are
//! counted, and said; rows that cannot be read are errors with their line.

mod clock;
mod gzip;
mod jsonl;
mod prefix_tree;
mod table;

use crate::config::Diagnostic;
use crate::config::schema::TraceFormat;
use crate::units::Time;
use crate::workload::request::Segment;
use crate::workload::sampler::MAX_TOKENS;
use prefix_tree::{PrefixTree, Shared};

/// Where a document names the file.
const PATH: &str = "workload.trace.path";

/// Errors of one file that are told one by one; the rest are counted.
const TOLD_ERRORS: usize = 10;

/// A recorded trace: requests in order of time.
#[derive(Clone, Debug)]
pub struct Trace {
    format: TraceFormat,
    rows: Vec<Row>,
    contents: Shared,
    sessions: u32,
    /// Names of LoRA adapters, in order of the file.
    adapters: Vec<String>,
    warnings: Vec<Diagnostic>,
}

/// One recorded request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub time: Time,
    pub input_tokens: u32,
    pub output_tokens: u32,
    /// Last segment that another row shares too.
    pub shared: Option<u32>,
    /// Conversation, numbered by first appearance, and turn.
    pub session: Option<(u32, u16)>,
    /// Place of its LoRA adapter in the trace's names, from 1; 0 for none.
    pub adapter: u16,
}

impl Trace {
    /// Reads a trace, gzip or plain; `format: None` recognises it.
    pub fn parse(bytes: &[u8], format: Option<TraceFormat>) -> Result<Trace, Vec<Diagnostic>> {
        let refuse = |message: String| vec![Diagnostic::error(PATH, message, "")];
        let unpacked;
        let text = if gzip::is_gzip(bytes) {
            unpacked = gzip::unpack(bytes).map_err(refuse)?;
            unpacked.as_slice()
        } else {
            bytes
        };
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let format = match format {
            Some(format) => format,
            None => detect(text).map_err(|(message, hint)| vec![Diagnostic::error(PATH, message, hint)])?,
        };
        let mut raw = Raw::default();
        match format {
            TraceFormat::MooncakeJsonl => jsonl::read(text, &mut raw),
            TraceFormat::AzureCsv => table::read(text, &table::AZURE, &mut raw),
            TraceFormat::PlainCsv => table::read(text, &table::PLAIN, &mut raw),
        }
        raw.finish(format)
    }

    pub fn format(&self) -> TraceFormat {
        self.format
    }

    /// Number of requests, at least 1.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never true of a trace that was read.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Time of the last request.
    pub fn duration(&self) -> Time {
        self.rows.last().map_or(Time::ZERO, |row| row.time)
    }

    /// Names of the LoRA adapters that rows ask for, in order of the file; empty where the file does not say.
    pub fn adapters(&self) -> &[String] {
        &self.adapters
    }

    /// What had to be changed in reading.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Whether this format's time stamps stand for a span (3 s in Mooncake's recordings).
    pub fn coarse_by_nature(&self) -> bool {
        self.format == TraceFormat::MooncakeJsonl
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Number of segments that more than one row shares.
    pub(crate) fn segment_count(&self) -> u32 {
        self.contents.len()
    }

    /// The segments a row shares with others, from the start of its prompt.
    pub(crate) fn segments(&self, row: &Row) -> Box<[Segment]> {
        self.contents.chain(row.shared)
    }
}

/// Recognises a format from (unpacked) content, or says what it is instead and what to do.
pub fn detect(text: &[u8]) -> Result<TraceFormat, (String, String)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let known = "traces are Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens), Mooncake JSON lines (timestamp, input_length, output_length, \
                 hash_ids) or plain CSV (arrival_s,input_tokens,output_tokens)";
    if text.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(("the file is packed with zstd".to_owned(), "unpack it, or pack it with gzip".to_owned()));
    }
    let start =
        text.iter().position(|byte| !byte.is_ascii_whitespace()).ok_or_else(|| ("the file is empty".to_owned(), known.to_owned()))?;
    let text = &text[start..];
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(4096)]).to_lowercase();
    let has = |word: &str| line.contains(word);
    if line.starts_with('{') || line.starts_with('[') {
        let other = if has("\"chat_id\"") {
            "a Qwen-Bailian trace (seconds, blocks of 16 tokens)"
        } else if has("\"input_length\"") {
            return Ok(TraceFormat::MooncakeJsonl);
        } else if has("\"conversations\"") {
            "a ShareGPT or SGLang conversation file"
        } else if has("\"input_toks\"") || has("\"sub_requests\"") {
            "an LLMServingSim trace"
        } else if has("\"block_size\"") {
            "a session file of kv-cache-tester"
        } else {
            "JSON of an unknown kind"
        };
        return Err((format!("this looks like {other}, which is not read"), known.to_owned()));
    }
    if has("contexttokens") {
        return Ok(TraceFormat::AzureCsv);
    }
    if ["arrival_s", "arrived_at", "arrival_timestamp"].into_iter().any(has) {
        return Ok(TraceFormat::PlainCsv);
    }
    let other = if has("request tokens") {
        "a BurstGPT trace, which is not read: rename its columns to arrival_s, input_tokens and output_tokens"
    } else if has("num_prefill_tokens") {
        "a list of lengths without arrival times: add a column arrival_s"
    } else {
        "no trace that is known"
    };
    Err((format!("this looks like {other}"), known.to_owned()))
}

/// Rows as they come from a file, before they are put in order.
#[derive(Default)]
struct Raw {
    rows: Vec<Row>,
    tree: PrefixTree,
    sessions: u32,
    adapters: Vec<String>,
    /// Place in the names, from 1.
    adapter_places: std::collections::BTreeMap<String, u16>,
    errors: Vec<Diagnostic>,
    untold: u64,
    warnings: Vec<Diagnostic>,
    raised: u64,
}

impl Raw {
    /// An error at a line of the file, counted from 1.
    fn error(&mut self, line: u64, message: impl std::fmt::Display, hint: &str) {
        if self.errors.len() < TOLD_ERRORS {
            self.errors.push(Diagnostic::error(PATH, format!("line {line} of the trace: {message}"), hint));
        } else {
            self.untold += 1;
        }
    }

    /// A length from the file; one of zero counts as 1, and is counted.
    fn tokens(&mut self, value: u64) -> Result<u32, String> {
        match u32::try_from(value) {
            Ok(0) => {
                self.raised += 1;
                Ok(1)
            }
            Ok(tokens) if tokens <= MAX_TOKENS => Ok(tokens),
            _ => Err(format!("{value} tokens are more than {MAX_TOKENS}")),
        }
    }

    /// The place of an adapter's name, from 1; none has 0.
    fn adapter(&mut self, name: &str) -> Result<u16, String> {
        if name.is_empty() {
            return Ok(0);
        }
        if let Some(&place) = self.adapter_places.get(name) {
            return Ok(place);
        }
        let place = u16::try_from(self.adapters.len() + 1).map_err(|_| "the trace names more than 65535 adapters".to_owned())?;
        self.adapters.push(name.to_owned());
        self.adapter_places.insert(name.to_owned(), place);
        Ok(place)
    }

    fn finish(mut self, format: TraceFormat) -> Result<Trace, Vec<Diagnostic>> {
        if self.rows.is_empty() && self.errors.is_empty() {
            self.errors.push(Diagnostic::error(PATH, "the trace has no requests", ""));
        }
        if u32::try_from(self.rows.len()).is_err() {
            self.errors.push(Diagnostic::error(PATH, "the trace has more than 4294967295 requests", ""));
        }
        if self.untold > 0 {
            self.errors.push(Diagnostic::error(PATH, format!("{} more lines of the trace have errors", self.untold), ""));
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        if self.raised > 0 {
            self.warnings.push(Diagnostic::warning(PATH, format!("{} lengths of 0 tokens were taken as 1", self.raised), ""));
        }
        let (contents, shared_of_node) = self.tree.share();
        for row in &mut self.rows {
            row.shared = row.shared.and_then(|node| shared_of_node[node as usize]);
        }
        if !self.rows.is_sorted_by_key(|row| row.time) {
            self.warnings.push(Diagnostic::warning(PATH, "the rows were not in order of time and have been sorted", ""));
            crate::order::sort_by_key(&mut self.rows, |row| row.time);
        }
        let mut turns = vec![0u16; self.sessions as usize];
        for row in &mut self.rows {
            if let Some((session, turn)) = &mut row.session {
                let next = &mut turns[*session as usize];
                *turn = *next;
                *next = next.saturating_add(1);
            }
        }
        Ok(Trace { format, rows: self.rows, contents, sessions: self.sessions, adapters: self.adapters, warnings: self.warnings })
    }
}

impl Trace {
    /// Number of conversations named by the file.
    pub fn sessions(&self) -> u32 {
        self.sessions
    }
}
