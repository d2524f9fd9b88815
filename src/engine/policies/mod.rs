//! The scheduling rules of the frameworks, a file each.

pub mod trtllm;
pub mod vllm;
