//! Dynamo's planner (`components/planner`, 1.6): a reactive loop over what the workers have queued, and, for a service-level target, a
//! slow loop that predicts the traffic and sets a floor.
//!
//! The real planner fits step times to what workers report; here the engine's own cost model answers, so it never lacks data.

use super::{Decision, Predictor, PredictorSpec};
use crate::units::Time;

/// What the planner is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Full workers: fixed thresholds.
    Throughput,
    /// Idle workers: fixed thresholds, lower ones.
    Latency,
    /// Times to the first and between tokens.
    Sla,
}

/// What workers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Aggregated,
    Prefill,
    Decode,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DynamoSpec {
    pub target: Target,
    pub role: Role,
    pub ttft_ms: f64,
    pub itl_ms: f64,
    /// The reactive loop.
    pub load_interval: Time,
    /// The predictive one.
    pub throughput_interval: Time,
    pub load_scaling: bool,
    pub throughput_scaling: bool,
    /// Share of the target that the time predicted with one worker less may take.
    pub sensitivity: f64,
    pub predictor: PredictorSpec,
    pub log1p: bool,
    /// None: no limit.
    pub max_gpus: Option<u32>,
    pub min_replicas: u32,
    /// Most replicas that one decision of the predictive loop adds or removes.
    pub max_step: u32,
}

/// What a worker says of itself, tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerLoad {
    /// Of prompts not yet scheduled.
    pub queued_prefill: u64,
    /// KV of the sequences that run.
    pub scheduled_kv: u64,
    /// KV of the sequences that were thrown out and wait.
    pub queued_kv: u64,
}

/// Traffic of an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    pub requests: f64,
    pub duration_s: f64,
    /// Means, tokens; 0 without requests.
    pub input_tokens: f64,
    pub output_tokens: f64,
    /// Share of the prompt tokens found in a cache.
    pub hit_rate: f64,
}

/// How long a step takes.
pub trait StepTime {
    /// ms of a step that computes `prefill` prompt tokens and decodes `sequences` with `kv` tokens of context in all.
    fn step_ms(&mut self, prefill: f64, sequences: f64, kv: f64) -> f64;
}

/// What one replica can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capability {
    pub gpus: u32,
    pub max_kv_tokens: u64,
    pub max_num_batched_tokens: u32,
    pub max_num_seqs: u32,
    pub context_length: u64,
}

/// The planner, with what it remembers.
#[derive(Clone, Debug)]
pub struct DynamoPlanner {
    pub(super) spec: DynamoSpec,
    pub(super) capability: Capability,
    /// Replicas that the predicted traffic needs.
    floor: u32,
    requests: Predictor,
    input: Predictor,
    output: Predictor,
    hits: Predictor,
    /// Of the last interval with requests, or predicted by the slow loop.
    mean_input: f64,
    mean_output: f64,
    hit_rate: f64,
}

impl DynamoPlanner {
    pub fn new(spec: DynamoSpec, capability: Capability) -> DynamoPlanner {
        let predictor = || Predictor::new(spec.predictor, spec.log1p);
        DynamoPlanner {
            floor: spec.min_replicas,
            requests: predictor(),
            input: predictor(),
            output: predictor(),
            hits: predictor(),
            mean_input: 0.0,
            mean_output: 0.0,
            hit_rate: 0.0,
            spec,
            capability,
        }
    }

    pub fn spec(&self) -> &DynamoSpec {
        &self.spec
    }

    /// Lengths of the requests seen lately, for the reactive loop. Intervals without requests change nothing.
    pub fn observe(&mut self, traffic: &Traffic) {
        if traffic.requests > 0.0 {
            (self.mean_input, self.mean_output) = (traffic.input_tokens, traffic.output_tokens);
        }
    }

