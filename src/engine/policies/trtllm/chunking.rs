//! Chunked contexts of the V1 scheduler: which prompts run in a step, and how much of each.

use std::collections::BTreeSet;

use super::{Room, Stop, Trtllm, hold};
use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::JobId;

/// `context_chunking_policy`. Pieces are multiples of a unit (a block, mostly) except the last of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// The first takes all it can, then the next.
    #[default]
    FirstComeFirstServed,
    /// One block each in turn, until the step is full.
    EqualProgress,
    /// One block each, even when more would fit.
    ForceChunk,
}

impl Trtllm {
    /// Contexts under way and waiting ones that memory allows, cut to what is left of the step.
    pub(super) fn chunked_contexts(&mut self, core: &mut Core, room: &mut Room, paused: bool) -> Stop {
        let mut chosen: Vec<(JobId, u64)> =
            core.prefilling.iter().take(room.requests as usize).map(|&id| (id, core.jobs[id].target() - core.jobs[id].computed)).collect();
        let under_way = chosen.len();
        let (waiting, stop) = if paused { (Vec::new(), Stop::Step) } else { self.fitting(core, room.requests as usize - under_way) };
        chosen.extend(waiting.iter().map(|&(id, tokens)| (id, tokens)));

        let remaining: Vec<u64> = chosen.iter().map(|&(_, tokens)| tokens).collect();
        let pieces = self.options.chunking.cut(&remaining, room.tokens, self.unit(core));
        let mut all = true;
        for (place, (&(id, _), &piece)) in chosen.iter().zip(&pieces).enumerate() {
            if piece == 0 {
                all = false;
                if place >= under_way {
                    hold(core, id, HoldRule::Budget, remaining[place], u64::from(room.tokens));
                }
                continue;
            }
            let mut piece = piece;
            if place >= under_way {
                let Some(index) = core.waiting.iter().position(|&waiting| waiting == id) else { continue };
                // What was admitted before it may have evicted a part of what it was to find.
                let cached = core.cached(id).tokens;
                piece = piece.min((core.jobs[id].target() - cached) as u32);
                self.start(core, index, cached);
            }
            core.schedule_prefill(id, piece);
            room.tokens -= piece;
            room.requests -= 1;
        }
        if all { stop } else { Stop::Step }
    }

    /// Waiting requests that memory allows, at most `most`, with the tokens that each has to compute, and why there are no more.
    fn fitting(&mut self, core: &mut Core, most: usize) -> (Vec<(JobId, u64)>, Stop) {
        let mut producing = BTreeSet::new();
        for place in 0..core.prefilling.len() {
            producing.extend(core.pool.first_new_block(core.prefilling[place]));
        }
        let mut chosen: Vec<(JobId, u64)> = Vec::new();
        let mut free = core.pool.free();
        let mut index = 0;
        let seats = self.seats(core).saturating_sub(core.running_len()) as usize;
        loop {
            let candidate = match self.next_candidate(core, &mut index, &mut producing, &chosen) {
                Ok(Some(id)) => id,
                Ok(None) => return (chosen, Stop::UntilEvent),
                Err(stop) => return (chosen, stop),
            };
            if chosen.len() >= most.min(seats) {
                hold(core, candidate, HoldRule::Seats, 1, 0);
                return (chosen, Stop::Step);
            }
            let hit = core.cached(candidate);
            let Some(blocks) = self.claim(core, candidate, hit.tokens, hit.free_blocks, free) else {
                self.block(core, index);
                return (chosen, Stop::UntilEvent);
            };
            free -= blocks;
            chosen.push((candidate, core.jobs[candidate].target() - hit.tokens));
            index += 1;
        }
    }
}

impl Chunking {
    /// Tokens of each context in this step, given what each has left; 0 for one that does not run.
    pub(super) fn cut(self, remaining: &[u64], tokens: u32, unit: u32) -> Vec<u32> {
        let capacity = u64::from(tokens);
        let unit = u64::from(unit);
        let fits = remaining.iter().sum::<u64>() <= capacity;
        let pieces: Vec<u64> = match self {
            _ if fits && self != Chunking::ForceChunk => remaining.to_vec(),
            Chunking::FirstComeFirstServed => {
                let mut left = capacity;
                let piece = |&remaining: &u64| {
                    let piece = if remaining <= left { remaining } else { left / unit * unit };
                    left -= piece;
                    piece
                };
                remaining.iter().map(piece).collect()
            }
            Chunking::EqualProgress => equal_progress(remaining, capacity, unit),
            Chunking::ForceChunk => {
                let mut left = capacity;
                let piece = |&remaining: &u64| {
                    let piece = if remaining.min(unit) <= left { remaining.min(unit) } else { 0 };
                    left -= piece;
                    piece
                };
                remaining.iter().map(piece).collect()
            }
        };
        pieces.into_iter().map(|piece| piece as u32).collect()
    }
}

/// One unit each in turn while something moves.
fn equal_progress(remaining: &[u64], capacity: u64, unit: u64) -> Vec<u64> {
    let mut pieces = vec![0; remaining.len()];
    let mut spent = 0;
    loop {
        let before = spent;
        for (piece, &remaining) in pieces.iter_mut().zip(remaining) {
            let step = unit.min(remaining - *piece);
            if spent + step <= capacity {
                *piece += step;
                spent += step;
            }
        }
        if spent == before {
            return pieces;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_takes_all_it_can_in_whole_blocks() {
        let cut = |remaining: &[u64], tokens| Chunking::FirstComeFirstServed.cut(remaining, tokens, 32);
        assert_eq!(cut(&[100, 100], 200), [100, 100]);
        // 199: the second gets 99, cut to three blocks; the third gets none of what is left (3 tokens).
        assert_eq!(cut(&[100, 100, 50], 199), [100, 96, 0]);
        // A later one that fits whole takes what an earlier one could not use.
        assert_eq!(cut(&[100, 100, 3], 199), [100, 96, 3]);
    }

    #[test]
    fn equal_progress_goes_round() {
        // Ten units of 32 fit into 330: four, three and three; 10 tokens are left over, too few for a unit.
        assert_eq!(Chunking::EqualProgress.cut(&[1000, 1000, 1000], 330, 32), [128, 96, 96]);
        // The short one ends with less than a unit, and the room goes to the others.
        assert_eq!(Chunking::EqualProgress.cut(&[1000, 40, 1000], 330, 32), [160, 40, 128]);
    }

    #[test]
    fn a_forced_chunk_is_one_block_even_when_all_fits() {
        assert_eq!(Chunking::ForceChunk.cut(&[100, 20, 100], 1000, 32), [32, 20, 32]);
        assert_eq!(Chunking::ForceChunk.cut(&[100, 100], 40, 32), [32, 0]);
    }
}
