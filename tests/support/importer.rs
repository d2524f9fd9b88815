//! What Perfetto's trace_processor makes of a trace in Chrome's JSON format, as far as it counts errors: its tokenizer
//! (`importers/json/json_trace_tokenizer.cc`), its parser (`json_trace_parser.cc`) and the stacks of slices on each track
//! (`common/slice_tracker.cc`), of August 2026. Written anew from those rules; what it does not know, it calls an error.

use std::collections::BTreeMap;

use serde_json::Value;

/// Slices that lie in one another at most (`kMaxDepth`).
const MAX_DEPTH: usize = 512;

/// A slice on a track; without an end while it is open.
struct Slice {
    name: String,
    start: i64,
    duration: Option<i64>,
}

/// The names of the errors that it would count, each with its event, in order of time.
pub fn import(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    // It tells the format by the first characters, white space left out.
    if !text.trim_start().starts_with("{\"") {
        errors.push("not taken for JSON".to_owned());
    }
    let trace: Value = match serde_json::from_str(text) {
        Ok(trace) => trace,
        Err(error) => return vec![format!("tokenizer: {error}")],
    };
    let Some(events) = trace["traceEvents"].as_array() else { return vec!["traceEvents is not an array".to_owned()] };
    let mut sorted = Vec::new();
    for event in events {
        let phase = event["ph"].as_str().and_then(|phase| phase.chars().next());
        match (phase, nanoseconds(&event["ts"])) {
            (None, _) | (Some(_), Err(())) => errors.push(format!("json_tokenizer_failure: {event}")),
            (Some('M'), Ok(at)) => sorted.push((at.unwrap_or(0), 'M', event)),
            (Some(_), Ok(None)) => errors.push(format!("json_tokenizer_failure: {event}")),
            (Some(_), Ok(Some(at))) if at < 0 => errors.push(format!("trace_sorter_negative_timestamp_dropped: {event}")),
            (Some(phase), Ok(Some(at))) => sorted.push((at, phase, event)),
        }
    }
    // The sorter keeps the order of events at the same time.
    sorted.sort_by_key(|(at, ..)| *at);

    let mut threads: BTreeMap<(u32, u32), Vec<Slice>> = BTreeMap::new();
    let mut asynchronous: BTreeMap<(String, String), Vec<Slice>> = BTreeMap::new();
    for (at, phase, event) in sorted {
        let mut count = |what: &str| errors.push(format!("{what}: {event}"));
        let number = |key: &str| event[key].as_u64().and_then(|number| u32::try_from(number).ok());
        let name = event["name"].as_str().unwrap_or_default().to_owned();
        match phase {
            'M' => {
                if event["args"]["name"].as_str().is_none_or(str::is_empty) {
                    count("json_parser_failure");
                }
            }
            'C' => {
                let values = event["args"].as_object().filter(|args| !args.is_empty());
                let counts = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
                if !values.is_some_and(|args| args.values().all(counts)) || number("pid").is_none() {
                    count("json_parser_failure");
                }
            }
            'X' => {
                let Ok(Some(duration)) = nanoseconds(&event["dur"]) else {
                    count("json_parser_failure");
                    continue;
                };
                if duration < 0 {
                    count("slice_negative_duration");
                    continue;
                }
                let Some(pid) = number("pid") else {
                    count("no process");
                    continue;
                };
                // Without a thread the process stands for it.
                let tid = number("tid").filter(|tid| *tid != 0).unwrap_or(pid);
                let stack = threads.entry((pid, tid)).or_default();
                if let Err(what) = close(stack, at, Some(duration)) {
                    count(what);
                    continue;
                }
                if stack.len() >= MAX_DEPTH {
                    count("slice_max_depth_exceeded");
                }
                stack.push(Slice { name, start: at, duration: Some(duration) });
            }
            'b' | 'e' => {
                if number("pid").is_none() || !(event["id"].is_string() || event["id"].is_u64()) {
                    count("json_parser_failure");
                    continue;
                }
                let stack = asynchronous.entry((event["cat"].to_string(), event["id"].to_string())).or_default();
                if let Err(what) = close(stack, at, None) {
                    count(what);
                }
                if phase == 'b' {
                    if stack.len() >= MAX_DEPTH {
                        count("slice_max_depth_exceeded");
                    }
                    stack.push(Slice { name, start: at, duration: None });
                    continue;
                }
                match stack.iter().rposition(|slice| slice.duration.is_none() && slice.name == name) {
                    // It passes over an end without a begin; we do not.
                    None => count("an end without a begin"),
                    Some(place) if place + 1 == stack.len() => drop(stack.pop()),
                    Some(place) => stack[place].duration = Some(at - stack[place].start),
                }
            }
            _ => count("a phase that we do not write"),
        }
        if event.get("bind_id").is_some() {
            count("a flow, which we do not write");
        }
    }
    for slice in asynchronous.values().flatten().filter(|slice| slice.duration.is_none()) {
        errors.push(format!("never ended: {}", slice.name));
    }
    errors
}

/// `CoerceToTs`: microseconds to whole nanoseconds, rounded. None where there is no value.
fn nanoseconds(value: &Value) -> Result<Option<i64>, ()> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(us), _) => Ok(Some(us * 1000)),
            (None, Some(us)) => Ok(Some((us * 1000.0).round() as i64)),
            (None, None) => Err(()),
        },
        Value::String(text) => nanoseconds(&serde_json::from_str(text).map_err(|_| ())?),
        _ => Err(()),
    }
}

/// `MaybeCloseStack`: takes slices off the stack that have ended when one begins, or ends (`duration` none).
fn close(stack: &mut Vec<Slice>, at: i64, duration: Option<i64>) -> Result<(), &'static str> {
    let mut open_inside = false;
    for place in (0..stack.len()).rev() {
        let Some(lasted) = stack[place].duration else {
            open_inside = true;
            continue;
        };
        let end = stack[place].start + lasted;
        if open_inside {
            if at > end {
                stack.truncate(place);
                return Err("misplaced_end_event");
            }
            continue;
        }
        let both_instants = lasted == 0 && duration == Some(0);
        if end < at || (end == at && !both_instants) {
            stack.pop();
        } else if duration.is_some_and(|duration| at + duration > end) {
            return Err("slice_spill_overlapping_complete_event");
        }
    }
    Ok(())
}
