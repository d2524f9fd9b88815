//! Speculative decoding, the same for every engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Speculative decoding: something cheap drafts tokens, the model verifies them in one step. Give `acceptance` or `acceptance_rate`:
/// how often drafts are right depends on the model and the text, and nothing can be assumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeculativeConfig {
    /// What drafts: a lookup in the text (`ngram`), a small model (`draft_model`), one extra layer over the model's hidden states
    /// (`eagle`), or the model's own layers for further tokens (`mtp`).
    pub method: SpeculativeMethod,
    /// Tokens drafted in a step.
    #[schemars(range(min = 1, max = 64))]
    pub num_speculative_tokens: u32,
    /// Probability that the first drafted token is accepted, the second one when the first was, and so on: one for each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub acceptance: Option<Vec<f64>>,
    /// The same probability for every drafted token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub acceptance_rate: Option<f64>,
    /// `draft_model`: the small model, of the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_model: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpeculativeMethod {
    Ngram,
    DraftModel,
    Eagle,
    Mtp,
}

impl SpeculativeConfig {
    /// A probability for each drafted token; `None` when the document does not say.
    pub fn probabilities(&self) -> Option<Vec<f64>> {
        match (&self.acceptance, self.acceptance_rate) {
            (Some(each), None) => Some(each.clone()),
            (None, Some(rate)) => Some(vec![rate; self.num_speculative_tokens as usize]),
            _ => None,
        }
    }
}
