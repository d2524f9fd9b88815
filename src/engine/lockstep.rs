//! Attention ranks in lockstep: engines with requests and KV of their own that share the experts of every layer, so that no step begins
//! before the last one has ended on all of them, and a step takes as long as on the slowest. A rank with nothing to do computes one row
//! for nothing, as the others wait for it in every layer of experts.
//!
//! The first rank leads: to the outside the group is one replica, whose steps are told as one with the sums over the ranks and the parts of
//! the slowest. Batches are formed when the step before has ended; where the engine forms them ahead, host time is hidden, and no more of
//! forming ahead is modelled here.

use super::delayer::{Delayer, PrefillDelayer, RankState};
use super::hang_ups::HangUps;
use super::lora::AdapterUse;
use super::observer::{Found, Observer, RejectReason, StepRun};
use super::probe::Probe;
use super::replica::{Pace, Replica};
use super::run::Run;
use crate::cost::{Group, StepCost};
use crate::units::Time;
use crate::workload::Request;

/// Which rank gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankRule {
    /// One after the other (SGLang).
    RoundRobin,
    /// The fewest requests (TensorRT-LLM; SGLang's `total_requests`).
    FewestRequests,
    /// The fewest tokens in memory that requests hold and of waiting prompts, then the fewest requests (SGLang's `total_tokens`).
    FewestTokens,
    /// vLLM's balancer: requests plus 6 for each waiting one and all of the KV used beyond a half.
    Score,
}

/// TensorRT-LLM's `attention_dp_config` with `enable_balance`: prompts are computed when every rank has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Steps that prompts wait, all ranks having some, for more of them.
    pub batching_wait_iters: u32,
    /// Steps that they wait at most for ranks without.
    pub timeout_iters: u32,
}

/// The other ranks of a group, and its state.
pub(super) struct Lockstep {
    peers: Vec<Replica>,
    rule: RankRule,
    balance: Option<Balance>,
    delayer: Option<Delayer>,
    /// Steps waited, for ranks without prompts and for more prompts.
    waited: (u32, u32),
    next: usize,
    form_at: Time,
    /// Host time is hidden behind the step before.
    hides_host: bool,
    idle: bool,
}

impl Lockstep {
    fn ranks<'a>(&'a self, leader: &'a Replica) -> impl Iterator<Item = &'a Replica> {
        std::iter::once(leader).chain(&self.peers)
    }

    fn ranks_mut<'a>(&'a mut self, leader: &'a mut Replica) -> impl Iterator<Item = &'a mut Replica> {
        std::iter::once(leader).chain(&mut self.peers)
    }

    pub(super) fn watch(&mut self, at: Time) {
        self.peers.iter_mut().for_each(|rank| rank.probe = Some(Probe::of_rank(at)));
    }

    pub(super) fn probes<'a>(&'a self, leader: &'a Replica) -> Vec<&'a Probe> {
        self.ranks(leader).filter_map(|rank| rank.probe.as_ref()).collect()
    }

    fn end(&self, leader: &Replica) -> Time {
        self.ranks(leader).map(Replica::flight_end).min().unwrap_or(Time::NEVER)
    }

