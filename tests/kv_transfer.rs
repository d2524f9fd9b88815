//! KV transfers against published times: one request at a time between two nodes of eight GPUs, each with its own 200 Gb/s card.
//!
//! vLLM: Qwen3-8B on H800 (kvcache-ai/Mooncake, docs/source/performance/vllm/vllm-v1-pd-performance.md at 3b5a594). SGLang: Qwen3-235B-A22B on
//! H20 (docs/source/performance/sglang/sglang-benchmark-results-v1.md there). The first and the last row of each fitted the two constants of
//! its connector; the seven between are the check.

use llmperforacle::catalog::builtin;
use llmperforacle::cluster::network::{Connector, Fabric, FabricSpec, KvRoute, KvShape, Transfers, kv_transfer, pieces};
use llmperforacle::units::Time;

/// Tokens, stated bytes (MiB for vLLM, MB for SGLang), measured ms.
const VLLM: [(u64, f64, f64); 9] = [
    (128, 20.0, 0.54),
    (256, 38.0, 0.61),
    (512, 74.0, 0.92),
    (1024, 146.0, 1.50),
    (2048, 290.0, 2.51),
    (4096, 578.0, 4.75),
    (8192, 1157.0, 8.84),
    (16384, 2304.0, 16.43),
    (32768, 4608.0, 31.65),
];
const SGLANG: [(u64, f64, f64); 9] = [
    (128, 49.0, 2.07),
    (256, 99.0, 2.58),
    (512, 197.0, 2.98),
    (1024, 394.0, 3.96),
    (2048, 789.0, 6.43),
    (4096, 1580.0, 10.95),
    (8192, 3150.0, 20.31),
    (16384, 6310.0, 39.14),
    (32768, 12620.0, 76.78),
];

fn two_nodes() -> Fabric {
    Fabric::new(FabricSpec {
        nodes: 2,
        gpus_per_node: 8,
        port: 200_000_000_000,
        port_is_pcie: false,
        nics_per_node: 8,
        nic: 25_000_000_000,
        rail_optimised: true,
        nodes_per_leaf: 32,
        oversubscription: 1.0,
        port_latency: Time::from_us(4.4),
        leaf_latency: Time::from_us(3.0),
        spine_latency: Time::from_us(1.0),
    })
}

fn route(model: &str, connector: Connector, block: u32) -> KvRoute {
    let model = builtin().model(model).expect("in the catalog");
    KvRoute::new(connector, KvShape::new(model, 2.0), 8, 8, block)
}

fn alone(fabric: Fabric, route: &KvRoute, tokens: u64, from: u32, to: u32) -> Time {
    let mut transfers = Transfers::new(fabric);
    transfers.start(Time::ZERO, 0, route, tokens, from, to);
    let mut done = Vec::new();
    loop {
        let now = transfers.next();
        transfers.process(now, &mut done);
        if !done.is_empty() {
            return now;
        }
    }
}

fn check(route: &KvRoute, rows: &[(u64, f64, f64)], unit: f64) {
    for &(prompt, stated, measured_ms) in rows {
        let tokens = kv_transfer::tokens_moved(prompt, route.block);
        let bytes = route.bytes(tokens) as f64 / unit;
        assert!((bytes / stated - 1.0).abs() < 0.02, "{prompt} tokens: {bytes} for {stated}");
        let took = alone(two_nodes(), route, tokens, 0, 8).as_ms();
        let error = took / measured_ms - 1.0;
        println!("{prompt:6} tokens: measured {measured_ms:6.2} ms, here {took:6.2} ms ({:+.1} %)", 100.0 * error);
        assert!(error.abs() < 0.10, "{prompt} tokens: {took} ms for {measured_ms} ms");
    }
}

#[test]
fn mooncake_under_vllm() {
    check(&route("Qwen3-8B", Connector::VLLM_MOONCAKE, 16), &VLLM, f64::from(1 << 20));
}

/// Four KV heads on eight ranks: every head moves twice, as the published bytes do.
#[test]
fn mooncake_under_sglang() {
    check(&route("Qwen3-235B-A22B", Connector::SGLANG_MOONCAKE, 1), &SGLANG, 1e6);
}

