//! The recorder's main promise: a stretch of steps told in one go leaves exactly what the same steps told one by one leave.
//! Then what it leaves is held against a naive walk over every step and token.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use llmperforacle::cost::{PowerModel, StepParts};
use llmperforacle::engine::{Observer, RejectReason, StepRun};
use llmperforacle::metrics::{MOST_BINS, Recorder, ReplicaInfo, RunInfo, RunResult, Work};
use llmperforacle::units::{PS_PER_S, Time};
use llmperforacle::workload::Request;
use proptest::prelude::*;

/// A stretch of equal decode steps (or one mixed step) of one replica, after a pause.
#[derive(Clone, Debug)]
struct Stretch {
    replica: u16,
    pause_ps: u64,
    steps: u64,
    device_ps: u64,
    host_wait_ps: u64,
    growth_ps: u64,
    /// The host hides the growth of the device's time: durations stay the same.
    host_bound: bool,
    decodes: u32,
    context: u64,
    prefill_tokens: u64,
    first_tokens: u32,
    other_gaps_ps: Vec<u64>,
    waiting: u32,
    kv_blocks: u64,
    /// Where the stretch is cut when it is told in pieces.
    cut: u64,
}

fn stretches(longest_ps: u64) -> impl Strategy<Value = Vec<Stretch>> {
    let one = (
        (0u16..3, prop_oneof![Just(0u64), 0..longest_ps], 1u64..60, 1..longest_ps, 0..longest_ps, 0..longest_ps / 50, any::<bool>()),
        (1u32..200, 1u64..1_000_000, prop_oneof![2 => Just(0u64), 1 => 1u64..5000], 0u32..4, prop::collection::vec(1..longest_ps, 0..3)),
        (0u32..50, 0u64..1000, 0u64..60),
    );
    let one = one.prop_map(|(time, batch, state)| {
        let (replica, pause_ps, steps, device_ps, host_wait_ps, growth_ps, host_bound) = time;
        let (decodes, context, prefill_tokens, first_tokens, other_gaps_ps) = batch;
        let mixed = prefill_tokens > 0;
        let steps = if mixed { 1 } else { steps };
        Stretch {
            replica,
            pause_ps,
            steps,
            device_ps,
            // Enough for the device to stay the shorter one when the host's time is what counts.
            host_wait_ps: host_wait_ps + if host_bound { growth_ps * steps } else { 0 },
            growth_ps,
            host_bound,
            decodes,
            context,
            prefill_tokens,
            first_tokens: if mixed { first_tokens } else { 0 },
            other_gaps_ps: if mixed { other_gaps_ps } else { Vec::new() },
            waiting: state.0,
            kv_blocks: state.1,
            cut: state.2,
        }
    });
    prop::collection::vec(one, 1..25)
}

impl Stretch {
    fn duration_growth_ps(&self) -> u64 {
        if self.host_bound { 0 } else { self.growth_ps }
    }

    fn duration_of(&self, step: u64) -> u64 {
        self.device_ps + self.host_wait_ps + step * self.duration_growth_ps()
    }

    fn kv_after(&self, scheduled: u64) -> u64 {
        self.kv_blocks + scheduled * u64::from(self.decodes) / 16
    }

