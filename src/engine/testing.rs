//! A small laboratory for policies: requests by hand, fixed step times, and what came of them. For tests and examples.

use super::bunches::Bunches;
use super::core::{Core, Limits};
use super::delayer::PrefillDelayer;
use super::held::HeldBack;
use super::lockstep::{Balance, RankRule};
use super::lora::{AdapterUse, LoraSpec};
use super::observer::{Observer, RejectReason, StepRun, Swapped};
use super::pipeline::Pipeline;
use super::policy::Policy;
use super::replica::{Pace, Replica};
use crate::cost::{CostModel, FixedTiming, Transfer};
use crate::kv::{HashChain, KvCache};
use crate::units::Time;
use crate::workload::{Request, Segment, SegmentId};

/// What happened to one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub first_token: Option<Time>,
    pub finish: Option<Time>,
    pub cached_tokens: u32,
    pub prefilled_tokens: u64,
    pub output_tokens: u32,
    pub preemptions: u32,
    pub rejected: Option<RejectReason>,
    /// When its client gave it up.
    pub cancelled: Option<Time>,
}

/// Outcomes by request, and the number of steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    pub outcomes: Vec<Outcome>,
    pub steps: u64,
    pub peak_kv_blocks: u64,
    /// Blocks that requests hold when all is done.
    pub kv_blocks_at_end: u64,
    /// What held the head of the queue back, and in steps that took how long, ps; equal neighbours are one.
    pub held: Vec<(HeldBack, u64)>,
    /// Sequences that decoded past their end, over all steps.
    pub wasted_sequences: u64,
    /// Gaps between outputs of one request, ms, in order of steps; and tokens that went out beside another.
    pub gaps_ms: Vec<f64>,
    pub bunched_tokens: u32,
    /// What LoRA adapters did, over all steps; `adapters` is the most in one.
    pub adapters: AdapterUse,
    /// What was moved to host memory and back, in order.
    pub swapped: Vec<(f64, Swapped)>,
}

impl Log {
    fn of(&mut self, id: u32) -> &mut Outcome {
        if self.outcomes.len() <= id as usize {
            self.outcomes.resize(id as usize + 1, Outcome::default());
        }
        &mut self.outcomes[id as usize]
    }
}

impl Observer for Log {
    fn arrived(&mut self, _: u16, request: &Request) {
        self.of(request.id);
    }
    fn scheduled(&mut self, id: u32, _: Time, cached_tokens: u32) {
        self.of(id).cached_tokens = cached_tokens;
    }
    fn preempted(&mut self, _: u16, id: u32, _: Time) {
        self.of(id).preemptions += 1;
    }
    fn swapped(&mut self, _: u16, at: Time, swapped: &Swapped) {
        self.swapped.push((at.as_ms(), *swapped));
    }
    fn first_token(&mut self, id: u32, at: Time) {
        self.of(id).first_token = Some(at);
    }
    fn finished(&mut self, _: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64) {
        let outcome = self.of(id);
        outcome.finish = Some(at);
        outcome.output_tokens = output_tokens;
        outcome.prefilled_tokens = prefilled_tokens;
    }
    fn cancelled(&mut self, _: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64) {
        let outcome = self.of(id);
        outcome.cancelled = Some(at);
        outcome.output_tokens = output_tokens;
        outcome.prefilled_tokens = prefilled_tokens;
    }
    fn rejected(&mut self, _: u16, id: u32, _: Time, reason: RejectReason) {
        self.of(id).rejected = Some(reason);
    }
    fn unfinished(&mut self, id: u32, output_tokens: u32, prefilled_tokens: u64) {
        let outcome = self.of(id);
        outcome.output_tokens = output_tokens;
        outcome.prefilled_tokens = prefilled_tokens;
    }
    fn steps(&mut self, run: &StepRun<'_>) {
        self.steps += run.steps;
        self.wasted_sequences += u64::from(run.wasted_sequences);
        self.gaps_ms.extend(run.other_gaps_ps.iter().map(|&gap| Time(gap).as_ms()));
        self.bunched_tokens += run.bunched_tokens;
        let most = self.adapters.adapters.max(run.adapters.adapters);
        let waited_ps = self.adapters.wait_ps + run.adapters.wait_ps;
        self.adapters.join(&run.adapters);
        (self.adapters.adapters, self.adapters.wait_ps) = (most, waited_ps);
        self.peak_kv_blocks = self.peak_kv_blocks.max((run.kv_blocks_after)(run.steps));
        let span_ps = (0..run.steps).map(|step| run.first_duration_ps + step * run.duration_increment_ps).sum();
        match (run.held_back, self.held.last_mut()) {
            (None, _) => {}
            (Some(held), Some((last, ps))) if *last == held => *ps += span_ps,
            (Some(held), _) => self.held.push((held, span_ps)),
        }
    }
}

