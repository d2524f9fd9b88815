//! A request inside an engine, and the arena that holds them.

use crate::units::Time;
use crate::workload::Request;

/// Index into the arena.
pub type JobId = u32;

/// Where a request is on its way through the engine, as the scheduler sees it: tokens of batches still in flight count as made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the queue, without KV.
    Waiting,
    /// Its prompt (after a preemption: prompt and reply so far) is being computed.
    Prefilling,
    /// One token a step.
    Decoding,
    /// Its last token is in flight; it still holds its KV and its place.
    Finishing,
    /// Its last token is in flight, and it has lost its KV and its place to others.
    Leaving,
    /// Its KV is in host memory, and it waits to be brought back.
    Swapped,
    /// It holds KV for or from another replica, and neither waits nor runs.
    Parked,
}

/// Which part of a request's way lies in this engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leg {
    #[default]
    Whole,
    /// The prompt and the first token; then its KV is kept for another replica.
    Prefill,
    /// As `Prefill`, and the token is thrown away: the other replica samples it again.
    SilentPrefill,
    /// What comes after, with KV from another replica.
    Decode,
}

impl Leg {
    /// What becomes of it is told by whoever moves its KV, not here.
    pub fn is_prefill(self) -> bool {
        matches!(self, Leg::Prefill | Leg::SilentPrefill)
    }
}

/// A request inside an engine.
#[derive(Debug)]
pub struct Job {
    pub request: Request,
    pub leg: Leg,
    pub stage: Stage,
    /// Tokens whose KV is in memory; while decoding, as of `joined`.
    pub computed: u64,
    /// Tokens produced; while decoding, as of `joined`.
    pub generated: u32,
    /// Value of the decode clock when it joined the decodes.
    pub joined: u64,
    /// Of a pipeline: the lane whose decode clock that is.
    pub lane: u16,
    /// Value of the decode clock when it left the decodes; `u64::MAX` while it is one of them.
    pub left: u64,
    /// Value of the decode clock at which its last token is scheduled.
    pub ends_at: u64,
    /// Order of admission, larger is newer.
    pub admission: u64,
    /// Place in the running list.
    pub position: usize,
    /// Prompt tokens computed so far, recomputation included.
    pub prefilled: u64,
    /// Its client has given up.
    pub hung_up: bool,
    /// Has been admitted before.
    pub was_scheduled: bool,
    /// When its latest token came out, kept while it pauses.
    pub last_token: Time,
    /// Tokens that have gone to the client, and when the latest did, kept where they go in bunches.
    pub sent: u32,
    pub last_output: Time,
    /// For policies: what they have noted of its arrival; `u64::MAX` when nothing.
    pub arrival_note: u64,
    /// Images of its prompt that have been encoded since it was admitted.
    pub encoded: u32,
}

impl Job {
    /// Tokens that must be computed before the next one can be sampled: the prompt and what was generated.
    pub fn target(&self) -> u64 {
        u64::from(self.request.input_tokens) + u64::from(self.generated)
    }
}

/// Jobs by index; indices of ended ones are used again.
#[derive(Default)]
pub struct Arena {
    jobs: Vec<Job>,
    spare: Vec<JobId>,
}

impl Arena {
    // Inlined, so that a job is written where it stays.
    #[inline(always)]
    pub fn insert(&mut self, job: Job) -> JobId {
        match self.spare.pop() {
            Some(id) => {
                self.jobs[id as usize] = job;
                id
            }
            None => {
                self.jobs.push(job);
                (self.jobs.len() - 1) as JobId
            }
        }
    }

    /// The job's index may be used again from now on.
    pub fn remove(&mut self, id: JobId) {
        self.jobs[id as usize].request.id = u32::MAX;
        self.spare.push(id);
    }
}

impl std::ops::Index<JobId> for Arena {
    type Output = Job;
    fn index(&self, id: JobId) -> &Job {
        &self.jobs[id as usize]
    }
}

impl std::ops::IndexMut<JobId> for Arena {
    fn index_mut(&mut self, id: JobId) -> &mut Job {
        &mut self.jobs[id as usize]
    }
}
