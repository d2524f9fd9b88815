//! The set of decoding sequences, kept so that k steps cost no more than one.
//!
//! Every member grows by one token a step, so nothing is written per member: a clock counts decode steps, and what a
//! member has follows from when it joined. Its last token is scheduled at a known value of the clock; it needs a block when
//! the clock is congruent to a fixed residue modulo the block size, so "blocks needed in k steps" is arithmetic.

use super::job::{Arena, JobId, Stage};
use super::lora::Tally;
use crate::queue::Queue;

/// The decoding sequences of one replica.
pub struct Decodes {
    block_size: u64,
    /// Of a pipeline: the batch its members travel in.
    lane: u16,
    clock: u64,
    /// The clock modulo the block size.
    phase: usize,
    count: u32,
    /// Sum over members of tokens in KV.
    context: u64,
    /// Members by residue: (joined - computed at joining) modulo the block size.
    residues: Vec<u32>,
    /// (clock at the last token, job); members that left early stay until they come up.
    ends: Queue<(u64, JobId)>,
    /// Those that have joined since the last look at `ends`.
    joined: Vec<(u64, JobId)>,
    /// LoRA adapters of the members.
    pub(super) adapters: Tally,
    /// Newest admission that ever joined: members are all older than anything admitted later.
    newest: u64,
}

impl Decodes {
    pub fn new(block_size: u32) -> Decodes {
        Decodes::of_lane(block_size, 0)
    }

    /// Those of one lane of a pipeline.
    pub(super) fn of_lane(block_size: u32, lane: u16) -> Decodes {
        Decodes {
            block_size: u64::from(block_size),
            lane,
            clock: 0,
            phase: 0,
            count: 0,
            context: 0,
            residues: vec![0; block_size as usize],
            ends: Queue::new(),
            joined: Vec::new(),
            adapters: Tally::default(),
            newest: 0,
        }
    }

    /// Number of sequences.
    pub fn len(&self) -> u32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Decode steps scheduled so far.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Sum of contexts of the next step, tokens, those computed in it included.
    pub fn next_context(&self) -> u64 {
        self.context + u64::from(self.count)
    }

    /// True when every member is older than the admission given.
    pub fn all_older_than(&self, admission: u64) -> bool {
        self.count == 0 || self.newest < admission
    }

    /// Blocks that the next `steps` steps take in all.
    #[inline(always)]
    pub fn blocks_needed(&self, steps: u64) -> u64 {
        if steps == 1 { u64::from(self.residues[self.phase]) } else { self.blocks_needed_in(steps) }
    }

    fn blocks_needed_in(&self, steps: u64) -> u64 {
        let (cycles, rest) = if steps < self.block_size { (0, steps) } else { (steps / self.block_size, steps % self.block_size) };
        let (to_end, from_start) = (&self.residues[self.phase..], &self.residues[..self.phase]);
        cycles * u64::from(self.count) + to_end.iter().chain(from_start).take(rest as usize).map(|&count| u64::from(count)).sum::<u64>()
    }

    /// Largest number of steps, at most `limit`, that take no more than `free` blocks.
    pub fn steps_within(&self, free: u64, limit: u64) -> u64 {
        let count = u64::from(self.count);
        if count == 0 || limit / self.block_size < free / count {
            return limit;
        }
        let cycles = free / count;
        let mut left = free % count;
        let mut steps = cycles * self.block_size;
        // A whole cycle takes more than is left.
        for &needed in self.residues[self.phase..].iter().chain(&self.residues[..self.phase]) {
            if steps >= limit || u64::from(needed) > left {
                break;
            }
            left -= u64::from(needed);
            steps += 1;
        }
        steps.min(limit)
    }

    /// Whether this member needs a block for its next token.
    pub fn needs_block(&self, jobs: &Arena, id: JobId) -> bool {
        self.computed(jobs, id).is_multiple_of(self.block_size)
    }

    /// Tokens in KV of a member.
    pub fn computed(&self, jobs: &Arena, id: JobId) -> u64 {
        let job = &jobs[id];
        job.computed + (self.clock - job.joined)
    }

