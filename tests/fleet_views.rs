//! What a fleet is seen by: each replica's load over time, worked out by hand, and what its router weighed.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::cluster::router::decisions::{Decision, Score};
use llmperforacle::metrics::{ByReplica, RunResult};
use llmperforacle::sim::{Files, Inspection, RunPlan, Simulation};
use llmperforacle::units::Time;
use llmperforacle::{config, report, sim};

struct OneFile(&'static str);

impl Files for OneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.into())
    }
}

/// Two engines whose steps take 10 ms with a prompt and 1 ms without; requests come in turn.
const TWO: &str = "
simulation: {random_seed: 1}
hardware_profile: {node: H100-SXM}
workload: {trace: {path: trace.csv, format: plain_csv}}
frameworks_to_test:
- name: fleet
  type: VLLM
  replicas: 2
  router: {policy: round_robin}
  config: {model_profile_id: Llama-3.1-8B, async_scheduling: false, timing: {fixed: {prefill_ms: 10, decode_ms: 1}}}
";
/// At 0 one for each; at 20 ms the third, for the first again. Each makes its prompt's token at 10 ms and ten more.
const THREE: &str = "arrival_s,input_tokens,output_tokens\n0,100,11\n0,200,11\n0.02,100,1\n";

fn plan(text: &str, trace: &'static str) -> RunPlan {
    let read = config::read(text, "fleet.yaml");
    let document = read.document.unwrap_or_else(|| panic!("{:#?}", read.diagnostics));
    sim::plan(&document, &OneFile(trace)).unwrap().runs.remove(0)
}

fn run(plan: &RunPlan) -> RunResult {
    let mut simulation = Simulation::new(plan).unwrap();
    while !simulation.advance(1000).done {}
    simulation.finish()
}

fn decisions(plan: &RunPlan, at: Time) -> Vec<Decision> {
    let mut inspection = Inspection::new(plan, at).unwrap();
    while !inspection.advance(1000) {}
    let moment = inspection.moment().unwrap();
    let told = report::moment_json(&moment);
    assert_eq!(told["routing"].as_array().unwrap().len(), moment.routing.len());
    moment.routing
}

#[test]
fn load_by_replica_as_worked_out_by_hand() {
    let result = run(&plan(TWO, THREE));
    // Replica 0 serves from 0 to 20 ms, then the third from 20 to 30 ms; replica 1 from 0 to 20 ms.
    let ms = 1_000_000_000;
    assert_eq!(result.end_ps, 30 * ms);
    let load = ByReplica::new(&result, 3);
    assert_eq!(load.bin_ps, 10 * ms);
    assert_eq!(load.running, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(load.waiting, [0.0; 6]);
    assert_eq!((load.requests.clone(), load.prompt_tokens.clone(), load.output_tokens.clone()), (vec![2, 1], vec![200, 200], vec![12, 11]));
    // In the middle of the first bin, a quarter of the first request's 11 tokens are taken to be there.
    assert!((load.tokens[0] - 102.75).abs() < 1e-9, "{:?}", load.tokens);
}

#[test]
fn load_adds_up_to_the_time_that_requests_spend() {
    let text = TWO.replace("replicas: 2", "replicas: 5").replace(
        "workload: {trace: {path: trace.csv, format: plain_csv}}",
        "workload: {preset: chat, rate_scale: 3, total_requests_to_generate: 300}",
    );
    let result = run(&plan(&text, THREE));
    for bins in [1, 7, 120] {
        let load = ByReplica::new(&result, bins);
        let sum = |column: &[f64]| column.iter().sum::<f64>() * load.bin_ps as f64;
        let requests = &result.requests;
        let spent = |from: &[u64], to: &[u64]| (0..requests.len()).map(|row| (to[row] - from[row]) as f64).sum::<f64>();
        let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-6 * b.max(1.0), "{bins}: {a} {b}");
        near(sum(&load.running), spent(&requests.scheduled_ps, &requests.finish_ps));
        near(sum(&load.waiting), spent(&requests.arrival_ps, &requests.scheduled_ps));
        assert_eq!(load.requests.iter().sum::<u64>(), 300);
    }
}

#[test]
fn a_decision_is_told_with_the_scores_of_all() {
    let third = |policy: &str| decisions(&plan(&TWO.replace("round_robin", policy), THREE), Time::from_ms(25.0));
    let told = third("least_loaded");
    assert_eq!(told.iter().map(|d| (d.request, d.chosen)).collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 0)]);
    // When the second came, the first was in flight on replica 0.
    assert_eq!((told[1].score, told[1].scores.clone(), told[1].candidates), (Score::InFlight, vec![(1, 0.0), (0, 1.0)], 2));
    for decision in third("vllm_dp") {
        assert_eq!((decision.score, decision.chosen), (Score::Pressure, decision.scores[0].0), "the least wins");
    }
    let turns = third("round_robin");
    assert!(turns[0].scores.is_empty() && turns[0].score == Score::None);
}

#[test]
fn watching_changes_nothing() {
    let text = TWO.replace("replicas: 2", "replicas: 4").replace("{policy: round_robin}", "{policy: kv}");
    let text = text.replace(
        "workload: {trace: {path: trace.csv, format: plain_csv}}",
        "workload: {preset: chat, rate_scale: 3, total_requests_to_generate: 200}",
    );
    let plan = plan(&text, THREE);
    let result = run(&plan);
    let told = decisions(&plan, Time::from_s(result.end_ps as f64 * 1e-12 / 2.0));
    assert!(told.len() > 10);
    for decision in &told {
        let row = result.requests.id.binary_search(&decision.request).unwrap();
        assert_eq!(u32::from(result.requests.replica[row]), decision.chosen, "{decision:?}");
        let (_, least) = decision.scores[0];
        let (_, own) = decision.scores.iter().find(|(replica, _)| *replica == decision.chosen).unwrap();
        assert_eq!(*own, least, "the least cost wins: {decision:?}");
    }
}