/// One engine with a prefill pass of 10 ms and a decode pass of 1 ms (a mixed step takes both), blocks of 16 tokens and a
/// budget of 8192, fed by hand.
pub struct Lab {
    limits: Limits,
    blocks: u64,
    memory: Option<Box<dyn KvCache>>,
    pace: Pace,
    acceptance: Vec<f64>,
    bunches: Option<Bunches>,
    policy: Box<dyn Policy>,
    requests: Vec<Request>,
    segments: u32,
    stages: Option<(u32, Transfer)>,
    lanes: Option<u16>,
    ahead: bool,
    peers: Vec<(Box<dyn Policy>, Box<dyn KvCache>)>,
    lockstep: (RankRule, Option<Balance>),
    delayer: Option<PrefillDelayer>,
    adapters: Option<LoraSpec>,
}

impl Lab {
    /// A laboratory with a pool of `blocks`.
    pub fn new(policy: Box<dyn Policy>, blocks: u64) -> Lab {
        Lab {
            limits: Limits {
                max_num_batched_tokens: 8192,
                max_num_seqs: 256,
                max_model_len: 1 << 20,
                chunked_prefill: true,
                long_prefill_token_threshold: 0,
                reserve_full_prompt: true,
                watermark_blocks: 0,
                speculative_tokens: 0,
            },
            blocks,
            memory: None,
            pace: Pace { overlap: false, fast_path: true, horizon: Time::NEVER },
            acceptance: Vec::new(),
            bunches: None,
            policy,
            requests: Vec::new(),
            segments: 0,
            stages: None,
            lanes: None,
            ahead: false,
            peers: Vec::new(),
            lockstep: (RankRule::RoundRobin, None),
            delayer: None,
            adapters: None,
        }
    }

    /// Changes the engine's limits.
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Lab {
        change(&mut self.limits);
        self
    }

    /// KV memory other than vLLM's.
    pub fn memory(mut self, memory: Box<dyn KvCache>) -> Lab {
        self.memory = Some(memory);
        self
    }

    /// A pipeline of so many stages, that share the pass's time evenly.
    pub fn stages(mut self, stages: u32, transfer: Transfer) -> Lab {
        self.stages = Some((stages, transfer));
        self
    }

    /// Of a pipeline: other than as many lanes as stages.
    pub fn lanes(mut self, lanes: u16) -> Lab {
        self.lanes = Some(lanes);
        self
    }

    /// Of a pipeline: batches are formed ahead.
    pub fn ahead(mut self) -> Lab {
        self.ahead = true;
        self
    }

    /// One rank more in lockstep, with KV memory of its own.
    pub fn peer(mut self, policy: Box<dyn Policy>, memory: Box<dyn KvCache>) -> Lab {
        self.peers.push((policy, memory));
        self
    }

    /// Which rank gets a request, and when ranks compute prompts.
    pub fn lockstep(mut self, rule: RankRule, balance: Option<Balance>) -> Lab {
        self.lockstep = (rule, balance);
        self
    }

    /// Prompts on one rank wait for some on the others.
    pub fn delayer(mut self, rule: PrefillDelayer) -> Lab {
        self.delayer = Some(rule);
        self
    }

    /// LoRA adapters that requests may ask for; they add nothing to a step but the wait for them.
    pub fn adapters(mut self, adapters: LoraSpec) -> Lab {
        self.adapters = Some(adapters);
        self
    }

    /// Changes how the engine runs.
    pub fn pace(mut self, change: impl FnOnce(&mut Pace)) -> Lab {
        change(&mut self.pace);
        self
    }

    /// Drafts tokens, each accepted with its probability when those before it were.
    pub fn speculate(mut self, acceptance: &[f64]) -> Lab {
        self.limits.speculative_tokens = acceptance.len() as u32;
        self.acceptance = acceptance.to_vec();
        self
    }

