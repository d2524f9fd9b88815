//! A moment of a run, against steps worked out by hand, and the same with and without the fast path.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::engine::{Doing, HoldRule};
use llmperforacle::sim::{Files, Inspection, Moment, NoMoment, RunPlan};
use llmperforacle::units::Time;
use llmperforacle::{config, report, sim};

/// The one file that a document can name: a trace.
struct OneFile(&'static str);

impl Files for OneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.into())
    }
}

fn planned(document: &str, trace: &'static str) -> RunPlan {
    let read = config::read(document, "document.yaml");
    let document = read.document.unwrap_or_else(|| panic!("{:#?}", read.diagnostics));
    sim::plan(&document, &OneFile(trace)).unwrap().runs.remove(0)
}

fn look(plan: &RunPlan, at: Time) -> Result<Moment, NoMoment> {
    let mut inspection = Inspection::new(plan, at).unwrap();
    while !inspection.advance(1000) {}
    inspection.moment()
}

/// Prefill pass 10 ms, decode pass 1 ms, a mixed pass takes both; budget 8192; every batch is formed when the one before has ended.
const BY_HAND: &str = "
simulation: {random_seed: 1}
hardware_profile: {node: H100-SXM}
workload: {trace: {path: trace.csv}}
frameworks_to_test:
- name: engine
  type: VLLM
  config:
    model_profile_id: Llama-3.1-8B
    max_num_batched_tokens: 8192
    async_scheduling: false
    timing: {fixed: {prefill_ms: 10, decode_ms: 1}}
";

const G1: &str = "TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.0000000,6144,3
2023-11-16 18:15:46.0000000,10240,2
2023-11-16 18:15:46.0000000,3072,2
";

/// Step 1, 0 to 10 ms: 6144 + 2048 of the second. Step 2, to 21 ms: a decode, 8191 more of the second; the third is left for
/// want of budget. Step 3, to 32 ms: a decode, the second's last token, the third's 3072.
#[test]
fn a_mixed_step_is_told_as_worked_out_by_hand() {
    let plan = planned(BY_HAND, G1);
    let moment = look(&plan, Time::from_ms(15.0)).unwrap();
    let [step] = &moment.replicas[0].steps[..] else { panic!("one step is under way") };
    assert_eq!((step.start, step.end), (Time::from_ms(10.0), Time::from_ms(21.0)));
    let told: Vec<_> = step.members.iter().map(|m| (m.request, m.doing, m.context, m.generated)).collect();
    let piece = Doing::Prefill { new: 8191, past: 2048, completes: false };
    assert_eq!(told, [(1, piece, 10239, 0), (0, Doing::Decode, 6145, 1)]);
    let held = step.held_back.unwrap();
    assert_eq!((held.request, held.rule, held.needed, held.available), (2, HoldRule::Budget, 3072, 0));
    assert_eq!((step.waiting, step.queue[0].request, step.queue[0].tokens), (1, 2, 3072));
    // 6145 tokens fill 385 blocks of 16, 10239 tokens 640.
    assert_eq!(step.kv_blocks_used, 385 + 640);

    // A step belongs to the instant at which it starts, not to that at which it ends.
    let at = |ms: f64| look(&plan, Time::from_ms(ms)).unwrap().replicas[0].steps[0].start;
    assert_eq!(at(10.0), Time::from_ms(10.0));
    assert_eq!(at(20.999), Time::from_ms(10.0));
    assert_eq!(at(21.0), Time::from_ms(21.0));
}

#[test]
fn before_and_after_there_is_nothing_to_see() {
    let plan = planned(BY_HAND, G1);
    // The last token comes out at 33 ms.
    let end = look(&plan, Time::from_ms(33.0)).unwrap();
    assert!(end.replicas[0].steps.is_empty());
    assert_eq!(end.replicas[0].last_end, Time::from_ms(33.0));
    assert_eq!(look(&plan, Time::from_ms(34.0)).unwrap_err(), NoMoment::AfterTheEnd { at_s: 0.034, end_s: 0.033 });
    let mut inspection = Inspection::new(&plan, Time::from_ms(33.0)).unwrap();
    assert_eq!(inspection.moment().unwrap_err(), NoMoment::NotThereYet);
}

