//! The scheduling rules of the frameworks, a file each.

pub mod sglang;
pub mod trtllm;
pub mod vllm;
pub mod vllm_v0;
