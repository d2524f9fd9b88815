//! LoRA adapters: said once, with names of their own, and options for them only where requests ask for some.

use super::super::node::{join_index, join_key};
use super::super::schema::{Document, FrameworkConfig, LoraPopularity};
use super::Findings;

const PATH: &str = "workload.lora";

pub(super) fn lora(document: &Document, findings: &mut Findings) {
    let trace = document.workload.trace.is_some();
    match &document.workload.lora {
        None if trace => {} // Its rows may name adapters.
        None => options_without_adapters(document, findings),
        Some(own) => {
            if own.count.is_some() && own.adapters.is_some() {
                findings.error(join_key(PATH, "count"), "`count` and `adapters` both say which adapters there are", "keep one of them");
            }
            if own.count.is_none() && own.adapters.is_none() && !trace {
                findings.error(PATH, "which adapters there are is not said", "say `count: 8`, or list them in `adapters`");
            }
            let list = own.adapters.as_deref().unwrap_or_default();
            let at = join_key(PATH, "adapters");
            findings.unique(&at, "name", "adapter", list.iter().map(|adapter| adapter.name.as_str()));
            if own.zipf_exponent.is_some() && own.popularity != Some(LoraPopularity::Zipf) {
                let path = join_key(PATH, "zipf_exponent");
                findings.error(path, "`zipf_exponent` has no meaning without `popularity: zipf`", "say so, or take it out");
            }
            if let Some(place) = list.iter().position(|adapter| adapter.weight.is_some()).filter(|_| own.popularity.is_some()) {
                let message = "`weight` and `popularity` both say how often adapters are asked for";
                findings.error(join_key(&join_index(&at, place), "weight"), message, "keep one of the two");
            }
        }
    }
}

fn options_without_adapters(document: &Document, findings: &mut Findings) {
    let given = |config: &FrameworkConfig| {
        let vllm = config.vllm.clone().unwrap_or_default();
        let sglang = config.sglang.clone().unwrap_or_default();
        let trtllm = config.trtllm.clone().unwrap_or_default();
        let keys = [
            ("vllm.max_loras", vllm.max_loras.is_some()),
            ("vllm.max_cpu_loras", vllm.max_cpu_loras.is_some()),
            ("vllm.max_lora_rank", vllm.max_lora_rank.is_some()),
            ("sglang.max_loras_per_batch", sglang.max_loras_per_batch.is_some()),
            ("sglang.max_loaded_loras", sglang.max_loaded_loras.is_some()),
            ("sglang.lora_eviction_policy", sglang.lora_eviction_policy.is_some()),
            ("sglang.max_lora_rank", sglang.max_lora_rank.is_some()),
            ("trtllm.lora_config", trtllm.lora_config.is_some()),
            ("trtllm.peft_cache_config", trtllm.peft_cache_config.is_some()),
            ("lora_storage", config.lora_storage.is_some()),
        ];
        keys.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    };
    for (index, entry) in document.frameworks_to_test.iter().enumerate() {
        if let Some(key) = given(&entry.config) {
            let path = format!("{}.config.{key}", join_index("frameworks_to_test", index));
            findings.warning(path, "has no effect: no request asks for a LoRA adapter", "say which there are in `workload.lora`");
        }
    }
}