/// The moment in the middle of a run of equal steps, worked out from the run, is the moment seen by taking the steps singly.
#[test]
fn the_fast_path_shows_the_same_moments() {
    for preset in ["chat-h100@1", "kv-pressure-a100@1"] {
        let text = config::find_preset(preset).unwrap().text;
        let mut plan = planned(text, "");
        for tenth in [1u64, 13, 58, 101, 147, 203, 290, 395] {
            let at = Time(tenth * 100_000_000_000 + 12_345);
            plan.fast_path = true;
            let fast = look(&plan, at).unwrap();
            plan.fast_path = false;
            let single = look(&plan, at).unwrap();
            for (fast, single) in fast.replicas.iter().zip(&single.replicas) {
                assert_eq!(fast.steps, single.steps, "{preset} at {at:?}");
            }
            assert_eq!(report::moment_text(&fast, None), report::moment_text(&single, None));
        }
    }
}

/// The parts add up to the duration, and the text names what the numbers say.
#[test]
fn the_cost_split_adds_up() {
    let plan = planned(config::find_preset("chat-h100@1").unwrap().text, "");
    let moment = look(&plan, Time::from_s(20.0)).unwrap();
    let step = &moment.replicas[0].steps[0];
    let p = step.parts;
    assert_eq!(p.gemm_ps + p.attention_ps + p.communication_ps + p.other_ps + p.host_ps, step.end.since(step.start).0);
    let json = report::moment_json(&moment);
    let told = &json["replicas"][0]["steps"][0];
    let sum: f64 = told["parts"].as_array().unwrap().iter().map(|part| part["ms"].as_f64().unwrap()).sum();
    assert!((sum - told["duration_ms"].as_f64().unwrap()).abs() < 1e-9);
    // No step beats the data sheet.
    let floor = told["floors"]["compute_ms"].as_f64().unwrap().max(told["floors"]["memory_ms"].as_f64().unwrap());
    assert!(floor > 0.0 && floor < sum, "{floor} of {sum}");
}

/// Two engines, a prompt for each at 0; the second fails at 5 ms for 50 ms, and its request is tried again on the first.
const FLEET: &str = "
simulation: {random_seed: 1}
hardware_profile: {node: H100-SXM}
workload: {trace: {path: trace.csv, format: plain_csv}}
faults: {events: [{at_s: 0.005, kind: gpu, index: 1, duration_s: 0.05}]}
retries: {initial_backoff_ms: 0}
frameworks_to_test:
- name: fleet
  type: VLLM
  replicas: 2
  router: {policy: least_loaded}
  startup: {provision_s: 0, compile_s: 0, warm_up_s: 0.001, weights_gb_per_s: 100000}
  config: {model_profile_id: Llama-3.1-8B, async_scheduling: false, timing: {fixed: {prefill_ms: 10, decode_ms: 1}}}
";

