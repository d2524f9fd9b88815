//! What the cost model refuses, and what to do about it.

/// A combination that cannot be modelled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CannotModel {
    #[error(
        "{model} has {heads} attention heads, which {tp} GPUs cannot share evenly; tensor parallel sizes that work: {}",
        list(possible)
    )]
    HeadsNotDivisible { model: String, heads: u32, tp: u32, possible: Vec<u32> },
    #[error(
        "tensor parallelism over {tp} GPUs leaves the {limit} that {link} joins on {device}: say `nodes:` in hardware_profile, or use at most {limit}"
    )]
    AcrossNodes { device: String, link: String, tp: u32, limit: u32 },
    #[error("{tp} GPUs that share each layer cannot be spread evenly over {nodes} nodes: use a multiple of {nodes}")]
    UnevenOverNodes { tp: u32, nodes: u32 },
    #[error("KV cannot be kept as {dtype}: use bf16 or fp8")]
    KvDtype { dtype: &'static str },
    #[error("{device} has no constants for {what}")]
    NoConstants { device: String, what: String },
    #[error("{model}: {}", faults.join("; "))]
    Model { model: String, faults: Vec<String> },
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