    /// Lets tokens out in bunches.
    pub fn bunch(mut self, bunches: Bunches) -> Lab {
        self.bunches = Some(bunches);
        self
    }

    /// A request of contents of its own at `at_ms`. In order of time.
    pub fn arrive(&mut self, at_ms: f64, input_tokens: u32, output_tokens: u32) {
        let id = self.segments;
        self.segments += 1;
        self.arrive_with(at_ms, input_tokens, output_tokens, &[Segment { id: SegmentId(id), tokens: input_tokens }]);
    }

    /// Changes the request that arrived last.
    pub fn change(&mut self, change: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests.last_mut() {
            change(request);
        }
    }

    /// A request whose prompt starts with the given segments. In order of time.
    pub fn arrive_with(&mut self, at_ms: f64, input_tokens: u32, output_tokens: u32, segments: &[Segment]) {
        self.segments = segments.iter().map(|segment| segment.id.0 + 1).fold(self.segments, u32::max);
        self.requests.push(Request {
            segments: segments.into(),
            ..Request::new(self.requests.len() as u32, Time::from_ms(at_ms), input_tokens, output_tokens)
        });
    }

    /// Serves everything and returns (first token, last token) of each request, ms; NaN for what never came.
    pub fn run(self) -> Vec<(f64, f64)> {
        let ms = |at: Option<Time>| at.map_or(f64::NAN, Time::as_ms);
        self.log().outcomes.iter().map(|outcome| (ms(outcome.first_token), ms(outcome.finish))).collect()
    }

    /// Serves everything and returns all that happened.
    pub fn log(self) -> Log {
        let mut log = Log::default();
        let memory = self.memory.unwrap_or_else(|| Box::new(HashChain::new(self.blocks, 16, true)));
        let limits = self.limits.clone();
        let adapters = self.adapters;
        let with_adapters = |mut core: Core| {
            adapters.iter().for_each(|spec| core.serve_adapters(spec.clone()));
            core
        };
        let core = with_adapters(Core::new(self.limits, memory));
        let horizon = self.pace.horizon;
        let timing = FixedTiming { prefill: Time::from_ms(10.0), decode: Time::from_ms(1.0) };
        let mut replica = Replica::new(0, core, self.policy, Box::new(timing), self.pace);
        let speculate = |replica: &mut Replica, rank: u32| {
            if !self.acceptance.is_empty() {
                replica.speculate(super::speculation::Speculation::new(&self.acceptance, 0, 0, rank));
            }
        };
        speculate(&mut replica, 0);
        if let Some(bunches) = self.bunches {
            replica.bunch(bunches);
        }
        if let Some((stages, transfer)) = self.stages {
            let stage = |index| Box::new(timing.stage(index, stages)) as Box<dyn CostModel>;
            let pipeline = Pipeline::new((0..stages).map(stage).collect(), vec![transfer; stages as usize - 1]);
            replica = replica.with_pipeline(pipeline.with_lanes(self.lanes.unwrap_or(stages as u16)).ahead(self.ahead));
        }
        if !self.peers.is_empty() {
            let peer = |(index, (policy, memory))| {
                let core = with_adapters(Core::new(limits.clone(), memory));
                let mut rank = Replica::new(0, core, policy, Box::new(timing), self.pace);
                speculate(&mut rank, index + 1);
                rank
            };
            let ranks = std::iter::once(replica).chain((0u32..).zip(self.peers).map(peer)).collect();
            let Some(group) = Replica::in_lockstep(ranks, self.lockstep.0, self.lockstep.1) else { return log };
            replica = group;
            if let Some(rule) = self.delayer {
                replica.delay_prompts(rule);
            }
        }
        let mut requests = self.requests.into_iter().peekable();
        let mut ended = Vec::new();
        loop {
            let arrival = requests.peek().map_or(Time::NEVER, |request| request.arrival);
            let event = replica.next_event();
            if arrival.min(event) == Time::NEVER || arrival.min(event) > horizon {
                break;
            }
            if arrival <= event {
                if let Some(request) = requests.next() {
                    replica.arrive(request, &mut log);
                }
            } else {
                replica.process(arrival, &mut log, &mut ended);
            }
        }
        log.kv_blocks_at_end = replica.kv_blocks_used();
        replica.close(&mut log);
        log
    }
}
