//! The order in which free blocks are taken: the longest free first. A queue of single blocks that can be found again and of runs
//! of blocks that cannot, from which a single one can be taken out of the middle.

/// Stands for "no entry" and "no block".
pub(super) const NONE: u32 = u32::MAX;

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    /// A block that can be found.
    Named(u32),
    /// Blocks that nobody will look up; they follow a block of the tree, told by its index and the number it was stored under.
    Run { parent: u32, parent_stamp: u64 },
}

#[derive(Clone, Copy)]
struct Entry {
    previous: u32,
    next: u32,
    count: u32,
    what: Free,
}

/// The queue.
pub(super) struct FreeQueue {
    entries: Vec<Entry>,
    spare: Vec<u32>,
    first: u32,
    last: u32,
    blocks: u64,
}

impl FreeQueue {
    pub fn new() -> FreeQueue {
        FreeQueue { entries: Vec::new(), spare: Vec::new(), first: NONE, last: NONE, blocks: 0 }
    }

    /// Blocks in the queue.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Appends a block that can be found; its entry.
    pub fn append(&mut self, block: u32) -> u32 {
        self.push(1, Free::Named(block))
    }

    /// Appends a run. True when it has an entry of its own: a run that follows nothing joins one like it at the end.
    pub fn append_run(&mut self, count: u32, parent: u32, parent_stamp: u64) -> bool {
        let what = Free::Run { parent, parent_stamp };
        if parent == NONE && self.last != NONE && self.entries[self.last as usize].what == what {
            let last = &mut self.entries[self.last as usize];
            if let Some(sum) = last.count.checked_add(count) {
                last.count = sum;
                self.blocks += u64::from(count);
                return false;
            }
        }
        self.push(count, what);
        true
    }

    /// Takes up to `most` blocks from the front entry: how many, what it was, and whether nothing is left of it. `None` when empty.
    pub fn take(&mut self, most: u64) -> Option<(u32, Free, bool)> {
        let entry = self.entries.get_mut(self.first as usize)?;
        let taken = u64::from(entry.count).min(most) as u32;
        entry.count -= taken;
        let (what, used_up) = (entry.what, entry.count == 0);
        self.blocks -= u64::from(taken);
        if used_up {
            self.unlink(self.first);
        }
        Some((taken, what, used_up))
    }

    /// Takes a single block out of the queue.
    pub fn remove(&mut self, entry: u32) {
        self.blocks -= u64::from(self.entries[entry as usize].count);
        self.unlink(entry);
    }

    fn push(&mut self, count: u32, what: Free) -> u32 {
        self.blocks += u64::from(count);
        let entry = Entry { previous: self.last, next: NONE, count, what };
        let index = match self.spare.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        if self.last == NONE {
            self.first = index;
        } else {
            self.entries[self.last as usize].next = index;
        }
        self.last = index;
        index
    }

    fn unlink(&mut self, index: u32) {
        let Entry { previous, next, .. } = self.entries[index as usize];
        if previous == NONE {
            self.first = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next == NONE {
            self.last = previous;
        } else {
            self.entries[next as usize].previous = previous;
        }
        self.spare.push(index);
    }
}
