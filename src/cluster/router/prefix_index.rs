//! Which replicas may hold which prefixes, by what was routed to them: one list of holders for each segment of contents.
//! What is held for sure only a replica's own cache knows.

use crate::units::Time;
use crate::workload::{Request, Segment};

/// A replica that was sent a segment.
#[derive(Clone, Copy, Debug)]
struct Holder {
    replica: u32,
    /// Requests with it that are there now.
    in_flight: u32,
    /// When a request with it was last sent there.
    touched: Time,
}

/// The holders of one segment, in order of replicas: most segments have one.
#[derive(Clone, Debug, Default)]
enum Holders {
    #[default]
    None,
    One(Holder),
    Many(Vec<Holder>),
}

impl Holders {
    fn all(&self) -> &[Holder] {
        match self {
            Holders::None => &[],
            Holders::One(holder) => std::slice::from_ref(holder),
            Holders::Many(holders) => holders,
        }
    }

    fn all_mut(&mut self) -> &mut [Holder] {
        match self {
            Holders::None => &mut [],
            Holders::One(holder) => std::slice::from_mut(holder),
            Holders::Many(holders) => holders,
        }
    }

    /// Where the replica is, or would be.
    fn place(&self, replica: u32) -> Result<usize, usize> {
        self.all().binary_search_by_key(&replica, |holder| holder.replica)
    }

    fn insert(&mut self, at: usize, holder: Holder) {
        match self {
            Holders::None => *self = Holders::One(holder),
            Holders::One(first) => {
                let mut both = vec![*first];
                both.insert(at, holder);
                *self = Holders::Many(both);
            }
            Holders::Many(holders) => holders.insert(at, holder),
        }
    }

    fn retain(&mut self, mut keeps: impl FnMut(&Holder) -> bool) {
        match self {
            Holders::None => {}
            Holders::One(holder) => {
                if !keeps(holder) {
                    *self = Holders::None;
                }
            }
            Holders::Many(holders) => holders.retain(keeps),
        }
    }

    fn remove(&mut self, at: usize) {
        match self {
            Holders::None => {}
            Holders::One(_) => *self = Holders::None,
            Holders::Many(holders) => drop(holders.remove(at)),
        }
    }
}

/// What a replica may hold of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// Leading tokens sent there before.
    pub cached: u32,
    /// Of those, leading ones that requests there now share.
    pub active: u32,
}

/// Holders of segments, and the overlap of the prompt looked at last.
#[derive(Debug)]
pub struct PrefixIndex {
    /// By segment.
    holders: Vec<Holders>,
    /// How long a holder counts after its last request has been sent; [`Time::NEVER`]: until it is forgotten.
    ttl: Time,
    overlaps: Vec<Overlap>,
    touched: Vec<u32>,
    /// Tokens remembered for each replica.
    remembered: Vec<u64>,
    lengths: Vec<u32>,
}

impl PrefixIndex {
    pub fn new(replicas: usize, ttl: Time) -> PrefixIndex {
        PrefixIndex {
            holders: Vec::new(),
            ttl,
            overlaps: vec![Overlap::default(); replicas],
            touched: Vec::new(),
            remembered: vec![0; replicas],
            lengths: Vec::new(),
        }
    }

    /// Looks a prompt up; `overlap` and `found` tell of it until the next.
    pub fn look_up(&mut self, request: &Request, now: Time) {
        for replica in self.touched.drain(..) {
            self.overlaps[replica as usize] = Overlap::default();
        }
        let mut start = 0;
        for segment in &request.segments {
            let Some(holders) = self.holders.get_mut(segment.id.0 as usize) else { return };
            let mut any = false;
            let (ttl, remembered) = (self.ttl, &mut self.remembered);
            holders.retain(|holder| {
                let kept = holder.in_flight > 0 || ttl == Time::NEVER || now <= holder.touched + ttl;
                if !kept {
                    remembered[holder.replica as usize] -= u64::from(segment.tokens);
                }
                kept
            });
            for holder in holders.all() {
                let overlap = &mut self.overlaps[holder.replica as usize];
                if overlap.cached == start {
                    overlap.cached += segment.tokens;
                    any = true;
                    if start == 0 {
                        self.touched.push(holder.replica);
                    }
                    if overlap.active == start && holder.in_flight > 0 {
                        overlap.active += segment.tokens;
                    }
                }
            }
            if !any {
                return;
            }
            start += segment.tokens;
        }
    }

    fn counts(&self, holder: &Holder, now: Time) -> bool {
        holder.in_flight > 0 || self.ttl == Time::NEVER || now <= holder.touched + self.ttl
    }

    /// What one replica may hold of a prompt.
    pub fn overlap_of(&self, segments: &[Segment], replica: usize, now: Time) -> Overlap {
        let mut overlap = Overlap::default();
        for segment in segments {
            let Some(holders) = self.holders.get(segment.id.0 as usize) else { break };
            let Ok(at) = holders.place(replica as u32) else { break };
            let holder = &holders.all()[at];
            if !self.counts(holder, now) {
                break;
            }
            if overlap.active == overlap.cached && holder.in_flight > 0 {
                overlap.active += segment.tokens;
            }
            overlap.cached += segment.tokens;
        }
        overlap
    }