#[test]
fn a_moment_of_a_fleet_tells_choices_failures_and_retries() {
    let plan = planned(FLEET, "arrival_s,input_tokens,output_tokens\n0,100,11\n0,200,300\n0.02,100,1\n");
    let moment = look(&plan, Time::from_ms(30.0)).unwrap();
    assert_eq!(moment.rule, "least_loaded");
    // The third comes when the first, alone, is in flight with the second on replica 0; there is no other.
    let told: Vec<_> = moment.routing.iter().map(|d| (d.request, d.chosen, d.candidates)).collect();
    assert_eq!(told, [(0, 0, 2), (1, 1, 2), (1, 0, 1), (2, 0, 1)]);
    assert_eq!(moment.routing[3].scores, [(0, 2.0)]);
    let [retry] = &moment.retries[..] else { panic!("{:?}", moment.retries) };
    assert_eq!((retry.at, retry.request, retry.refused, retry.next), (Time::from_ms(5.0), 1, false, Some((2, Time::from_ms(5.0)))));
    let text = report::moment_text(&moment, None);
    for line in [
        "Router: least_loaded",
        "0.000000 s  req_2 to replica 1 of 2; requests in flight (the least wins): 1: 0.0000, 0: 1.0000",
        "0.005000 s  req_2 to replica 0 of 1; requests in flight (the least wins): 0: 1.0000",
        "0.005000 s  replica 1 fails",
        "one request lost",
        "0.005000 s  req_2 was lost: try 2 at 0.005000 s",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let json = report::moment_json(&moment);
    assert_eq!((json["rule"].as_str(), json["fleet_events"][0]["kind"].as_str()), (Some("least_loaded"), Some("failed")));
    assert_eq!((json["retries"][0]["request"].as_str(), json["retries"][0]["next_try"]["number"].as_u64()), (Some("req_2"), Some(2)));
    // What comes later is not told, and what came before is told in full later.
    assert!(look(&plan, Time::from_ms(4.0)).unwrap().events.is_empty());
    let later = look(&plan, Time::from_ms(100.0)).unwrap();
    assert_eq!(later.events[..1], moment.events[..1]);
    assert!(report::moment_text(&later, None).contains("replica 1 serves"), "{}", report::moment_text(&later, None));
}

/// Twelve candidates: the best eight are named, the others counted. One engine alone has no router to tell of.
#[test]
fn many_candidates_are_counted() {
    let many = FLEET.replace("replicas: 2", "replicas: 12").replace("policy: least_loaded", "policy: kv");
    let text = report::moment_text(
        &look(&planned(&many, "arrival_s,input_tokens,output_tokens\n0,100,90\n0,200,90\n"), Time::from_ms(30.0)).unwrap(),
        None,
    );
    assert!(text.contains("of 12; cost, blocks (the least wins): ") && text.contains(" … and 4 more"), "{text}");
    let alone = planned(BY_HAND, G1);
    assert!(!report::moment_text(&look(&alone, Time::from_ms(15.0)).unwrap(), None).contains("Router"));
}

/// Two attention ranks of vLLM: the first request goes to rank 0, the second to rank 1, whose prompt takes from 10 to 20 ms while rank 0
/// decodes for 1 ms and waits for 9. At 15 ms rank 2 of 4 has nothing to do.
#[test]
fn each_attention_rank_is_shown() {
    let document = BY_HAND
        .replace("model_profile_id: Llama-3.1-8B", "model_profile_id: DeepSeek-R1\n    dtype: fp8_block\n    data_parallel_size: 8")
        .replace("node: H100-SXM", "node: 8xH200-SXM");
    const TWO: &str = "TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.0000000,100,5
2023-11-16 18:15:46.0050000,200,5
";
    let moment = look(&planned(&document, TWO), Time::from_ms(15.0)).unwrap();
    let replica = &moment.replicas[0];
    assert_eq!(replica.ranks.len(), 8);
    let [first] = &replica.ranks[0][..] else { panic!("rank 0 computes") };
    let [second] = &replica.ranks[1][..] else { panic!("rank 1 computes") };
    assert!(replica.ranks[2..].iter().all(Vec::is_empty));
    for step in [first, second] {
        assert_eq!((step.start, step.end), (Time::from_ms(10.0), Time::from_ms(20.0)));
    }
    assert_eq!((first.members.len(), first.members[0].request, first.members[0].doing), (1, 0, Doing::Decode));
    assert_eq!((second.members.len(), second.members[0].request), (1, 1));
    assert_eq!((first.waits_for_ranks_ps, second.waits_for_ranks_ps), (Time::from_ms(9.0).0, 0));
    let text = report::moment_text(&moment, Some(1));
    assert!(text.contains("Rank 1\n  prefill step"), "{text}");
    assert!(report::moment_text(&moment, None).contains("Rank 0\n  decode step"));
    let json = report::moment_json(&moment);
    assert_eq!(json["replicas"][0]["ranks"][1][0]["tokens"]["prefill"], 200);
    assert_eq!(json["replicas"][0]["ranks"][0][0]["parts"][5]["key"], "ranks");
    assert_eq!(json["replicas"][0]["ranks"][5], serde_json::json!([]));
}
