//! Where the memory of a GPU goes, for a terminal: a bar and its parts for each entry.

use std::fmt::Write;

use crate::metrics::ReplicaInfo;

const GIB: f64 = (1_u64 << 30) as f64;
/// Characters of a bar.
const WIDTH: f64 = 60.0;

/// The memory of one GPU of each entry; empty where nothing is known of it.
pub fn memory_text(replicas: &[ReplicaInfo]) -> String {
    let mut text = String::new();
    let mut told: Vec<&str> = Vec::new();
    for info in replicas {
        if told.contains(&info.entry.as_str()) || info.memory.total_bytes <= 0.0 {
            continue;
        }
        told.push(&info.entry);
        let m = &info.memory;
        let used = m.weights_bytes + m.activations_bytes + m.other_bytes + m.states_bytes + m.kv_bytes;
        let parts: Vec<_> = [
            ('W', "weights", m.weights_bytes),
            ('A', "activations", m.activations_bytes),
            ('G', "graphs", m.graphs_bytes),
            ('L', "libraries", m.libraries_bytes),
            ('S', "states", m.states_bytes),
            ('K', "KV", m.kv_bytes),
            ('.', "free", (m.total_bytes - used).max(0.0)),
        ]
        .into_iter()
        .filter(|(letter, _, bytes)| *letter != 'S' || *bytes > 0.0)
        .collect();
        let gpus = if info.gpus == 1 { String::new() } else { format!("each of {} x ", info.gpus) };
        // Writing to a string does not fail.
        let _ = writeln!(text, "Memory of {gpus}{}, {} with {} ({:.1} GiB)", info.device, info.entry, info.model, m.total_bytes / GIB);
        let (mut bar, mut sum) = (String::new(), 0.0);
        for (letter, _, bytes) in &parts {
            sum += bytes;
            let until = (sum / m.total_bytes * WIDTH + 0.5) as usize;
            while bar.len() < until.min(WIDTH as usize) {
                bar.push(*letter);
            }
        }
        let words: Vec<String> = parts.iter().map(|(letter, word, bytes)| format!("{letter} {word} {:.1}", bytes / GIB)).collect();
        let _ = writeln!(text, "  [{bar}]\n  {}", words.join(", "));
        let _ = writeln!(
            text,
            "  {} KV blocks of {} tokens: {} tokens",
            info.kv_blocks,
            info.block_tokens,
            info.kv_blocks * u64::from(info.block_tokens)
        );
    }
    text
}