/// 7,500 tokens of Llama-3.1-8B from one H100 to another by NVLink: 20 ms in blocks of 16 tokens, 8 ms in blocks of 128 (LMCache blog,
/// 2025-04-11). Both fitted the constants of a node, so this checks the arithmetic only.
#[test]
fn small_blocks_cost_descriptors() {
    let node = Fabric::new(FabricSpec { nodes: 1, port: 450_000_000_000, ..spec_of_a_node() });
    let model = builtin().model("Llama-3.1-8B").expect("in the catalog");
    for (block, measured_ms) in [(16, 20.0), (128, 8.0)] {
        let route = KvRoute::new(Connector::NIXL, KvShape::new(model, 2.0), 1, 1, block);
        let took = alone(node.clone(), &route, kv_transfer::tokens_moved(7500, block), 0, 1).as_ms();
        assert!((took / measured_ms - 1.0).abs() < 0.1, "{took} ms for {measured_ms} ms");
    }
}

fn spec_of_a_node() -> FabricSpec {
    FabricSpec {
        nodes: 1,
        gpus_per_node: 8,
        port: 1,
        port_is_pcie: false,
        nics_per_node: 8,
        nic: 1,
        rail_optimised: true,
        nodes_per_leaf: 1,
        oversubscription: 1.0,
        port_latency: Time::from_us(4.4),
        leaf_latency: Time::ZERO,
        spine_latency: Time::ZERO,
    }
}

/// Every decode rank gets each of its heads exactly once, from a rank that has it, whatever the sizes of the two groups; and copies share the
/// work evenly.
#[test]
fn heads_find_their_ranks() {
    for heads in [1_u32, 2, 4, 8, 16, 128] {
        for prefill in [1_u32, 2, 4, 8, 16] {
            for decode in [1_u32, 2, 4, 8, 16] {
                let pieces = pieces(heads, prefill, decode);
                let wanted = heads.max(decode) / decode;
                for rank in 0..decode {
                    let got: u32 = pieces.iter().filter(|piece| piece.to == rank).map(|piece| piece.heads).sum();
                    assert_eq!(got, wanted, "{heads} heads from {prefill} to {decode} ranks");
                }
                assert!(pieces.iter().all(|piece| piece.from < prefill && piece.to < decode));
                let sent = |rank: u32| pieces.iter().filter(|piece| piece.from == rank).map(|piece| piece.heads).sum::<u32>();
                let used = (0..prefill).map(sent).filter(|&sent| sent > 0).collect::<Vec<_>>();
                assert!(used.iter().all(|&sent| sent == used[0]), "{used:?}: {heads} heads from {prefill} to {decode} ranks");
            }
        }
    }
    // Equal groups go rank to rank.
    assert!(pieces(8, 8, 8).iter().all(|piece| piece.from == piece.to && piece.heads == 1));
    assert!(pieces(4, 8, 8).iter().all(|piece| piece.from == piece.to && piece.heads == 1));
}

/// Two transfers out of one node at once take as long as one of twice the bytes, but for what is fixed.
#[test]
fn transfers_share_cards() {
    let route = route("Qwen3-8B", Connector::VLLM_MOONCAKE, 16);
    let lone = alone(two_nodes(), &route, 16_384, 0, 8);
    let mut transfers = Transfers::new(two_nodes());
    transfers.start(Time::ZERO, 0, &route, 16_384, 0, 8);
    transfers.start(Time::ZERO, 1, &route, 16_384, 0, 8);
    let mut done = Vec::new();
    let mut end = Time::ZERO;
    while transfers.next() != Time::NEVER {
        end = transfers.next();
        transfers.process(end, &mut done);
    }
    assert_eq!(done.len(), 2);
    let fixed = Connector::VLLM_MOONCAKE.latency.as_ms();
    assert!(((end.as_ms() - fixed) / (lone.as_ms() - fixed) - 2.0).abs() < 0.01);
    // One that is given up leaves the links to the other.
    let mut transfers = Transfers::new(two_nodes());
    transfers.start(Time::ZERO, 0, &route, 16_384, 0, 8);
    transfers.start(Time::ZERO, 1, &route, 16_384, 0, 8);
    transfers.stop(Time::ZERO, 1);
    let mut done = Vec::new();
    while transfers.next() != Time::NEVER {
        end = transfers.next();
        transfers.process(end, &mut done);
    }
    assert_eq!((done, end), (vec![0], lone));
}
