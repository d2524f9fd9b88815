//! SGLang's prefill delayer (`managers/prefill_delayer.py`): with attention ranks, a batch of prompts on one rank stops the decodes of all, so
//! prompts wait until every rank has some, for so many passes at most.
//!
//! Asked once a step, for all ranks together. What each rank has is seen before memory is looked at, as `add_one_req` asks first. Passes of
//! an engine in which nothing runs take no time here, so that they are used up at once. Left out: the trigger by the queue's length
//! (`prefill_delayer_queue_min_ratio`).

/// When prompts wait for those of other ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefillDelayer {
    /// `prefill_delayer_max_delay_passes`: the pass in which they wait no more, at least 1.
    pub max_delay_passes: u32,
    /// `prefill_delayer_token_usage_low_watermark`: below this share of the KV memory in use, in millionths, on a rank with prompts, nobody
    /// waits.
    pub low_watermark: Option<u32>,
}

/// What a rank tells the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankState {
    /// It has a prompt to compute and a seat for it.
    pub wants: bool,
    /// Share of its KV memory in use, millionths.
    pub used: u64,
    /// Sequences that decode, and seats.
    pub decodes: u32,
    pub seats: u32,
    /// A prompt is being computed in pieces.
    pub under_way: bool,
}

/// The delayer of a group of ranks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delayer {
    rule: PrefillDelayer,
    /// Passes waited in a row.
    waited: u32,
    /// Most prompts of one rank's batch so far.
    most_prompts: u32,
    /// The first wait for seats is passed over.
    skips: bool,
}

impl Delayer {
    pub(super) fn new(rule: PrefillDelayer) -> Delayer {
        Delayer { rule, waited: 0, most_prompts: 0, skips: true }
    }

    /// A rank computes so many prompts together.
    pub(super) fn computes(&mut self, prompts: u32) {
        self.most_prompts = self.most_prompts.max(prompts);
    }

    /// Whether no rank may begin a prompt in the step being formed.
    pub(super) fn delays(&mut self, ranks: impl Iterator<Item = RankState>) -> bool {
        let (mut all, mut any, mut plenty, mut idle) = (true, false, false, true);
        let (mut decodes, mut seats) = (0, u32::MAX);
        for rank in ranks {
            all &= rank.wants;
            any |= rank.wants;
            plenty |= rank.wants && self.rule.low_watermark.is_some_and(|least| rank.used < u64::from(least));
            idle &= rank.decodes == 0 && !rank.under_way;
            decodes = decodes.max(rank.decodes);
            seats = seats.min(rank.seats);
        }
        let delays = if !any || plenty || idle {
            false
        } else if all {
            // So few seats are left that the batch would be smaller than others were.
            let short = seats.saturating_sub(decodes) < self.most_prompts;
            short && !std::mem::take(&mut self.skips)
        } else {
            self.waited + 1 < self.rule.max_delay_passes
        };
        self.waited = if delays { self.waited.saturating_add(1) } else { 0 };
        delays
    }
}
