//! What caches tell routers: which contents can be found from now on, and which no longer. Whoever hears all of it knows what a cache holds
//! without asking; whoever hears it late knows what it held then.
//!
//! Contents are told by token: of a full block (or page) its last token stands for all of it, under the segment it lies in. Contents that
//! only one request can ask for are not told. Where a cache has several blocks of equal contents (vLLM V1), their end is told when the last
//! goes: vLLM tells of each, and those who listen count them (Dynamo's and llm-d's filters of duplicates), which comes to the same.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::units::Time;
use crate::workload::Segment;

/// Tokens `from..to` of a segment, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvEvent {
    pub stored: bool,
    pub segment: u32,
    pub from: u32,
    pub to: u32,
}

/// A cache as one knows it who hears its events.
#[derive(Debug, Default)]
pub struct KvView {
    /// By segment: what is there, in order and apart.
    ranges: FxHashMap<u32, Vec<(u32, u32)>>,
}

impl KvView {
    pub fn hear(&mut self, event: KvEvent) {
        let KvEvent { stored, segment, from, to } = event;
        let ranges = self.ranges.entry(segment).or_default();
        let (mut first, mut last) = (from, to);
        // Those that it touches or overlaps.
        let begin = ranges.partition_point(|range| range.1 < from);
        let end = ranges.partition_point(|range| range.0 <= to).max(begin);
        let mut rest = Vec::new();
        for &(start, stop) in &ranges[begin..end] {
            if stored {
                (first, last) = (first.min(start), last.max(stop));
                continue;
            }
            rest.extend([(start, stop.min(from)), (start.max(to), stop)].into_iter().filter(|(start, stop)| start < stop));
        }
        if stored {
            rest.push((first, last));
        }
        ranges.splice(begin..end, rest);
        if ranges.is_empty() {
            self.ranges.remove(&segment);
        }
    }

    fn has(&self, segment: u32, token: u32) -> bool {
        let Some(ranges) = self.ranges.get(&segment) else { return false };
        let next = ranges.partition_point(|range| range.1 <= token);
        ranges.get(next).is_some_and(|range| range.0 <= token)
    }

    /// Leading tokens of a prompt that are there, in full blocks of `size` tokens.
    pub fn leading(&self, segments: &[Segment], size: u32) -> u64 {
        let size = u64::from(size.max(1));
        let (mut found, mut start) = (0, 0);
        for segment in segments {
            let end = start + u64::from(segment.tokens);
            while found + size <= end {
                if !self.has(segment.id.0, (found + size - 1 - start) as u32) {
                    return found;
                }
                found += size;
            }
            start = end;
        }
        found
    }
}

/// The events of a cache with their times, and what is known of it by those of them that have been heard.
#[derive(Debug, Default)]
pub struct KvLog {
    to_come: VecDeque<(Time, KvEvent)>,
    view: KvView,
}

impl KvLog {
    /// Takes down what has happened at `at`, which is not before what has been taken down already.
    pub fn add(&mut self, at: Time, events: impl Iterator<Item = KvEvent>) {
        self.to_come.extend(events.map(|event| (at, event)));
    }

    /// What the cache was like at `at`, that instant included. Not before an instant asked for earlier.
    pub fn as_of(&mut self, at: Time) -> &KvView {
        while let Some((_, event)) = self.to_come.pop_front_if(|(then, _)| *then <= at) {
            self.view.hear(event);
        }
        &self.view
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::{Purpose, Stream};
    use crate::workload::SegmentId;

    /// A set of tokens, one by one.
    #[test]
    fn ranges_are_a_set_of_tokens() {
        let mut stream = Stream::new(5, Purpose::Routing, 0);
        let (mut view, mut set) = (KvView::default(), BTreeSet::new());
        for _ in 0..20_000 {
            let (segment, from) = (stream.below(3) as u32, stream.below(40) as u32);
            let to = from + 1 + stream.below(8) as u32;
            let stored = stream.below(2) == 0;
            view.hear(KvEvent { stored, segment, from, to });
            for token in from..to {
                if stored {
                    set.insert((segment, token))
                } else {
                    set.remove(&(segment, token))
                };
            }
            let (segment, token) = (stream.below(3) as u32, stream.below(50) as u32);
            assert_eq!(view.has(segment, token), set.contains(&(segment, token)));
            for (segment, ranges) in (0..3).filter_map(|segment| Some((segment, view.ranges.get(&segment)?))) {
                assert!(ranges.iter().all(|range| range.0 < range.1) && ranges.windows(2).all(|two| two[0].1 < two[1].0));
                assert_eq!(
                    ranges.iter().map(|range| range.1 - range.0).sum::<u32>() as usize,
                    set.range((segment, 0)..(segment + 1, 0)).count()
                );
            }
        }
    }

    /// Blocks of 4 over segments of 6 and 5 tokens: they end at tokens 3 of the first, and 1 (2 of its 4 are the first's) of the second.
    #[test]
    fn leading_blocks_by_hand() {
        let segment = |id, tokens| Segment { id: SegmentId(id), tokens };
        let prompt = [segment(7, 6), segment(8, 5)];
        let mut view = KvView::default();
        let stored = |segment, from, to| KvEvent { stored: true, segment, from, to };
        view.hear(stored(8, 1, 2));
        assert_eq!(view.leading(&prompt, 4), 0);
        view.hear(stored(7, 3, 4));
        assert_eq!((view.leading(&prompt, 4), view.leading(&prompt[..1], 4)), (8, 4));
        view.hear(KvEvent { stored: false, ..stored(8, 1, 2) });
        assert_eq!(view.leading(&prompt, 4), 4);
    }

    #[test]
    fn what_comes_later_is_not_known_yet() {
        let prompt = [Segment { id: SegmentId(1), tokens: 4 }];
        let mut log = KvLog::default();
        log.add(Time(10), [KvEvent { stored: true, segment: 1, from: 3, to: 4 }].into_iter());
        log.add(Time(20), [KvEvent { stored: false, segment: 1, from: 3, to: 4 }].into_iter());
        assert_eq!([9, 10, 19, 20].map(|at| log.as_of(Time(at)).leading(&prompt, 4)), [0, 4, 4, 0]);
    }
}