    fn hang_up(&self, leader: &Replica) -> Time {
        self.ranks(leader).map(|rank| rank.hang_ups.next()).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn next_event(&self, leader: &Replica) -> Time {
        self.end(leader).min(self.form_at).min(self.hang_up(leader))
    }

    pub(super) fn each(&self, leader: &Replica, does: impl FnMut(&Replica)) {
        self.ranks(leader).for_each(does);
    }

    pub(super) fn sum(&self, leader: &Replica, of: impl Fn(&Replica) -> u64) -> u64 {
        self.ranks(leader).map(of).sum()
    }

    fn choose(&mut self, leader: &Replica) -> usize {
        let requests = |rank: &Replica| {
            let (waiting, running) = rank.own_load();
            (u64::from(waiting), u64::from(waiting + running))
        };
        // In millionths, as scores are compared and must not depend on rounding.
        let score = |rank: &Replica| {
            let (waiting, all) = requests(rank);
            let used = rank.core.pool.used() * 1_000_000 / rank.core.pool.total().max(1);
            all * 1_000_000 + 6 * waiting * used.saturating_sub(500_000)
        };
        let best = |of: &dyn Fn(&Replica) -> u64| {
            self.ranks(leader).enumerate().min_by_key(|(index, rank)| (of(rank), *index)).map_or(0, |(index, _)| index)
        };
        match self.rule {
            RankRule::RoundRobin => {
                let chosen = self.next;
                self.next = (chosen + 1) % (self.peers.len() + 1);
                chosen
            }
            RankRule::FewestRequests => best(&|rank| requests(rank).1),
            RankRule::FewestTokens => {
                let tokens = |rank: &Replica| {
                    let core = &rank.core;
                    let waiting: u64 = core.waiting.iter().map(|&id| u64::from(core.jobs[id].request.input_tokens)).sum();
                    core.pool.used() * u64::from(core.pool.block_size()) + waiting
                };
                // Requests are fewer than 2^20.
                best(&|rank| tokens(rank) << 20 | requests(rank).1.min((1 << 20) - 1))
            }
            RankRule::Score => best(&score),
        }
    }

    pub(super) fn arrive(&mut self, leader: &mut Replica, request: Request, observer: &mut impl Observer) -> bool {
        let chosen = self.choose(leader);
        let now = request.arrival;
        let in_flight = self.end(leader) != Time::NEVER;
        let Some(rank) = self.ranks_mut(leader).nth(chosen) else { return false };
        let ended = rank.arrive(request, observer);
        rank.form_at = Time::NEVER;
        if !ended && !in_flight && self.form_at > now {
            self.form_at = now;
            self.idle = true;
        }
        ended
    }

    pub(super) fn process(&mut self, leader: &mut Replica, observer: &mut impl Observer, ended: &mut Vec<u32>) {
        let (end, hang_up) = (self.end(leader), self.hang_up(leader));
        if end <= self.form_at.min(hang_up) {
            for rank in self.ranks_mut(leader).filter(|rank| rank.flight_end() == end) {
                rank.finish_flight(observer, ended);
            }
            self.idle = false;
            self.form_at = self.ranks(leader).map(|rank| rank.next_formation(end)).min().unwrap_or(Time::NEVER);
            self.ranks_mut(leader).for_each(|rank| rank.form_at = Time::NEVER);
        } else if hang_up <= self.form_at {
            if let Some(rank) = self.ranks_mut(leader).find(|rank| rank.hang_ups.next() == hang_up) {
                rank.take_hang_up(ended);
            }
        } else {
            self.form(leader, observer);
        }
        for rank in self.ranks_mut(leader) {
            HangUps::settle(&mut rank.hang_ups, &rank.core.jobs);
        }
    }

    /// Every rank forms its batch; then all set out together.
    fn form(&mut self, leader: &mut Replica, observer: &mut impl Observer) {
        let now = self.form_at;
        self.form_at = Time::NEVER;
        let prompts_wait = self.prompts_wait(leader);
        let mut again = false;
        let mut batches = Vec::with_capacity(self.peers.len() + 1);
        for rank in self.ranks_mut(leader) {
            rank.core.prompts_wait = prompts_wait;
            let (batch, preempted) = rank.form_batch(now, observer);
            again |= preempted;
            batches.push(batch);
        }
        if batches.iter().all(Option::is_none) {
            let mut next = if again { now } else { Time::NEVER };
            for rank in self.ranks_mut(leader) {
                if !rank.core.waiting.is_empty() {
                    next = next.min(rank.core.pool.next_ready(now));
                }
            }
            if next == Time::NEVER {
                for rank in self.ranks_mut(leader) {
                    rank.turn_away_the_stuck(now, observer);
                    next = next.min(rank.form_at);
                    rank.form_at = Time::NEVER;
                }
            }
            self.form_at = next;
            return;
        }
        if let Some(mut delayer) = self.delayer.take() {
            self.ranks(leader).for_each(|rank| delayer.computes(rank.core.batch.prefills.len() as u32));
            self.delayer = Some(delayer);
        }
        let mut group = Group::default();
        for (rank, batch) in self.ranks(leader).zip(&batches) {
            let Some((sequences, _)) = batch else {
                group.idle += 1;
                continue;
            };
            group.sequences += u64::from(*sequences);
            group.prompt_tokens += rank.core.batch.prefills.iter().map(|piece| u64::from(piece.new_tokens)).sum::<u64>();
        }
        let (hides, idle) = (self.hides_host, self.idle);
        let mut runs = Vec::with_capacity(batches.len());
        for (rank, batch) in self.ranks_mut(leader).zip(&batches) {
            runs.push(batch.map(|(sequences, context)| {
                let (mix, fetch) = rank.core.fetch_adapters(sequences > 0);
                let cost = rank.batch_cost(group, mix, sequences, context);
                let mut run = Run::new(&Pace { overlap: hides, ..rank.pace }, idle, now, cost, 0, 1);
                run.wait(rank.core.pool.delay(now, run.duration_ps), fetch.0);
                run
            }));
        }
        let Some(slowest) = runs.iter().flatten().max_by_key(|run| run.duration_ps) else { return };
        let (duration_ps, cost) = (slowest.duration_ps, slowest.cost);
        let mut told = Told::new(observer);
        for ((rank, batch), run) in self.ranks_mut(leader).zip(&batches).zip(runs) {
            if let (Some((sequences, context)), Some(mut run)) = (*batch, run) {
                run.duration_ps = duration_ps;
                rank.launch(run, now, sequences, context, &mut told);
                rank.form_at = Time::NEVER;
            }
        }
        let used = self.sum(leader, |rank| rank.core.pool.used());
        let running = self.sum(leader, |rank| u64::from(rank.core.running_len()));
        let waiting = self.sum(leader, |rank| rank.core.waiting.len() as u64);
        told.tell(&cost, used, running as u32, waiting as u32);
    }

    /// Whether no rank may compute prompts in the step being formed (`_balance_adp_requests`, or the delayer). Steps in which some rank has no prompt count
    /// for the time-out whether or not a prompt waits in them, so that one waits for what is left of the cycle.
    fn prompts_wait(&mut self, leader: &Replica) -> bool {
        if let Some(mut delayer) = self.delayer.take() {
            let delays = delayer.delays(self.ranks(leader).map(rank_state));
            self.delayer = Some(delayer);
            return delays;
        }
        let Some(balance) = self.balance else { return false };
        let (mut all_prompt, mut all_generate) = (true, true);
        for rank in self.ranks(leader) {
            let seats = rank.core.limits.max_num_seqs;
            let may_start = !rank.core.waiting.is_empty() && rank.core.running_len() < seats;
            all_prompt &= rank.core.decodes.len() < seats && (may_start || !rank.core.prefilling.is_empty());
            all_generate &= !rank.core.decodes.is_empty();
        }
        if all_prompt {
            self.waited.0 = 0;
            if all_generate && self.waited.1 < balance.batching_wait_iters {
                self.waited.1 += 1;
                return true;
            }
            if all_generate {
                self.waited.1 = 0;
            }
            return false;
        }
        self.waited.0 += 1;
        if self.waited.0 >= balance.timeout_iters || !all_generate {
            self.waited.0 = 0;
            return false;
        }
        true
    }

    pub(super) fn close(&self, observer: &mut impl Observer) {
        self.peers.iter().for_each(|rank| rank.close(observer));
    }
}

fn rank_state(rank: &Replica) -> RankState {
    let core = &rank.core;
    RankState {
        wants: rank.policy.wants_prompts(core),
        used: core.pool.used() * 1_000_000 / core.pool.total().max(1),
        decodes: core.decodes.len(),
        seats: core.limits.max_num_seqs,
        under_way: !core.prefilling.is_empty(),
    }
}

impl Replica {
    /// Has the prompts of a group of ranks wait for one another.
    pub fn delay_prompts(&mut self, rule: PrefillDelayer) {
        if let Some(group) = &mut self.lockstep {
            group.delayer = Some(Delayer::new(rule));
        }
    }

