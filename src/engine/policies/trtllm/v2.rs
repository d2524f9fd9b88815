//! Contexts of the V2 scheduler: after all generation, first come first served, each taking memory for its own piece only.

use super::{Room, Stop, Trtllm, hold};
use crate::engine::core::Core;
use crate::engine::held::HoldRule;
use crate::engine::job::Stage;

impl Trtllm {
    pub(super) fn v2_contexts(&mut self, core: &mut Core, room: &mut Room, paused: bool) -> Stop {
        let under_way = core.prefilling.clone();
        for id in under_way {
            if core.jobs[id].stage != Stage::Prefilling {
                continue; // Lost its memory to one before it.
            }
            let left = (core.jobs[id].target() - core.jobs[id].computed) as u32;
            let piece = self.piece(core, room, left);
            if room.requests == 0 || piece == 0 {
                return Stop::Step;
            }
            while !core.schedule_prefill(id, piece) {
                // Out of memory: the newest context gives way, for good only when nothing else would run.
                let newest = core.prefilling.last().copied().filter(|&newest| newest != id && !core.batch.prefill_jobs.contains(&newest));
                let Some(newest) = newest else { return Stop::Step };
                core.preempt(newest);
                if !core.batch.is_empty() {
                    return Stop::Step;
                }
            }
            room.tokens -= piece;
            room.requests -= 1;
        }
        if paused { Stop::Step } else { self.v2_admissions(core, room) }
    }

    fn v2_admissions(&mut self, core: &mut Core, room: &mut Room) -> Stop {
        while let Some(&id) = core.waiting.front() {
            if core.running_len() >= self.seats(core) {
                hold(core, id, HoldRule::Seats, 1, 0);
                return Stop::UntilEvent;
            }
            if let Some((needed, left)) = core.lacks_adapter_places(core.jobs[id].request.adapter, &[]) {
                hold(core, id, HoldRule::AdapterSlots, needed, left);
                return Stop::UntilEvent;
            }
            if self.held_too_much(core) || self.blocked == Some((id, core.jobs[id].request.id, core.pool.epoch())) {
                hold(core, id, HoldRule::KvBlocks, core.blocks_for(core.jobs[id].target()), core.pool.free());
                return Stop::UntilEvent;
            }
            let hit = core.cached(id);
            let left = (core.jobs[id].target() - hit.tokens) as u32;
            let piece = self.piece(core, room, left);
            if room.requests == 0 || piece == 0 {
                let rule = if core.limits.chunked_prefill { HoldRule::Budget } else { HoldRule::WholePrompt };
                hold(core, id, rule, u64::from(left), u64::from(room.tokens));
                return Stop::Step;
            }
            let blocks = core.blocks_for(hit.tokens + u64::from(piece)) - core.blocks_for(hit.tokens) + hit.free_blocks;
            if blocks > core.pool.free() {
                self.needed = blocks;
                self.block(core, 0);
                return Stop::UntilEvent;
            }
            self.start(core, 0, hit.tokens);
            core.schedule_prefill(id, piece);
            room.tokens -= piece;
            room.requests -= 1;
        }
        Stop::UntilEvent
    }

    /// Tokens of a context in this step; 0 when it does not fit.
    fn piece(&self, core: &Core, room: &Room, left: u32) -> u32 {
        let unit = self.unit(core);
        match left <= room.tokens {
            true => left,
            false if core.limits.chunked_prefill => room.tokens / unit * unit,
            false => 0,
        }
    }

    /// More is held than a request may (re)start above.
    fn held_too_much(&self, core: &Core) -> bool {
        let held = core.pool.used() as f64;
        core.running_len() > 0 && held > self.options.max_util_for_resume * core.pool.total() as f64
    }
}
