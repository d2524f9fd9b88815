//! Which batches are replayed as CUDA graphs, and to which size they are padded.
//!
//! vLLM captures sizes 1, 2, 4, 8 ... 248 by 8, 256 ... by 16 up to min(2 * max_num_seqs, 512) and pads decode-only and mixed batches alike;
//! SGLang captures decode batches of 1, 2, 4, 8 ... 256 by 8, 272 ... 496 by 16, 512 ... by 32; TensorRT-LLM captures decode batches of 1 to 32, 64
//! and 128 and does not pad, so that other sizes are launched from the host, or, when it pads, of 1, 2, 4, 8 ... 128 by 8; either way powers of
//! two beyond, and its largest batch.

use crate::catalog::Engine;

/// How a step is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Rows computed: those of the batch and those that pad it.
    pub rows: u32,
    /// Replayed from a graph; else launched kernel by kernel from the host.
    pub captured: bool,
}

/// The captured sizes of one engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graphs {
    /// Captured sizes, rising; empty without graphs.
    sizes: Vec<u32>,
    /// A batch may be padded up to the next size.
    pads: bool,
    /// Batches with prefill are captured too.
    mixed: bool,
}

impl Graphs {
    /// No graphs at all (`--enforce-eager`).
    pub fn none() -> Graphs {
        Graphs::default()
    }

    /// What the engine captures, up to `max_tokens` rows.
    pub fn of(engine: Engine, max_tokens: u32) -> Graphs {
        let all: Vec<u32> = match engine {
            Engine::Vllm => [1, 2, 4].into_iter().chain((8..256).step_by(8)).chain((256..=max_tokens.max(256)).step_by(16)).collect(),
            Engine::Sglang => {
                let large = (512..=max_tokens.max(512)).step_by(32);
                [1, 2, 4].into_iter().chain((8..=256).step_by(8)).chain((272..512).step_by(16)).chain(large).collect()
            }
            Engine::Trtllm => return Graphs::trtllm(max_tokens, false),
        };
        let mut sizes: Vec<u32> = all.into_iter().filter(|size| *size <= max_tokens).collect();
        if sizes.last().is_some_and(|last| *last < max_tokens) {
            sizes.push(max_tokens);
        }
        Graphs { sizes, pads: true, mixed: engine == Engine::Vllm }
    }

    /// What TensorRT-LLM captures, for batches that only generate, up to `max_batch` of them.
    pub fn trtllm(max_batch: u32, pads: bool) -> Graphs {
        let small: Vec<u32> =
            if pads { [1, 2, 4].into_iter().chain((8..=128).step_by(8)).collect() } else { (1..=32).chain([64, 128]).collect() };
        let powers = (8..32).map(|power| 1 << power);
        let mut sizes: Vec<u32> = small.into_iter().chain(powers).filter(|size| *size <= max_batch).collect();
        if sizes.last().is_some_and(|last| *last < max_batch) {
            sizes.push(max_batch);
        }
        Graphs { sizes, pads, mixed: false }
    }

    /// What vLLM captures up to `max_tokens` rows: above 256 every `step` rows, with batches of prompts or without.
    pub fn vllm(max_tokens: u32, step: u32, mixed: bool) -> Graphs {
        let sizes = [1, 2, 4].into_iter().chain((8..256).step_by(8)).chain((256..=max_tokens.max(256)).step_by(step.max(1) as usize));
        let mut sizes: Vec<u32> = sizes.filter(|size| *size <= max_tokens).collect();
        if sizes.last().is_some_and(|last| *last < max_tokens) {
            sizes.push(max_tokens);
        }
        Graphs { sizes, pads: true, mixed }
    }

    /// How a batch of `tokens` rows is launched.
    #[inline]
    pub fn launch(&self, tokens: u32, decode_only: bool) -> Launch {
        let eager = Launch { rows: tokens, captured: false };
        if !decode_only && !self.mixed {
            return eager;
        }
        let next = self.sizes.partition_point(|size| *size < tokens);
        match self.sizes.get(next) {
            Some(size) if *size == tokens || self.pads => Launch { rows: *size, captured: true },
            _ => eager,
        }
    }

    /// How many sizes are captured.
    pub fn count(&self) -> u32 {
        self.sizes.len() as u32
    }

    /// Largest captured size; 0 without graphs.
    pub fn largest(&self) -> u32 {
        self.sizes.last().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vllm_pads_to_the_next_captured_size() {
        let graphs = Graphs::of(Engine::Vllm, 512);
        let rows = |tokens| graphs.launch(tokens, true).rows;
        assert_eq!([1, 2, 3, 5, 8, 9, 248, 249, 257, 512].map(rows), [1, 2, 4, 8, 8, 16, 248, 256, 272, 512]);
        assert_eq!(graphs.launch(513, true), Launch { rows: 513, captured: false });
        assert_eq!(graphs.launch(100, false), Launch { rows: 104, captured: true });
        // 1, 2, 4, thirty-one multiples of 8, seventeen multiples of 16 from 256: the sizes vLLM prints.
        assert_eq!(graphs.count(), 51);
    }

    #[test]
    fn tensorrt_llm_replays_exact_sizes_only() {
        let graphs = Graphs::of(Engine::Trtllm, 128);
        assert!(graphs.launch(31, true).captured && graphs.launch(64, true).captured);
        assert_eq!(graphs.launch(33, true), Launch { rows: 33, captured: false });
        assert!(!graphs.launch(16, false).captured);
    }

    #[test]
    fn tensorrt_llm_pads_when_asked_to() {
        let graphs = Graphs::trtllm(640, true);
        let rows = |tokens| graphs.launch(tokens, true).rows;
        assert_eq!([3, 33, 65, 129, 257, 513, 640].map(rows), [4, 40, 72, 256, 512, 640, 640]);
        assert!(graphs.launch(640, true).captured && !graphs.launch(641, true).captured && !graphs.launch(4, false).captured);
        assert_eq!(Graphs::trtllm(100, false).largest(), 100);
    }

    #[test]
    fn sglang_captures_decodes_only() {
        let graphs = Graphs::of(Engine::Sglang, 160);
        assert_eq!(graphs.launch(153, true), Launch { rows: 160, captured: true });
        assert_eq!(graphs.launch(153, false), Launch { rows: 153, captured: false });
        assert_eq!(graphs.launch(161, true), Launch { rows: 161, captured: false });
    }
}
