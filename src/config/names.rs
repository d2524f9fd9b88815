//! Names a user may have meant: near ones for a misspelling, and the usual spellings of names that have several.

/// The candidates nearest to `word`, nearest first, at most three; none when all are far.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = squash(word);
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    let distance_to = |candidate: &&'a str| {
        let squashed = squash(candidate);
        // A word that is part of the other, such as `max_seqs_num` or `gpu_memory`, is nearer than its letters say.
        let part = wanted.len() >= 4 && (squashed.contains(&wanted) || (squashed.len() >= 4 && wanted.contains(&squashed)));
        let letters = distance(&wanted, &squashed);
        if part { letters.min(allowed) } else { letters }
    };
    let mut near: Vec<(usize, &str)> =
        candidates.map(|candidate| (distance_to(&candidate), candidate)).filter(|(distance, _)| *distance <= allowed).collect();
    crate::order::sort_by(&mut near, Ord::cmp);
    near.truncate(3);
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// `Did you mean …?`, or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    match nearest(word, candidates).as_slice() {
        [] => None,
        [one] => Some(format!("did you mean `{one}`?")),
        [first @ .., last] => Some(format!("did you mean `{}` or `{last}`?", first.join("`, `"))),
    }
}

/// The one of `values` that `word` spells, letter case and `-`, `_`, `.`, blanks aside, or by one of its other names.
pub fn spelling<'a>(word: &str, values: &[&'a str]) -> Option<&'a str> {
    if let Some(exact) = values.iter().find(|value| **value == word) {
        return Some(exact);
    }
    let squashed = squash(word);
    let canonical = OTHER_NAMES.iter().find(|(other, _)| *other == squashed).map_or(squashed.as_str(), |(_, name)| name);
    values.iter().find(|value| squash(value) == canonical).copied()
}

/// Other names of values, both squashed. The early plan of the project wrote Dynamo with an `a`.
const OTHER_NAMES: [(&str, &str); 16] = [
    ("tensorrtllm", "trtllm"),
    ("tensorrt", "trtllm"),
    ("trt", "trtllm"),
    ("dynama", "dynamo"),
    ("nvidiadynamo", "dynamo"),
    ("bfloat16", "bf16"),
    ("float16", "fp16"),
    ("half", "fp16"),
    ("fp8e4m3", "fp8"),
    ("tensorparallel", "tp"),
    ("pipelineparallel", "pp"),
    ("azure", "azurecsv"),
    ("mooncake", "mooncakejsonl"),
    ("csv", "plaincsv"),
    ("poisson", "exponential"),
    ("gaussian", "normal"),
];

fn squash(word: &str) -> String {
    word.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Letters to insert, delete, replace or swap with a neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(letter != other);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let keys = ["max_num_seqs", "max_num_batched_tokens", "block_size", "gpu_memory_utilization"];
        assert_eq!(nearest("max_num_seq", keys.into_iter()), ["max_num_seqs"]);
        assert_eq!(nearest("maxNumSeqs", keys.into_iter()), ["max_num_seqs"]);
        assert_eq!(nearest("blokc_size", keys.into_iter()), ["block_size"]);
        assert_eq!(nearest("gpu_memory", keys.into_iter()), ["gpu_memory_utilization"]);
        assert!(nearest("colour", keys.into_iter()).is_empty());
    }

    #[test]
    fn usual_spellings_are_understood() {
        let kinds = ["VLLM", "ParallelVLLM", "SGLANG", "TRTLLM", "DYNAMO"];
        for (word, kind) in [("vllm", "VLLM"), ("vLLM", "VLLM"), ("TensorRT-LLM", "TRTLLM"), ("trt_llm", "TRTLLM"), ("Dynama", "DYNAMO")] {
            assert_eq!(spelling(word, &kinds), Some(kind));
        }
        assert_eq!(spelling("parallel-vllm", &kinds), Some("ParallelVLLM"));
        assert_eq!(spelling("vllmx", &kinds), None);
        assert_eq!(spelling("TP-PP", &["None", "TP", "PP", "TP_PP"]), Some("TP_PP"));
    }
}
