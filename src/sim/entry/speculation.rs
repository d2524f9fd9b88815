//! Speculative decoding of an entry: what drafts, what that costs in time and memory, and how many tokens are accepted.

use super::Parts;
use crate::catalog::{Catalog, Model};
use crate::config::Diagnostic;
use crate::config::schema::SpeculativeMethod;

/// Drafting, looked up.
#[derive(Clone, Debug)]
pub(super) struct Drafting {
    /// Probability of acceptance of each drafted token.
    pub(super) acceptance: Vec<f64>,
    /// What drafts on the GPU; none for a lookup in the text.
    pub(super) drafter: Option<Model>,
    /// The drafter uses the model's own embedding and LM head.
    pub(super) shares_embedding: bool,
}

impl Drafting {
    pub(super) fn tokens(&self) -> u32 {
        self.acceptance.len() as u32
    }

    /// What the entry says of speculative decoding, if anything.
    pub(super) fn of(parts: &Parts<'_>, catalog: &Catalog) -> Result<Option<Drafting>, Diagnostic> {
        let Some(own) = &parts.config.speculative else { return Ok(None) };
        let Some(acceptance) = own.probabilities() else {
            let hint = "give either `acceptance` or `acceptance_rate`";
            return Err(Diagnostic::error(parts.at("speculative"), "how many drafted tokens are accepted is not said", hint));
        };
        let drafter = match (own.method, &own.draft_model) {
            (SpeculativeMethod::Ngram, _) => None,
            (SpeculativeMethod::Eagle, _) => Some(one_dense_layer(&parts.model)),
            (SpeculativeMethod::Mtp, _) => Some(Model { layers: 1, moe: last_layer_experts(&parts.model), ..parts.model.clone() }),
            (SpeculativeMethod::DraftModel, Some(name)) => Some(catalog.model(name).cloned().map_err(|unknown| {
                let at = parts.at("speculative.draft_model");
                Diagnostic::error(at, format!("Unknown model profile: {name} ({unknown})"), "see `llmperforacle list models`")
            })?),
            (SpeculativeMethod::DraftModel, None) => {
                return Err(Diagnostic::error(parts.at("speculative"), "names no draft_model", "name a small model of the catalog"));
            }
        };
        Ok(Some(Drafting { acceptance, drafter, shares_embedding: own.method != SpeculativeMethod::DraftModel }))
    }
}

/// EAGLE's head: one layer as wide as the model's, without experts. (The product that joins token and hidden state is left out: a
/// sixteenth of such a layer or less.)
fn one_dense_layer(model: &Model) -> Model {
    let of_experts = model.moe.map_or(0, |moe| moe.expert_intermediate_size * moe.experts_per_token);
    Model { layers: 1, moe: None, intermediate_size: model.intermediate_size.max(of_experts), ..model.clone() }
}

/// A layer for a further token is built like the model's last ones: with experts, where there are any.
fn last_layer_experts(model: &Model) -> Option<crate::catalog::MixtureOfExperts> {
    model.moe.map(|moe| crate::catalog::MixtureOfExperts { dense_layers: 0, ..moe })
}
