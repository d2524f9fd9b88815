//! Mooncake's JSON lines: `{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, ...]}`.

use serde::Deserialize;

use super::{Raw, Row};
use crate::units::Time;

/// A hash id stands for this many tokens, the last one for the rest of the prompt.
const BLOCK_TOKENS: u32 = 512;

/// Keys beyond these are other tools' extensions and say nothing about what is simulated.
#[derive(Deserialize)]
struct Line {
    /// ms
    timestamp: Option<f64>,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<u64>,
    chat_id: Option<serde_json::Value>,
    /// Name of a LoRA adapter, or its number.
    #[serde(alias = "lora_id", alias = "adapter")]
    lora_name: Option<serde_json::Value>,
}

pub(super) fn read(text: &[u8], raw: &mut Raw) {
    for (i, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let number = i as u64 + 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => match row(line, raw) {
                Ok(row) => raw.rows.push(row),
                Err((message, hint)) => raw.error(number, message, hint),
            },
            Err(error) => {
                // serde counts the one line it sees.
                let message = error.to_string().replace(" at line 1 column", ", column");
                raw.error(number, message, "each line is an object with timestamp (ms), input_length, output_length and hash_ids");
            }
        }
    }
}

fn row(line: Line, raw: &mut Raw) -> Result<Row, (String, &'static str)> {
    if line.chat_id.is_some() {
        return Err(("a Qwen-Bailian row".to_owned(), "its times are in seconds and its blocks have 16 tokens; convert it to plain CSV"));
    }
    let Some(ms) = line.timestamp else {
        return Err(("timestamp is missing".to_owned(), "delays after a previous turn are not read; give each request its time"));
    };
    let time = Time::from_ms(ms);
    if ms < 0.0 || time == Time::NEVER {
        return Err((format!("timestamp {ms} is no time"), "times are milliseconds from the start, 0 or more"));
    }
    let input_tokens = raw.tokens(line.input_length).map_err(|message| (message, ""))?;
    let output_tokens = raw.tokens(line.output_length).map_err(|message| (message, ""))?;
    let hint = "Mooncake's hash ids stand for 512 tokens each";
    let shared = raw.tree.add(line.hash_ids, BLOCK_TOKENS, input_tokens).map_err(|message| (message, hint))?;
    let adapter = match &line.lora_name {
        None | Some(serde_json::Value::Null) => 0,
        Some(serde_json::Value::String(name)) => raw.adapter(name).map_err(|message| (message, ""))?,
        Some(number) => raw.adapter(&number.to_string()).map_err(|message| (message, ""))?,
    };
    Ok(Row { time, input_tokens, output_tokens, shared, session: None, adapter })
}