    /// Tells the steps from `from` to `to`.
    fn tell(&self, observer: &mut Recorder, start_ps: u64, from: u64, to: u64) {
        if from == to {
            return;
        }
        let start = start_ps + (0..from).map(|step| self.duration_of(step)).sum::<u64>();
        let attention_ps = self.device_ps / 3;
        observer.steps(&StepRun {
            replica: self.replica,
            start: Time(start),
            steps: to - from,
            first_duration_ps: self.duration_of(from),
            duration_increment_ps: self.duration_growth_ps(),
            first_device_ps: self.device_ps + from * self.growth_ps,
            device_increment_ps: self.growth_ps,
            first_parts: StepParts {
                gemm_ps: self.device_ps - attention_ps,
                attention_ps: attention_ps + from * self.growth_ps,
                communication_ps: 0,
                other_ps: 0,
                host_ps: self.host_wait_ps,
            },
            decode_sequences: self.decodes,
            first_context: self.context + from * u64::from(self.decodes),
            prefill_tokens: self.prefill_tokens,
            prefill_pairs: self.prefill_tokens * (self.prefill_tokens + 1) / 2,
            encoded_images: 0,
            encoding_ps: 0,
            padded_tokens: self.decodes % 8,
            eager: false,
            kv_wait_ps: 0,
            adapters: Default::default(),
            stopped_decodes: 0,
            held_back: None,
            wasted_sequences: 0,
            drafted_tokens: 0,
            accepted_tokens: 0,
            first_tokens: self.first_tokens,
            regular_gaps: self.decodes,
            bunched_tokens: 0,
            other_gaps_ps: &self.other_gaps_ps,
            stalled_gaps: &[],
            running: self.decodes + u32::from(self.prefill_tokens > 0),
            waiting: self.waiting,
            kv_blocks_after: &|scheduled| self.kv_after(from + scheduled),
        });
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Telling {
    Whole,
    InTwo,
    Singly,
}

fn request(id: u32, arrival: Time) -> Request {
    Request::new(id, arrival, 100, 10)
}

fn info() -> RunInfo {
    let work = Work {
        flops_per_token: 1e10,
        flops_per_attention_pair: 1e5,
        weight_bytes_per_step: 1e10,
        peak_flops: 1e15,
        peak_memory_bytes_per_s: 3e12,
        ..Work::default()
    };
    let replica = ReplicaInfo { entry: "a".into(), gpus: 2, kv_blocks: 1000, block_tokens: 16, work, ..ReplicaInfo::default() };
    RunInfo { name: "a".into(), replicas: vec![replica; 3], ..RunInfo::default() }
}

/// A GPU that is at its limit in some of the steps.
fn power(span_mw: u64) -> Option<PowerModel> {
    let idle_mw = 70_000;
    Some(PowerModel { idle_mw, span_mw, busy_mw: 300_000, token_fj: 7_000, context_fj: 333, step_fj: 1_000_003, ..PowerModel::default() })
}

/// Start of each stretch on its replica's clock.
fn starts(stretches: &[Stretch]) -> Vec<u64> {
    let mut clocks = [0u64; 3];
    let start_of = |stretch: &Stretch, clocks: &mut [u64; 3]| {
        let clock = &mut clocks[stretch.replica as usize];
        let start = *clock + stretch.pause_ps;
        *clock = start + (0..stretch.steps).map(|step| stretch.duration_of(step)).sum::<u64>();
        start
    };
    stretches.iter().map(|stretch| start_of(stretch, &mut clocks)).collect()
}

fn end_of(stretches: &[Stretch]) -> u64 {
    let ends = stretches.iter().zip(starts(stretches)).map(|(s, start)| start + (0..s.steps).map(|step| s.duration_of(step)).sum::<u64>());
    ends.max().unwrap()
}

/// `by_replica`: one replica after the other, instead of in the order given.
fn record(stretches: &[Stretch], warm_up_ps: u64, telling: Telling, by_replica: bool) -> RunResult {
    let mut recorder = Recorder::new(Time(warm_up_ps), None).with_power(vec![power(900_000), None, power(90_000)]);
    let starts = starts(stretches);
    for replica in 0..3u16 {
        recorder.arrived(replica, &request(u32::from(replica), Time(u64::from(replica) * 1000)));
    }
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    if by_replica {
        order.sort_by_key(|&i| stretches[i].replica);
    }
    for i in order {
        let (stretch, start) = (&stretches[i], starts[i]);
        match telling {
            Telling::Whole => stretch.tell(&mut recorder, start, 0, stretch.steps),
            Telling::InTwo => {
                let cut = stretch.cut.min(stretch.steps);
                stretch.tell(&mut recorder, start, 0, cut);
                stretch.tell(&mut recorder, start, cut, stretch.steps);
            }
            Telling::Singly => (0..stretch.steps).for_each(|step| stretch.tell(&mut recorder, start, step, step + 1)),
        }
    }
    recorder.preempted(1, 1, Time(end_of(stretches)));
    recorder.finished(0, 0, Time(end_of(stretches)), 10, 100);
    recorder.unfinished(1, 5, 100);
    recorder.rejected(2, 2, Time(5), RejectReason::TooLongForKvPool);
    recorder.finish(info(), Time(end_of(stretches)))
}

fn assert_equal(a: &RunResult, b: &RunResult) {
    assert_eq!(a.requests, b.requests);
    assert_eq!(a.series, b.series);
    assert_eq!(a.counters, b.counters);
    assert_eq!(a.inter_token, b.inter_token);
    assert_eq!(a.summary.to_string(), b.summary.to_string());
    assert_eq!(a.hash(), b.hash());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_run_of_k_steps_equals_k_runs_of_one(
        stretches in prop_oneof![stretches(10_000_000_000), stretches(1_000), stretches(3_000_000_000_000)],
        warm_up in 0.0f64..1.2,
    ) {
        let warm_up_ps = (end_of(&stretches) as f64 * (warm_up - 0.2).max(0.0)) as u64;
        let whole = record(&stretches, warm_up_ps, Telling::Whole, false);
        for telling in [Telling::InTwo, Telling::Singly] {
            assert_equal(&whole, &record(&stretches, warm_up_ps, telling, false));
        }
        // Replicas run ahead of one another: their interleaving leaves no trace either.
        assert_equal(&whole, &record(&stretches, warm_up_ps, Telling::Whole, true));
    }

    #[test]
    fn series_and_counters_are_those_of_a_walk_over_every_step(stretches in prop_oneof![stretches(10_000_000_000), stretches(500_000_000_000)]) {
        let run = record(&stretches, 0, Telling::Whole, false);
        let (bin_ps, bins) = (run.series.bin_ps, run.series.running.len());
        prop_assert!(bins <= MOST_BINS && bins as u64 == run.end_ps.div_ceil(bin_ps));
        let (mut tokens, mut prefill, mut running, mut blocks) = (vec![0u64; bins], vec![0u64; bins], vec![0u32; bins], vec![0u64; bins]);
        let (mut gaps, mut contexts, mut device) = (Vec::new(), 0u128, 0u64);
        let mut last = [None; 3];
        for (stretch, start) in stretches.iter().zip(starts(&stretches)) {
            let mut now = start;
            for step in 0..stretch.steps {
                let end = now + stretch.duration_of(step);
                let bin = ((end - 1) / bin_ps) as usize;
                tokens[bin] += u64::from(stretch.decodes + stretch.first_tokens) + stretch.other_gaps_ps.len() as u64;
                prefill[bin] += stretch.prefill_tokens;
                for bin in (0..bins).filter(|&bin| (now + 1..=end).contains(&((bin as u64 + 1) * bin_ps))) {
                    running[bin] += stretch.decodes + u32::from(stretch.prefill_tokens > 0);
                    blocks[bin] += stretch.kv_after(step + 1);
                }
                gaps.extend((0..stretch.decodes).map(|_| stretch.duration_of(step)));
                contexts += u128::from(stretch.context + step * u64::from(stretch.decodes));
                device += stretch.device_ps + step * stretch.growth_ps;
                now = end;
            }
            gaps.extend(&stretch.other_gaps_ps);
            last[stretch.replica as usize] = Some((stretch, now));
        }
        // Replica 1 still has a request at the end, so its last state stays.
        if let Some((stretch, end)) = last[1] {
            for bin in (0..bins).filter(|&bin| (bin as u64 + 1) * bin_ps > end) {
                running[bin] += stretch.decodes + u32::from(stretch.prefill_tokens > 0);
                blocks[bin] += stretch.kv_after(stretch.steps);
            }
        }
        prop_assert_eq!(&run.series.output_tokens, &tokens);
        prop_assert_eq!(&run.series.prefill_tokens, &prefill);
        prop_assert_eq!(&run.series.running, &running);
        prop_assert_eq!(&run.series.kv_blocks_used, &blocks);
        prop_assert_eq!(run.counters.iter().map(|c| c.context_tokens).sum::<u128>(), contexts);
        prop_assert_eq!(run.counters.iter().map(|c| c.device_ps).sum::<u64>(), device);
        prop_assert_eq!(run.inter_token.count(), gaps.len() as u64);
        let mean = gaps.iter().map(|&gap| u128::from(gap)).sum::<u128>() as f64 / gaps.len() as f64;
        prop_assert!((run.inter_token.mean().unwrap() / mean - 1.0).abs() < 1e-12);
        prop_assert_eq!(run.inter_token.largest(), gaps.iter().copied().max());
    }
}

#[test]
fn the_hash_sees_every_kind_of_content() {
    let run = || record(&[sample()], 0, Telling::Whole, false);
    let hash = run().hash();
    let changed: [fn(&mut RunResult); 8] = [
        |run| run.requests.first_token_ps[0] = 7,
        |run| run.requests.reject_reason[0] += 1,
        |run| run.series.kv_blocks_used[0] += 1,
        |run| run.counters[0].padded_tokens += 1,
        |run| run.inter_token.add(1, 1),
        |run| run.end_ps += 1,
        |run| run.series.energy_fj[0] += 1,
        |run| run.counters[0].energy_fj += 1,
    ];
    for change in changed {
        let mut other = run();
        change(&mut other);
        assert_ne!(other.hash(), hash);
    }
    assert_eq!(run().hash(), hash);
}

fn sample() -> Stretch {
    Stretch {
        replica: 0,
        pause_ps: 0,
        steps: 50,
        device_ps: PS_PER_S / 100,
        host_wait_ps: 0,
        growth_ps: 0,
        host_bound: false,
        decodes: 8,
        context: 800,
        prefill_tokens: 0,
        first_tokens: 0,
        other_gaps_ps: Vec::new(),
        waiting: 0,
        kv_blocks: 64,
        cut: 0,
    }
}