    /// The reactive loop: one replica more or less. `expected` counts those on their way too.
    pub fn react(&mut self, workers: &[WorkerLoad], expected: u32, engine: &mut dyn StepTime) -> Decision {
        let ready = workers.len() as u32;
        if !self.spec.load_scaling {
            return Decision::stay("disabled");
        }
        if ready != expected {
            return Decision::stay("scaling in progress");
        }
        if ready == 0 {
            return Decision::stay("no workers");
        }
        let (wanted, reason) = match self.spec.target {
            Target::Sla => self.sla(workers, engine),
            _ => self.easy(workers),
        };
        let mut wanted = wanted.max(self.spec.min_replicas);
        if self.spec.throughput_scaling {
            wanted = wanted.max(self.floor);
        }
        let desired = self.within_budget(wanted);
        if desired == ready { Decision::stay(reason) } else { Decision { replicas: Some(desired), reason } }
    }

    /// The predictive loop, after an interval with this traffic. With the reactive loop on it sets a floor and changes nothing itself.
    pub fn predict(&mut self, traffic: &Traffic, expected: u32, engine: &mut dyn StepTime) -> Decision {
        if !self.spec.throughput_scaling || traffic.duration_s <= 0.0 {
            return Decision::stay("disabled");
        }
        self.requests.add(traffic.requests);
        self.input.add(traffic.input_tokens);
        self.output.add(traffic.output_tokens);
        self.hits.add(traffic.hit_rate);
        let demand = self.requests.predict() / traffic.duration_s;
        let (input, output) = (self.input.predict(), self.output.predict());
        self.hit_rate = self.hits.predict().clamp(0.0, 1.0);
        let sustained = self.sustained_rps(input, output, engine);
        if sustained <= 0.0 {
            return Decision::stay("no traffic");
        }
        let mut wanted = ((demand / sustained).ceil().min(1e6) as u32).max(self.spec.min_replicas);
        if self.spec.role == Role::Prefill {
            // An idle worker that misses the target is taken for one that more workers help.
            let missed = self.ttft_ms(0.0, 0.0, engine) / self.spec.ttft_ms;
            wanted = wanted.max(missed.ceil().clamp(1.0, 1e6) as u32);
        }
        if self.spec.load_scaling {
            self.floor = wanted;
            return Decision::stay("floor set");
        }
        let near = wanted.clamp(expected.saturating_sub(self.spec.max_step), expected + self.spec.max_step);
        let desired = self.within_budget(near);
        if desired == expected { Decision::stay("as predicted") } else { Decision { replicas: Some(desired), reason: "predicted traffic" } }
    }

    /// Never more than the budget's GPUs, nor, if they suffice, less than the minimum.
    fn within_budget(&self, wanted: u32) -> u32 {
        match self.spec.max_gpus {
            Some(gpus) => wanted.min(gpus / self.capability.gpus.max(1)),
            None => wanted,
        }
    }

    /// Fixed thresholds: more when any worker is above, fewer when all are below.
    fn easy(&self, workers: &[WorkerLoad]) -> (u32, &'static str) {
        let ready = workers.len() as u32;
        let latency = self.spec.target == Target::Latency;
        let kv = self.capability.max_kv_tokens.max(1) as f64;
        let context = self.capability.context_length.max(1) as f64;
        let load = |worker: &WorkerLoad| match self.spec.role {
            Role::Prefill => worker.queued_prefill as f64 / context,
            Role::Decode => (worker.scheduled_kv + worker.queued_kv) as f64 / kv,
            Role::Aggregated => (worker.scheduled_kv + worker.queued_kv + worker.queued_prefill) as f64 / kv,
        };
        let (up, down) = match (self.spec.role, latency) {
            (Role::Prefill, false) => (1.0, 0.1),
            (Role::Prefill, true) => (0.1, 0.0),
            (_, false) => (1.0, 0.6),
            (_, true) => (0.4, 0.1),
        };
        let most = workers.iter().map(load).fold(0.0, f64::max);
        // Of prompts queued the bounds themselves count.
        let queue = self.spec.role == Role::Prefill;
        if most > up || (queue && most == up) {
            return (ready + 1, "a worker above its threshold");
        }
        if ready > 1 && (most < down || (queue && latency && most == down)) {
            // What is left would be over the threshold at once.
            let after = most * f64::from(ready) / f64::from(ready - 1);
            if after < up {
                return (ready - 1, "all workers below their threshold");
            }
        }
        (ready, "between thresholds")
    }