    /// Has ranks, none of which has seen a request yet, go in lockstep as one replica. `None` without a rank.
    #[must_use]
    pub fn in_lockstep(ranks: Vec<Replica>, rule: RankRule, balance: Option<Balance>) -> Option<Replica> {
        let mut ranks = ranks.into_iter().map(|mut rank| {
            let hides = rank.pace.overlap;
            rank.pace.overlap = false;
            rank.pace.fast_path = false;
            (rank, hides)
        });
        let (mut leader, hides_host) = ranks.next()?;
        let peers = ranks.map(|(rank, _)| rank).collect();
        leader.lockstep = Some(Box::new(Lockstep {
            peers,
            rule,
            balance,
            delayer: None,
            waited: (0, 0),
            next: 0,
            form_at: Time::NEVER,
            hides_host,
            idle: true,
        }));
        Some(leader)
    }
}

/// The steps of all ranks put together as one.
struct Told<'a, O: Observer> {
    observer: &'a mut O,
    run: Option<(u16, Time, u64)>,
    sums: Sums,
    gaps: Vec<u64>,
    stalled: Vec<(u64, u32)>,
}

#[derive(Default)]
struct Sums {
    decode_sequences: u32,
    first_context: u64,
    prefill_tokens: u64,
    prefill_pairs: u64,
    padded_tokens: u32,
    eager: bool,
    kv_wait_ps: u64,
    adapters: AdapterUse,
    stopped_decodes: u32,
    held_back: Option<super::held::HeldBack>,
    first_tokens: u32,
    wasted_sequences: u32,
    drafted_tokens: u32,
    accepted_tokens: u32,
    regular_gaps: u32,
    bunched_tokens: u32,
}