    /// The first segment of a prompt with at most `few` holders: the tokens before it and its holders, in order.
    pub fn few_holders(&self, segments: &[Segment], few: usize) -> (u32, Vec<u32>) {
        let mut before = 0;
        for segment in segments {
            let holders = self.holders.get(segment.id.0 as usize).map_or(&[][..], Holders::all);
            if holders.len() <= few {
                return (before, holders.iter().map(|holder| holder.replica).collect());
            }
            before += segment.tokens;
        }
        (before, Vec::new())
    }

    /// What the replica may hold of the prompt looked up last.
    pub fn overlap(&self, replica: usize) -> Overlap {
        self.overlaps[replica]
    }

    /// Replicas with some overlap, in no useful order.
    pub fn found(&self) -> &[u32] {
        &self.touched
    }

    /// A request has been sent there. Returns the tokens of its segments that no other request there has now.
    pub fn sent(&mut self, segments: &[Segment], replica: usize, now: Time) -> u64 {
        let mut alone = 0;
        for segment in segments {
            self.forget_expired(*segment, now);
            let holder = self.holder(*segment, replica);
            holder.touched = now;
            holder.in_flight += 1;
            if holder.in_flight == 1 {
                alone += u64::from(segment.tokens);
            }
        }
        alone
    }

    /// It has ended. Returns the tokens of its segments that no other request there has now.
    pub fn ended(&mut self, segments: &[Segment], replica: usize) -> u64 {
        let mut alone = 0;
        for segment in segments {
            let holder = self.holder(*segment, replica);
            holder.in_flight = holder.in_flight.saturating_sub(1);
            if holder.in_flight == 0 {
                alone += u64::from(segment.tokens);
            }
        }
        alone
    }

    /// A reply that later prompts contain was made there.
    pub fn replied(&mut self, reply: Segment, replica: usize, now: Time) {
        self.holder(reply, replica).touched = now;
    }

    /// The replica's cache says that it holds only `tokens` tokens of the prompt: what no request there has now is forgotten.
    pub fn correct(&mut self, request: &Request, replica: usize, tokens: u64) {
        let mut start = 0;
        for segment in &request.segments {
            // One that is there in part may still be found in part.
            if start >= tokens {
                self.forget(*segment, replica);
            }
            start += u64::from(segment.tokens);
        }
    }

    /// Forgets what was sent there longest ago until `most` tokens are left.
    pub fn evict(&mut self, most: u64) {
        for replica in 0..self.remembered.len() {
            if self.remembered[replica] <= most {
                continue;
            }
            let mut held: Vec<(Time, u32)> = Vec::new();
            for (id, holders) in self.holders.iter().enumerate() {
                let there = holders.all().iter().find(|holder| holder.replica as usize == replica && holder.in_flight == 0);
                held.extend(there.map(|holder| (holder.touched, id as u32)));
            }
            // Of those sent together the later segments go first: they follow the earlier ones.
            held.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            for (_, id) in held {
                if self.remembered[replica] <= most {
                    break;
                }
                let segment = Segment { id: crate::workload::SegmentId(id), tokens: self.lengths[id as usize] };
                self.forget(segment, replica);
            }
        }
    }

    /// Forgets everything that no request there has now.
    pub fn forget_all(&mut self, replica: usize) {
        for id in 0..self.holders.len() {
            self.forget(Segment { id: crate::workload::SegmentId(id as u32), tokens: self.lengths[id] }, replica);
        }
    }

    fn forget_expired(&mut self, segment: Segment, now: Time) {
        let ttl = self.ttl;
        let Some(holders) = self.holders.get_mut(segment.id.0 as usize).filter(|_| ttl != Time::NEVER) else { return };
        let remembered = &mut self.remembered;
        holders.retain(|holder| {
            let kept = holder.in_flight > 0 || now <= holder.touched + ttl;
            if !kept {
                remembered[holder.replica as usize] -= u64::from(segment.tokens);
            }
            kept
        });
    }

    fn forget(&mut self, segment: Segment, replica: usize) {
        let Some(holders) = self.holders.get_mut(segment.id.0 as usize) else { return };
        if let Ok(at) = holders.place(replica as u32)
            && holders.all()[at].in_flight == 0
        {
            holders.remove(at);
            self.remembered[replica] -= u64::from(segment.tokens);
        }
    }

    fn holder(&mut self, segment: Segment, replica: usize) -> &mut Holder {
        let id = segment.id.0 as usize;
        if self.holders.len() <= id {
            self.holders.resize_with(id + 1, Holders::default);
            self.lengths.resize(id + 1, 0);
        }
        self.lengths[id] = segment.tokens;
        let holders = &mut self.holders[id];
        let at = holders.place(replica as u32).unwrap_or_else(|at| {
            self.remembered[replica] += u64::from(segment.tokens);
            holders.insert(at, Holder { replica: replica as u32, in_flight: 0, touched: Time::ZERO });
            at
        });
        &mut holders.all_mut()[at]
    }
}
