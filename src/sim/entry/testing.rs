//! What the tests of an entry's defaults share.

use crate::config;
use crate::sim::{self, NoFiles};

/// Tokens of a step and most running requests, of the first replica that a document plans.
pub(super) fn limits(text: &str) -> (u32, u32) {
    let read = config::read(text, "");
    let document = read.document.unwrap_or_else(|| panic!("{:#?}", read.diagnostics));
    let plan = sim::plan(&document, &NoFiles).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let limits = plan.runs[0].replicas[0].limits();
    (limits.max_num_batched_tokens, limits.max_num_seqs)
}