    /// Tokens a member has produced.
    pub fn generated(&self, jobs: &Arena, id: JobId) -> u32 {
        let job = &jobs[id];
        job.generated + (self.clock - job.joined) as u32
    }

    /// A job whose next token is computed by a decode step joins.
    #[inline]
    pub fn join(&mut self, jobs: &mut Arena, id: JobId) {
        let job = &mut jobs[id];
        job.stage = Stage::Decoding;
        job.joined = self.clock;
        job.lane = self.lane;
        job.left = u64::MAX;
        job.ends_at = self.clock + u64::from(job.request.output_tokens - job.generated);
        self.count += 1;
        self.adapters.add(job.request.adapter);
        self.context += job.computed;
        self.newest = self.newest.max(job.admission);
        self.joined.push((job.ends_at, id));
        let residue = self.residue(job.joined, job.computed);
        self.residues[residue] += 1;
    }

    /// A member leaves; its computed and generated tokens are written back.
    #[inline]
    pub fn leave(&mut self, jobs: &mut Arena, id: JobId) {
        let computed = self.computed(jobs, id);
        let generated = self.generated(jobs, id);
        let residue = self.residue(jobs[id].joined, jobs[id].computed);
        self.residues[residue] -= 1;
        self.count -= 1;
        self.context -= computed;
        let job = &mut jobs[id];
        self.adapters.remove(job.request.adapter);
        job.computed = computed;
        job.generated = generated;
        job.left = self.clock;
    }

    /// Steps until the first member's last token is scheduled; `None` without members.
    #[inline]
    pub fn steps_to_next_end(&mut self, jobs: &Arena) -> Option<u64> {
        if !self.joined.is_empty() {
            self.file_joined();
        }
        while let Some(&(at, id)) = self.ends.peek() {
            if jobs[id].stage == Stage::Decoding && jobs[id].lane == self.lane && jobs[id].ends_at == at {
                return Some(at - self.clock);
            }
            self.ends.pop();
        }
        None
    }

    /// Jobs that start together end together as often as not, and the latest numbers were given back first: such a list is in order
    /// backwards.
    #[inline(never)]
    fn file_joined(&mut self) {
        let (first, last) = (self.joined.first(), self.joined.last());
        if first > last {
            self.joined.reverse();
        }
        for end in self.joined.drain(..) {
            self.ends.push(end);
        }
    }

    /// A member has `tokens` more than the steps it took part in gave it: drafted ones that were accepted.
    pub fn accept(&mut self, jobs: &mut Arena, id: JobId, tokens: u32) {
        let before = self.residue(jobs[id].joined, jobs[id].computed);
        let job = &mut jobs[id];
        job.computed += u64::from(tokens);
        job.generated += tokens;
        job.ends_at -= u64::from(tokens);
        self.ends.push((job.ends_at, id));
        self.context += u64::from(tokens);
        let after = self.residue(jobs[id].joined, jobs[id].computed);
        self.residues[before] -= 1;
        self.residues[after] += 1;
    }

    /// Moves the clock on by `steps` steps in which all members take part.
    pub fn advance(&mut self, steps: u64) {
        self.clock += steps;
        let phase = self.phase as u64 + steps;
        self.phase = if phase < self.block_size { phase } else { phase % self.block_size } as usize;
        self.context += steps * u64::from(self.count);
    }

    /// A member whose last token has been scheduled; it is a member still, and not found again.
    pub fn pop_ended(&mut self, jobs: &Arena) -> Option<JobId> {
        if self.steps_to_next_end(jobs)? > 0 {
            return None;
        }
        self.ends.pop().map(|(_, id)| id)
    }

    fn residue(&self, joined: u64, computed: u64) -> usize {
        // Almost every block size is a power of two, and a division is where joining and leaving would spend their time.
        if self.block_size.is_power_of_two() {
            return (joined.wrapping_sub(computed) & (self.block_size - 1)) as usize;
        }
        if joined >= computed {
            return ((joined - computed) % self.block_size) as usize;
        }
        let short = (computed - joined) % self.block_size;
        if short == 0 { 0 } else { (self.block_size - short) as usize }
    }
}