    /// Times predicted from the workers' queues: more when all miss the target, fewer when the rest would still meet it.
    fn sla(&mut self, workers: &[WorkerLoad], engine: &mut dyn StepTime) -> (u32, &'static str) {
        let ready = workers.len() as u32;
        if self.mean_input <= 0.0 || self.mean_output <= 0.0 {
            return (ready, "no traffic");
        }
        let growth = if ready > 1 { f64::from(ready) / f64::from(ready - 1) } else { 1.0 };
        let (mut ttft_missed, mut itl_missed, mut can_shrink) = (true, true, ready > 1);
        let by_ttft = self.spec.role != Role::Decode;
        let by_itl = self.spec.role != Role::Prefill;
        for worker in workers {
            let (queued, running) = (worker.queued_prefill as f64, worker.scheduled_kv as f64);
            let waiting = worker.queued_kv as f64;
            if by_ttft {
                ttft_missed &= self.ttft_ms(queued, running, engine) > self.spec.ttft_ms;
                let own = self.ttft_ms(0.0, running * growth, engine);
                let room = (self.spec.ttft_ms - own) * self.spec.sensitivity;
                let added = self.ttft_ms(queued * growth, running * growth, engine) - own;
                can_shrink &= room > 0.0 && added < room;
            }
            if by_itl {
                itl_missed &= self.itl_ms(running + waiting, engine) > self.spec.itl_ms;
                let merged = (running + waiting + queued) * growth;
                can_shrink &= merged < self.capability.max_kv_tokens as f64;
                can_shrink &= self.itl_ms(merged, engine) < self.spec.itl_ms * self.spec.sensitivity;
            }
        }
        if by_ttft && ttft_missed {
            (ready + 1, "TTFT above target on all workers")
        } else if by_itl && itl_missed {
            (ready + 1, "ITL above target on all workers")
        } else if can_shrink {
            (ready - 1, "fewer workers meet the targets")
        } else {
            (ready, "targets met")
        }
    }

    /// Sequences that hold `kv` tokens.
    fn sequences(&self, kv: f64) -> f64 {
        (kv / (self.mean_input + self.mean_output / 2.0).max(1.0)).min(f64::from(self.capability.max_num_seqs))
    }

    /// The queue and one more prompt, in steps of the token budget beside the decodes under way, ms.
    fn ttft_ms(&self, queued: f64, kv: f64, engine: &mut dyn StepTime) -> f64 {
        let mut left = (queued + self.mean_input) * (1.0 - self.hit_rate);
        let budget = f64::from(self.capability.max_num_batched_tokens.max(1));
        let sequences = self.sequences(kv);
        let full = (left / budget).floor();
        let mut total = 0.0;
        if full > 0.0 {
            total += full * engine.step_ms(budget, sequences, kv);
            left -= full * budget;
        }
        if left > 0.0 { total + engine.step_ms(left, sequences, kv) } else { total }
    }

    /// A step of the sequences that hold `kv` tokens and one more, with the prompt tokens that come in while they decode, ms.
    fn itl_ms(&self, kv: f64, engine: &mut dyn StepTime) -> f64 {
        let kv = kv + self.mean_input + self.mean_output / 2.0;
        let sequences = self.sequences(kv);
        let prefill =
            if self.spec.role == Role::Aggregated { self.prefill_per_step(sequences, self.mean_input, self.mean_output) } else { 0.0 };
        engine.step_ms(prefill, sequences, kv)
    }

    /// In a steady state each sequence brings its prompt once in as many steps as it has tokens.
    fn prefill_per_step(&self, sequences: f64, input: f64, output: f64) -> f64 {
        (sequences * input * (1.0 - self.hit_rate) / output.max(1.0)).min(f64::from(self.capability.max_num_batched_tokens))
    }

