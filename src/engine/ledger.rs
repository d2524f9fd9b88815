//! Why tokens of a prompt were found in the prefix cache, and why others were not: what this replica has seen before, by segment and by
//! conversation. Tells; decides nothing.

use rustc_hash::FxHashMap;

use crate::workload::{Request, SegmentId};

/// Where tokens that were found come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HitCause {
    /// An earlier turn of the same conversation.
    EarlierTurn,
    /// A beginning shared with other requests.
    SharedPrefix,
    /// A whole prompt that has come before.
    EqualPrompt,
    /// A request that entered in the same step.
    SameStep,
    /// The request's own, from before it lost its memory.
    Readmission,
}

/// Words for the causes, in the order of their numbers.
pub const HIT_CAUSES: [&str; 5] = ["earlier_turn", "shared_prefix", "equal_prompt", "same_step", "readmission"];
/// Why tokens of a prompt were computed: nobody has had them here before; they were there and made room for others; another request is
/// computing them, or its results have not been read; they are a last block that is not full, or the last token, which is always computed.
pub const MISS_CAUSES: [&str; 4] = ["never_seen", "evicted", "under_way", "last_block"];

/// Tokens of one admission by cause. Misses of later admissions are not told: those tokens are computed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    pub hits: [u32; HIT_CAUSES.len()],
    pub misses: [u32; MISS_CAUSES.len()],
}

impl Causes {
    /// All tokens of a prompt are new here.
    pub fn never_seen(prompt_tokens: u32) -> Causes {
        Causes { misses: [prompt_tokens, 0, 0, 0], ..Causes::default() }
    }
}

/// The replica's memory of what it has seen: of all there is, a replica among many sees little.
#[derive(Default)]
pub(super) struct Ledger {
    /// By segment: twice the batch that it was first in, and 1 when it has been computed; 0 is never.
    segments: FxHashMap<u32, u32>,
    /// By conversation: the segment that its last turn ends with.
    conversations: FxHashMap<u32, u32>,
    batch: u32,
}

impl Ledger {
    /// Another batch is formed.
    pub fn next_batch(&mut self) {
        self.batch = self.batch.saturating_add(1).min(u32::MAX / 2);
    }

    fn state(&self, SegmentId(id): SegmentId) -> u32 {
        self.segments.get(&id).copied().unwrap_or(0)
    }

    /// A request enters for the first time, with `found` of its prompt in a cache that finds whole multiples of `granule` tokens (0:
    /// nothing).
    pub fn admitted(&mut self, request: &Request, found: u64, granule: u64) -> Causes {
        let mut causes = Causes::default();
        let prompt = u64::from(request.input_tokens);
        let (mut seen, mut computed, mut whole) = (0, 0, true);
        for segment in &request.segments {
            let state = self.state(segment.id);
            if state == 0 {
                break;
            }
            seen += u64::from(segment.tokens);
            whole &= state % 2 == 1;
            computed += if whole { u64::from(segment.tokens) } else { 0 };
        }
        self.count_hits(request, found, seen == prompt, &mut causes);

        let findable = |tokens: u64| tokens.min(prompt - 1).checked_div(granule).unwrap_or(0) * granule;
        let reach = findable(seen).max(found);
        let seen = if granule == 0 { 0 } else { seen.max(reach) };
        let evicted = findable(computed).saturating_sub(found);
        let tokens = [prompt - seen, evicted, reach - found - evicted, seen - reach];
        causes.misses = tokens.map(|tokens| tokens as u32);
        self.enter(request);
        causes
    }

    fn count_hits(&self, request: &Request, found: u64, equal: bool, causes: &mut Causes) {
        if found == 0 {
            return;
        }
        let last = request.session.and_then(|session| self.conversations.get(&session).copied());
        let turn_end = request.segments.iter().position(|segment| Some(segment.id.0) == last).map_or(0, |place| place + 1);
        let mut left = found as u32;
        for (place, segment) in request.segments.iter().enumerate() {
            let tokens = left.min(segment.tokens);
            left -= tokens;
            let cause = if place < turn_end {
                HitCause::EarlierTurn
            } else if self.state(segment.id) / 2 == self.batch {
                HitCause::SameStep
            } else if equal {
                HitCause::EqualPrompt
            } else {
                HitCause::SharedPrefix
            };
            causes.hits[cause as usize] += tokens;
        }
        causes.hits[HitCause::SharedPrefix as usize] += left;
    }

