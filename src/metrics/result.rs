//! What a run leaves behind: columns, ready to be drawn, written or transferred.

use serde::Serialize;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum Status {
    /// Still waiting or running at the end of the simulation.
    Unfinished = 0,
    Success = 1,
    /// Can never fit: longer than the model's context, or than the whole KV pool.
    Rejected = 2,
}

/// One row a request, as columns of equal length, in order of arrival. Times in ps; `u64::MAX` where it never happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    pub id: Vec<u32>,
    pub profile: Vec<u16>,
    /// `u32::MAX` for none.
    pub session: Vec<u32>,
    pub turn: Vec<u16>,
    pub status: Vec<u8>,
    pub input_tokens: Vec<u32>,
    /// Declared output (`max_tokens`).
    pub max_tokens: Vec<u32>,
    /// Produced so far.
    pub output_tokens: Vec<u32>,
    pub sent_ps: Vec<u64>,
    pub arrival_ps: Vec<u64>,
    /// First scheduled.
    pub scheduled_ps: Vec<u64>,
    pub first_token_ps: Vec<u64>,
    pub finish_ps: Vec<u64>,
    /// Prompt tokens found in the prefix cache at first admission.
    pub cached_tokens: Vec<u32>,
    /// Tokens computed as prefill, recomputation included.
    pub prefilled_tokens: Vec<u64>,
    pub preemptions: Vec<u32>,
    /// Index of the replica that served it.
    pub replica: Vec<u16>,
}

/// Time series on bins of equal width, from time 0. Gauges are samples at the *end* of each bin; counters are sums over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub bin_ps: u64,
    /// Sequences running, of all replicas.
    pub running: Vec<u32>,
    pub waiting: Vec<u32>,
    /// KV blocks in use (referenced; cached blocks that could be evicted are not counted).
    pub kv_blocks_used: Vec<u64>,
    pub arrivals: Vec<u32>,
    pub finished: Vec<u32>,
    pub output_tokens: Vec<u64>,
    /// Prompt tokens computed.
    pub prefill_tokens: Vec<u64>,
    pub preemptions: Vec<u32>,
}

/// Everything one entry of `frameworks_to_test` (or the shared group of them) leaves behind.
#[derive(Clone, Debug, Default)]
pub struct RunResult {
    pub name: String,
    /// The summary document: the original project's keys first, in its order, ours after (see report::summary).
    pub summary: serde_json::Value,
    pub requests: Requests,
    pub series: Series,
    /// KV blocks of all replicas.
    pub kv_blocks_total: u64,
    /// End of the simulation, ps.
    pub end_ps: u64,
}