impl<'a, O: Observer> Told<'a, O> {
    fn new(observer: &'a mut O) -> Told<'a, O> {
        Told { observer, run: None, sums: Sums::default(), gaps: Vec::new(), stalled: Vec::new() }
    }

    /// Tells the step, with the cost of the slowest rank.
    fn tell(self, cost: &StepCost, used: u64, running: u32, waiting: u32) {
        let Some((replica, start, duration_ps)) = self.run else { return };
        let sums = self.sums;
        self.observer.steps(&StepRun {
            replica,
            start,
            steps: 1,
            first_duration_ps: duration_ps,
            duration_increment_ps: 0,
            first_device_ps: cost.device_ps,
            device_increment_ps: 0,
            first_parts: cost.parts,
            decode_sequences: sums.decode_sequences,
            first_context: sums.first_context,
            prefill_tokens: sums.prefill_tokens,
            prefill_pairs: sums.prefill_pairs,
            encoded_images: 0,
            encoding_ps: 0,
            padded_tokens: sums.padded_tokens,
            eager: sums.eager,
            kv_wait_ps: sums.kv_wait_ps,
            adapters: sums.adapters,
            stopped_decodes: sums.stopped_decodes,
            held_back: sums.held_back,
            first_tokens: sums.first_tokens,
            wasted_sequences: sums.wasted_sequences,
            drafted_tokens: sums.drafted_tokens,
            accepted_tokens: sums.accepted_tokens,
            regular_gaps: sums.regular_gaps,
            bunched_tokens: sums.bunched_tokens,
            other_gaps_ps: &self.gaps,
            stalled_gaps: &self.stalled,
            running,
            waiting,
            kv_blocks_after: &|_| used,
        });
    }
}

impl<O: Observer> Observer for Told<'_, O> {
    fn arrived(&mut self, replica: u16, request: &Request) {
        self.observer.arrived(replica, request);
    }
    fn scheduled(&mut self, id: u32, at: Time, cached_tokens: u32) {
        self.observer.scheduled(id, at, cached_tokens);
    }
    fn found(&mut self, replica: u16, id: u32, at: Time, found: &Found) {
        self.observer.found(replica, id, at, found);
    }
    fn preempted(&mut self, replica: u16, id: u32, at: Time) {
        self.observer.preempted(replica, id, at);
    }
    fn first_token(&mut self, id: u32, at: Time) {
        self.observer.first_token(id, at);
    }
    fn finished(&mut self, replica: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64) {
        self.observer.finished(replica, id, at, output_tokens, prefilled_tokens);
    }
    fn cancelled(&mut self, replica: u16, id: u32, at: Time, output_tokens: u32, prefilled_tokens: u64) {
        self.observer.cancelled(replica, id, at, output_tokens, prefilled_tokens);
    }
    fn rejected(&mut self, replica: u16, id: u32, at: Time, reason: RejectReason) {
        self.observer.rejected(replica, id, at, reason);
    }
    fn unfinished(&mut self, id: u32, output_tokens: u32, prefilled_tokens: u64) {
        self.observer.unfinished(id, output_tokens, prefilled_tokens);
    }
    fn steps(&mut self, run: &StepRun<'_>) {
        let first = self.run.is_none();
        self.run = Some((run.replica, run.start, run.first_duration_ps));
        let sums = &mut self.sums;
        sums.decode_sequences += run.decode_sequences;
        sums.first_context += run.first_context;
        sums.prefill_tokens += run.prefill_tokens;
        sums.prefill_pairs += run.prefill_pairs;
        sums.padded_tokens += run.padded_tokens;
        sums.eager |= run.eager;
        sums.kv_wait_ps = sums.kv_wait_ps.max(run.kv_wait_ps);
        sums.adapters.join(&run.adapters);
        sums.stopped_decodes += run.stopped_decodes;
        sums.held_back = if first { run.held_back } else { sums.held_back.or(run.held_back) };
        sums.first_tokens += run.first_tokens;
        sums.wasted_sequences += run.wasted_sequences;
        sums.drafted_tokens += run.drafted_tokens;
        sums.accepted_tokens += run.accepted_tokens;
        sums.regular_gaps += run.regular_gaps;
        sums.bunched_tokens += run.bunched_tokens;
        self.gaps.extend_from_slice(run.other_gaps_ps);
        self.stalled.extend_from_slice(run.stalled_gaps);
    }
}
