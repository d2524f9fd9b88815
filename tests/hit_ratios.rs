//! Prefix caches of a given size on recorded traffic: hit ratios that other programs found, and published ones.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;

use llmperforacle::config::schema::{TraceReplay, Workload};
use llmperforacle::kv::{HashChain, KvCache, RadixCache};
use llmperforacle::units::Time;
use llmperforacle::workload::{Request, SourceSpec, Trace, source};

/// Mooncake's blocks, tokens.
const BLOCK: u64 = 512;

fn requests(name: &str) -> Vec<Request> {
    let bytes = std::fs::read(format!("{}/tests/fixtures/traces/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let trace = Some(Arc::new(Trace::parse(&bytes, None).unwrap()));
    let workload = Workload { trace: Some(TraceReplay { path: name.to_owned(), ..TraceReplay::default() }), ..Workload::default() };
    let mut source =
        source(&SourceSpec { workload, seed: 3, trace, upload: None, api_time: Time::ZERO, api_time_per_token: Time::ZERO }).unwrap();
    std::iter::from_fn(|| source.take()).collect()
}

/// Share of prompt tokens found, one request after the other, prompts only.
fn hit_ratio(requests: &[Request], cache: &mut dyn KvCache) -> f64 {
    let (mut found, mut all) = (0, 0);
    for request in requests {
        let tokens = u64::from(request.input_tokens);
        cache.open(0, request);
        let hit = cache.lookup(0, tokens);
        cache.acquire(0, hit.tokens);
        cache.prepare((tokens - hit.tokens).div_ceil(cache.block_size().into()));
        assert!(cache.grow(0, hit.tokens, tokens), "a prompt is larger than the cache");
        cache.computed(0, tokens, true);
        cache.read(0);
        cache.end(0, tokens, request);
        found += hit.tokens;
        all += tokens;
    }
    found as f64 / all as f64
}

/// Computed from the traces' hashes block by block with another program (least recently used, leaves first), in percent, by
/// capacity in tokens.
const CONVERSATION: [(u64, f64); 5] = [(300_000, 4.3), (1_000_000, 5.4), (3_000_000, 13.9), (10_000_000, 29.1), (30_000_000, 36.6)];
const SYNTHETIC: [(u64, f64); 5] = [(300_000, 5.5), (1_000_000, 14.5), (3_000_000, 31.5), (10_000_000, 57.7), (30_000_000, 65.1)];

#[test]
fn hit_ratios_of_the_mooncake_traces_by_cache_size() {
    for (name, expected) in [("mooncake_conversation.compact.csv.gz", CONVERSATION), ("mooncake_synthetic.compact.csv.gz", SYNTHETIC)] {
        let requests = requests(name);
        let mut last = 0.0;
        for (tokens, expected) in expected {
            let found = 100.0 * hit_ratio(&requests, &mut HashChain::new(tokens / BLOCK, BLOCK as u32, true));
            let radix = 100.0 * hit_ratio(&requests, &mut RadixCache::new(tokens, 1, true));
            let says = format!("{name}, {tokens} tokens, of which another program says {expected} %");
            assert!((radix - expected).abs() < 1.0, "{says}: {radix:.2} % in the radix tree");
            // The other program keeps blocks that are not full, the chain does not: it has room for a few more of the others.
            assert!((found - expected).abs() < 1.2, "{says}: {found:.2} % in the chain");
            assert!(found >= last, "a larger cache finds less");
            last = found;
        }
    }
}

/// Qin et al., Mooncake, FAST 2025, table 2: 40 % and 66 % of the traces' blocks can be found. That may count answers too.
#[test]
fn endless_caches_find_what_was_published() {
    for (name, published, ours) in [("mooncake_conversation.compact.csv.gz", 40.0, 37.4), ("mooncake_synthetic.compact.csv.gz", 66.0, 65.1)]
    {
        let requests = requests(name);
        let chain = 100.0 * hit_ratio(&requests, &mut HashChain::new(1 << 20, BLOCK as u32, true));
        assert!((chain - ours).abs() < 0.1, "{name}: {chain:.2} %, another program says {ours} %");
        assert!(chain < published && published - chain < 3.0, "{name}: {chain:.2} %, published {published} %");
        // SGLang's radix tree finds the same texts, and the tokens of blocks that are not full.
        let radix = 100.0 * hit_ratio(&requests, &mut RadixCache::new(1 << 29, 1, true));
        assert!(radix >= chain && radix - chain < 1.0, "{name}: {radix:.2} % in the radix tree, {chain:.2} % in the chain");
    }
}