    /// The highest rate of such requests that one replica serves within the targets, 1/s: the largest batch whose step and first
    /// token are in time, by Little's law. If none is, the rate of a batch of one. 0 without traffic.
    fn sustained_rps(&mut self, input: f64, output: f64, engine: &mut dyn StepTime) -> f64 {
        if input <= 0.0 || output <= 0.0 {
            return 0.0;
        }
        (self.mean_input, self.mean_output) = (input, output);
        let budget = f64::from(self.capability.max_num_batched_tokens.max(1));
        let context = input + output / 2.0;
        if self.spec.role == Role::Prefill {
            let own = input * (1.0 - self.hit_rate);
            let time_ms = self.ttft_ms(0.0, 0.0, engine);
            return if own > 0.0 && time_ms > 0.0 { 1e3 / time_ms } else { 0.0 };
        }
        // A decode worker has no prompts to admit.
        let balance = if self.spec.role == Role::Decode { f64::INFINITY } else { output * budget / (input + output) };
        let most = (self.capability.max_kv_tokens as f64 / context.max(1.0)).min(f64::from(self.capability.max_num_seqs));
        let most = (most.min(balance).min(budget - 1.0) as u64).max(1);
        let mut rate = |batch: u64| {
            let sequences = batch as f64;
            let kv = sequences * context;
            let prefill = if self.spec.role == Role::Decode { 0.0 } else { self.prefill_per_step(sequences, input, output) };
            let step_ms = engine.step_ms(prefill, sequences, kv);
            let in_time =
                step_ms <= self.spec.itl_ms && (self.spec.role == Role::Decode || self.ttft_ms(prefill, kv, engine) <= self.spec.ttft_ms);
            (in_time, sequences * 1e3 / (output * step_ms.max(1e-9)))
        };
        // Both times rise with the batch, so the largest one in time is found by halving.
        let (mut low, mut high) = (1, most);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if rate(middle).0 { low = middle } else { high = middle - 1 }
        }
        rate(low).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `5 ms + 0.01 ms a prompt token + 0.1 ms a thousand tokens of context`.
    struct Line;

    impl StepTime for Line {
        fn step_ms(&mut self, prefill: f64, _sequences: f64, kv: f64) -> f64 {
            5.0 + 0.01 * prefill + 1e-4 * kv
        }
    }

    fn capability() -> Capability {
        Capability { gpus: 2, max_kv_tokens: 100_000, max_num_batched_tokens: 2048, max_num_seqs: 256, context_length: 8192 }
    }

    fn planner(target: Target, role: Role) -> DynamoPlanner {
        let spec = DynamoSpec {
            target,
            role,
            ttft_ms: 500.0,
            itl_ms: 20.0,
            load_interval: Time::from_s(5.0),
            throughput_interval: Time::from_s(180.0),
            load_scaling: true,
            throughput_scaling: false,
            sensitivity: 0.8,
            predictor: PredictorSpec::Constant,
            log1p: false,
            max_gpus: Some(8),
            min_replicas: 1,
            max_step: 8,
        };
        DynamoPlanner::new(spec, capability())
    }

    fn holds(kv: u64) -> WorkerLoad {
        WorkerLoad { scheduled_kv: kv, ..WorkerLoad::default() }
    }

    fn traffic(requests: f64) -> Traffic {
        Traffic { requests, duration_s: 10.0, input_tokens: 1000.0, output_tokens: 100.0, hit_rate: 0.0 }
    }

    #[test]
    fn thresholds_of_the_easy_targets() {
        let mut throughput = planner(Target::Throughput, Role::Aggregated);
        let full = WorkerLoad { scheduled_kv: 70_000, queued_kv: 0, queued_prefill: 30_001 };
        assert_eq!(throughput.react(&[holds(0), full], 2, &mut Line).replicas, Some(3));
        assert_eq!(throughput.react(&[holds(0), holds(100_000)], 2, &mut Line).replicas, None);
        assert_eq!(throughput.react(&[holds(49_000), holds(49_000)], 2, &mut Line).replicas, Some(1));
        // 0.59 on each of two would be 1.18 on one.
        assert_eq!(throughput.react(&[holds(59_000), holds(59_000)], 2, &mut Line).replicas, None);
        let mut latency = planner(Target::Latency, Role::Aggregated);
        assert_eq!(latency.react(&[holds(41_000)], 1, &mut Line).replicas, Some(2));
        assert_eq!(latency.react(&[holds(9_999), holds(0), holds(0)], 3, &mut Line).replicas, Some(2));
        assert_eq!(latency.react(&[holds(10_000), holds(0), holds(0)], 3, &mut Line).replicas, None);
    }

