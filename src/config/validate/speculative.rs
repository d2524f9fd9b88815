//! Options of speculative decoding against each other.

use super::super::node::join_key;
use super::super::schema::{FrameworkConfig, SpeculativeMethod};
use super::Findings;

pub(super) fn speculative(config: &FrameworkConfig, config_path: &str, findings: &mut Findings) {
    let Some(own) = &config.speculative else { return };
    let path = join_key(config_path, "speculative");
    match (&own.acceptance, own.acceptance_rate) {
        (Some(_), Some(_)) => {
            findings.error(join_key(&path, "acceptance_rate"), "`acceptance` and `acceptance_rate` say the same", "keep one of them");
        }
        (None, None) => {
            let hint = "say `acceptance_rate: 0.7`, or `acceptance` with one probability for each drafted token";
            findings.error(&path, "how many drafted tokens are accepted is not said", hint);
        }
        (Some(each), None) if each.len() != own.num_speculative_tokens as usize => {
            let message = format!("`acceptance` has {} probabilities for {} drafted tokens", each.len(), own.num_speculative_tokens);
            findings.error(join_key(&path, "acceptance"), message, "give one for each token");
        }
        _ => {}
    }
    match (own.method, &own.draft_model) {
        (SpeculativeMethod::DraftModel, None) => {
            findings.error(&path, "`method: draft_model` names no `draft_model`", "name a small model of the catalog");
        }
        (SpeculativeMethod::DraftModel, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let message = "`draft_model` has no meaning with this method";
            findings.error(join_key(&path, "draft_model"), message, "take it out, or say `method: draft_model`");
        }
    }
}