    fn enter(&mut self, request: &Request) {
        for segment in &request.segments {
            let state = self.segments.entry(segment.id.0).or_default();
            if *state == 0 {
                *state = 2 * self.batch;
            }
        }
        if let Some(last) = request.segments.last() {
            self.ends_with(request, last.id);
        }
    }

    fn ends_with(&mut self, request: &Request, SegmentId(id): SegmentId) {
        if let Some(session) = request.session {
            self.conversations.insert(session, id);
        }
    }

    /// A request's prompt has been computed and the results read.
    pub fn computed(&mut self, request: &Request) {
        for segment in &request.segments {
            if let Some(state) = self.segments.get_mut(&segment.id.0) {
                *state |= 1;
            }
        }
    }

    /// A request has ended with its whole reply.
    pub fn replied(&mut self, request: &Request) {
        let Some(SegmentId(id)) = request.output_segment else { return };
        self.segments.insert(id, 1);
        self.ends_with(request, SegmentId(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Time;
    use crate::workload::Segment;

    fn request(session: Option<u32>, input_tokens: u32, segments: &[(u32, u32)], reply: Option<u32>) -> Request {
        Request {
            session,
            segments: segments.iter().map(|&(id, tokens)| Segment { id: SegmentId(id), tokens }).collect(),
            output_segment: reply.map(SegmentId),
            ..Request::new(0, Time::ZERO, input_tokens, 10)
        }
    }

    #[test]
    fn every_token_of_a_prompt_has_one_cause() {
        let mut ledger = Ledger::default();
        ledger.next_batch();
        // 100 shared, 60 of its own; blocks of 16.
        let first = request(Some(0), 160, &[(0, 100), (1, 60)], Some(2));
        let causes = ledger.admitted(&first, 0, 16);
        assert_eq!((causes.hits, causes.misses), ([0; 5], [160, 0, 0, 0]));
        // Another conversation in the same step finds six blocks of the 100, of which 4 tokens are in no full block.
        let causes = ledger.admitted(&request(Some(1), 150, &[(0, 100), (3, 50)], None), 96, 16);
        assert_eq!((causes.hits, causes.misses), ([0, 0, 0, 96, 0], [50, 0, 0, 4]));
        // A step later, where the cache shows results only when they are read.
        ledger.next_batch();
        let causes = ledger.admitted(&request(None, 150, &[(0, 100)], None), 0, 16);
        assert_eq!((causes.hits, causes.misses), ([0; 5], [50, 0, 96, 4]));
        ledger.computed(&first);
        ledger.replied(&first);
        // The next turn: 170 tokens of the conversation, 30 new. Ten blocks; the tenth ends at 160.
        ledger.next_batch();
        let next = request(Some(0), 200, &[(0, 100), (1, 60), (2, 10), (4, 30)], None);
        let causes = ledger.admitted(&next, 160, 16);
        assert_eq!((causes.hits, causes.misses), ([160, 0, 0, 0, 0], [30, 0, 0, 10]));
        // Half of the shared beginning has been evicted.
        let causes = ledger.admitted(&request(None, 150, &[(0, 100)], None), 48, 16);
        assert_eq!((causes.hits, causes.misses), ([0, 48, 0, 0, 0], [50, 48, 0, 4]));
        // The first prompt word for word: all but its last block, which is always computed.
        ledger.next_batch();
        let causes = ledger.admitted(&request(None, 160, &[(0, 100), (1, 60)], None), 144, 16);
        assert_eq!((causes.hits, causes.misses), ([0, 0, 144, 0, 0], [0, 0, 0, 16]));
        // Without a cache nothing could have been found.
        let causes = ledger.admitted(&first, 0, 0);
        assert_eq!((causes.hits, causes.misses), ([0; 5], [160, 0, 0, 0]));
    }
}
