//! Dynamo's queue before its KV router (`dynamo-kv-router`, `scheduling/queue.rs` and `policy.rs`): requests wait while every worker has more
//! prefill in flight than it should. Who waits is kept in `cluster::admission`; here is when, and in which order.

/// Who goes next: the greatest score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOrder {
    /// First come, first served.
    Fcfs,
    /// Last come, first served.
    Lcfs,
    /// Weighted shortest processing time: the fewest tokens to compute, by the request's weight.
    Wspt,
}

impl QueueOrder {
    /// Of a request that has come at `arrival_s` and has `new_tokens` tokens to compute where most of it is cached. A positive priority is
    /// worth as many seconds, or adds as much to a weight of 1; a negative one counts for nothing.
    pub fn score(self, priority: i32, arrival_s: f64, new_tokens: u64) -> f64 {
        let jump = f64::from(priority.max(0));
        match self {
            QueueOrder::Fcfs => jump - arrival_s,
            QueueOrder::Lcfs => jump + arrival_s,
            QueueOrder::Wspt => (1.0 + jump) / new_tokens.max(1) as f64,
        }
    }
}

/// The queue's options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvQueue {
    /// `router_queue_threshold`: of a step's token budget.
    pub threshold: f64,
    pub order: QueueOrder,
    /// The workers' budget of a step, tokens.
    pub max_num_batched_tokens: u32,
}

impl KvQueue {
    /// Whether a worker with so many prompt tokens in flight counts as busy.
    pub fn is_busy(&self, active_prefill_tokens: u64) -> bool {
        active_prefill_tokens as f64 > self.threshold * f64::from(self.max_num_batched_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules' own examples (`scheduling/policy.rs`): a jump of 50 s beats an arrival 5 s before; of 1,024 tokens 960 are cached.
    #[test]
    fn scores_by_hand() {
        let fcfs = |priority, arrival_s| QueueOrder::Fcfs.score(priority, arrival_s, 512);
        assert!(fcfs(50, 5.0) > fcfs(0, 0.0) && fcfs(0, 1.0) > fcfs(0, 10.0));
        let lcfs = |priority, arrival_s| QueueOrder::Lcfs.score(priority, arrival_s, 512);
        assert!(lcfs(0, 10.0) > lcfs(0, 1.0) && lcfs(100, 10.0) > lcfs(0, 10.0));
        let wspt = |priority, new_tokens| QueueOrder::Wspt.score(priority, 3.0, new_tokens);
        assert_eq!((wspt(0, 1024 - 960), wspt(0, 0), wspt(5, 512)), (1.0 / 64.0, 1.0, 6.0 / 512.0));
        assert!(wspt(0, 100) > wspt(0, 1000) && wspt(-3, 512) == wspt(0, 512));
    }

    #[test]
    fn busy_is_more_than_the_threshold() {
        let queue = KvQueue { threshold: 1.5, order: QueueOrder::Fcfs, max_num_batched_tokens: 2048 };
        assert!(!queue.is_busy(3072) && queue.is_busy(3073));
    }
}
