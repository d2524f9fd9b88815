//! Several blocks with the same contents: vLLM V1 leaves a request the blocks that it has filled, be their contents in memory already.
//!
//! A lookup finds the oldest block of a hash, held or free; the others are *further copies*, which only their owners hold. When the one that
//! is found is evicted, the oldest of the others is found instead, and where it stands in the free queue does not change. So nothing is
//! a further copy of what cannot be found, and among copies of a block the numbers tell their age.

use super::{BlockPool, NONE, Run};

impl BlockPool {
    /// Blocks just filled whose contents are in memory; their run. Not in the free queue yet.
    #[cold]
    pub(super) fn add_copies(&mut self, record: u32, from: u32, to: u32, refs: u32) -> u32 {
        let run = self.new_run(record, from, to, refs);
        self.last_copy = self.last_copy.saturating_add(1);
        self.runs[run as usize].copy = self.last_copy;
        if self.copies.len() <= record as usize {
            self.copies.resize_with(record as usize + 1, Default::default);
        }
        self.copies[record as usize].push_back(run);
        self.copied += 1;
        run
    }

    /// `taken` blocks behind what is left of the run at the front of the queue have been taken, in a pool with further copies.
    #[cold]
    pub(super) fn evict_copies(&mut self, index: u32, taken: u32) {
        let run = self.runs[index as usize];
        let (from, to) = (run.to, run.to + taken);
        let used_up = run.blocks() == 0;
        if used_up {
            self.unlink(index);
        }
        if run.copy != 0 {
            // Its contents are still found.
            if used_up {
                let place = self.place_of(run.record, run.copy, run.from);
                self.take_copies(run.record, place);
                self.spare_runs.push(index);
            }
            return;
        }
        let gone = self.succeed(run.record, from, to);
        for &(from, to) in gone.iter().rev() {
            self.tell_evicted(run.record, from, to);
        }
        if used_up {
            self.drop_run(index);
        }
        if gone != [(from, to)] {
            self.join(run.record);
        }
    }

    /// Blocks that were found are no more: the oldest further copies are found in their place. Where there are none.
    fn succeed(&mut self, record: u32, from: u32, to: u32) -> Vec<(u32, u32)> {
        let mut gone = vec![(from, to)];
        let mut place = 0;
        while let Some(&index) = self.copies.get(record as usize).and_then(|copies| copies.get(place)) {
            let run = self.runs[index as usize];
            let Some(gap) = gone.iter().position(|gap| gap.0 < run.to && run.from < gap.1) else {
                place += 1;
                continue;
            };
            let (start, end) = gone[gap];
            if run.from < start {
                self.split_copies(record, place, start);
                place += 1;
                continue;
            }
            if end < run.to {
                self.split_copies(record, place, end);
            }
            let end_of_run = run.to.min(end);
            self.take_copies(record, place);
            self.runs[index as usize].copy = 0;
            self.insert_run(index);
            let rest = [(start, run.from), (end_of_run, end)];
            gone.splice(gap..=gap, rest.into_iter().filter(|(from, to)| from < to));
            if gone.is_empty() {
                break;
            }
        }
        gone
    }

    /// The owner of copies lets go of blocks `from..to`, last one first. Some of them may be the ones that are found by now.
    #[cold]
    pub(in crate::kv) fn release_copies(&mut self, record: u32, from: u32, mut to: u32, copy: u32) {
        while from < to {
            let place = self.place_of(record, copy, to);
            let before = place.checked_sub(1).map(|place| self.runs[self.copies[record as usize][place] as usize]);
            let start = match before.filter(|run| run.copy == copy && from < run.to) {
                Some(run) if run.to < to => run.to,
                Some(run) => {
                    let mut place = place - 1;
                    if to < run.to {
                        self.split_copies(record, place, to);
                    }
                    if run.from < from {
                        self.split_copies(record, place, from);
                        place += 1;
                    }
                    let index = self.copies[record as usize][place];
                    if self.let_go(index) {
                        self.append_free(index);
                    }
                    to = run.from.max(from);
                    continue;
                }
                None => from,
            };
            self.release(record, start, to);
            to = start;
        }
    }

    /// How many runs of further copies of a record come before the one with this number that starts at `from`.
    fn place_of(&self, record: u32, copy: u32, from: u32) -> usize {
        let before = |&index: &u32| {
            let Run { copy: other, from: start, .. } = self.runs[index as usize];
            (other, start) < (copy, from)
        };
        self.copies.get(record as usize).map_or(0, |copies| copies.partition_point(before))
    }

    /// Splits a run of further copies in two.
    fn split_copies(&mut self, record: u32, place: usize, at: u32) {
        let index = self.copies[record as usize][place];
        let run = self.runs[index as usize];
        let second = self.new_run(record, at, run.to, run.refs);
        self.runs[second as usize].copy = run.copy;
        self.runs[index as usize].to = at;
        if run.refs == 0 {
            // The last blocks are taken first.
            self.insert_before(index, second);
        }
        self.copies[record as usize].insert(place + 1, second);
        self.copied += 1;
    }

    fn take_copies(&mut self, record: u32, place: usize) {
        debug_assert!(record != NONE, "only named blocks have copies");
        if self.copies[record as usize].remove(place).is_some() {
            self.copied -= 1;
        }
    }
}