    #[test]
    fn prefill_pools_look_at_their_queue_against_the_context_length() {
        let queued = |tokens: u64| WorkerLoad { queued_prefill: tokens, ..WorkerLoad::default() };
        let mut throughput = planner(Target::Throughput, Role::Prefill);
        assert_eq!(throughput.react(&[queued(8192)], 1, &mut Line).replicas, Some(2));
        assert_eq!(throughput.react(&[queued(8191), queued(0)], 2, &mut Line).replicas, None);
        assert_eq!(throughput.react(&[queued(819), queued(0)], 2, &mut Line).replicas, Some(1));
        let mut latency = planner(Target::Latency, Role::Prefill);
        assert_eq!(latency.react(&[queued(0), queued(0)], 2, &mut Line).replicas, Some(1));
        assert_eq!(latency.react(&[queued(1), queued(0)], 2, &mut Line).replicas, None);
    }

    #[test]
    fn one_change_at_a_time_within_budget_and_minimum() {
        let mut planner = planner(Target::Throughput, Role::Aggregated);
        assert_eq!(planner.react(&[holds(200_000)], 2, &mut Line), Decision::stay("scaling in progress"));
        // Four replicas of two GPUs are the budget of eight.
        assert_eq!(planner.react(&[holds(200_000); 4], 4, &mut Line).replicas, None);
        assert_eq!(planner.react(&[holds(0)], 1, &mut Line).replicas, None);
    }

    /// 5 + 0.01 * 2048 = 25.48 ms a full step: a queue of 40,960 tokens and the prompt of 1000 take 20 of them and one of 15 ms.
    #[test]
    fn predicted_first_token_by_hand() {
        let mut planner = planner(Target::Sla, Role::Aggregated);
        planner.observe(&traffic(50.0));
        let ms = planner.ttft_ms(40_960.0, 0.0, &mut Line);
        assert!((ms - (20.0 * 25.48 + 15.0)).abs() < 1e-9, "{ms}");
        let behind = WorkerLoad { queued_prefill: 40_960, ..WorkerLoad::default() };
        assert_eq!(planner.react(&[behind, behind], 2, &mut Line).replicas, Some(3));
        // All must miss the target.
        assert_eq!(planner.react(&[behind, holds(0)], 2, &mut Line).replicas, None);
        // Idle workers are let go until one is left.
        assert_eq!(planner.react(&[holds(0), holds(0)], 2, &mut Line).replicas, Some(1));
        assert_eq!(planner.react(&[holds(0)], 1, &mut Line).replicas, None);
    }

    /// With n sequences a step takes 5 + 0.01 * 10 n + 1e-4 * 1050 n = 5 + 0.205 n ms: 20 ms at n = 73. TTFT then is the step's
    /// 730 tokens and the prompt's 1000 beside 76,650 tokens of context: 5 + 17.3 + 7.665 ms. 73 / (100 * 0.019965 s) a second.
    #[test]
    fn sustained_rate_by_hand() {
        let mut planner = planner(Target::Sla, Role::Aggregated);
        let rps = planner.sustained_rps(1000.0, 100.0, &mut Line);
        assert!((rps - 73.0 / (100.0 * 0.019_965)).abs() < 1e-9, "{rps}");
    }

    #[test]
    fn the_predictive_loop_scales_alone_or_sets_the_floor() {
        let mut alone = planner(Target::Sla, Role::Aggregated);
        (alone.spec.load_scaling, alone.spec.throughput_scaling) = (false, true);
        // 1000 requests in 10 s over 36.56 a second each: 2.74.
        assert_eq!(alone.predict(&traffic(1000.0), 1, &mut Line).replicas, Some(3));
        assert_eq!(alone.predict(&traffic(9000.0), 1, &mut Line).replicas, Some(4));
        let mut both = planner(Target::Sla, Role::Aggregated);
        both.spec.throughput_scaling = true;
        assert_eq!(both.predict(&traffic(1000.0), 3, &mut Line).replicas, None);
        // Idle, but the floor is three.
        assert_eq!(both.react(&[holds(0); 3], 3, &mut Line).replicas, None);
        assert_eq!(both.react(&[holds(0); 4], 4, &mut Line).replicas, Some(3));
    }
}
