//! What happened to a fleet in a run: replicas that came and went, failures, decisions, tenants. Empty where nothing of it was asked for.

use serde::Serialize;

/// Something that happened to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetEventKind {
    /// A planner or scaler asks for so many replicas (`value`), from `before`.
    Decision,
    Starting,
    Serving,
    Draining,
    Stopped,
    /// Gone, with all it had.
    Failed,
    /// Taken down in an orderly way.
    TakenDown,
    CutOff,
    Reconnected,
    /// Slower by a factor of `value` thousandths; 1000 is the full speed.
    Slowed,
    RouterFailed,
    RouterBack,
}

/// One line of the fleet's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetEvent {
    pub at_ps: u64,
    pub kind: FleetEventKind,
    /// None: it concerns them all.
    pub replica: Option<u16>,
    /// Where there are a prefill and a decode pool (0 and 1): the one concerned.
    pub pool: Option<u8>,
    pub before: u32,
    /// Requests lost by it, or what the kind says.
    pub value: u32,
    pub reason: &'static str,
}

impl FleetEvent {
    /// In words, without the time.
    pub fn sentence(&self) -> String {
        let event = self;
        let who = event.replica.map_or_else(|| "the replicas".to_owned(), |replica| format!("replica {replica}"));
        let why = if event.reason.is_empty() { String::new() } else { format!(" ({})", event.reason) };
        let lost = match event.value {
            0 => String::new(),
            1 => ", one request lost".to_owned(),
            count => format!(", {count} requests lost"),
        };
        let of = event.pool.map_or("", |pool| if pool == 0 { " of the prefill pool" } else { " of the decode pool" });
        match event.kind {
            FleetEventKind::Decision => format!("{} replicas{of} wanted, from {}{why}", event.value, event.before),
            FleetEventKind::Starting => format!("{who} starts{why}"),
            FleetEventKind::Serving => format!("{who} serves{why}"),
            FleetEventKind::Draining => format!("{who} takes no more requests{why}"),
            FleetEventKind::Stopped => format!("{who} is stopped{why}"),
            FleetEventKind::Failed => format!("{who} fails{why}{lost}"),
            FleetEventKind::TakenDown => format!("{who} is taken down{why}"),
            FleetEventKind::CutOff => format!("{who} cannot be reached{why}{lost}"),
            FleetEventKind::Reconnected => format!("{who} can be reached again{why}"),
            FleetEventKind::Slowed if event.value == 1000 => format!("{who} is at full speed again{why}"),
            FleetEventKind::Slowed => format!("{who} takes {:.2} times as long{why}", f64::from(event.value) / 1000.0),
            FleetEventKind::RouterFailed => format!("the router fails{why}{lost}"),
            FleetEventKind::RouterBack => format!("the router is back{why}"),
        }
    }
}

/// How many replicas are in which state from an instant on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FleetSize {
    pub at_ps: u64,
    pub starting: u32,
    pub serving: u32,
    pub draining: u32,
    /// Failed or taken down.
    pub down: u32,
    /// Nobody can be served: no replica serves, or none of one of the pools.
    pub out_of_service: bool,
}

/// One tenant's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantLog {
    pub name: String,
    pub weight: f64,
    pub profiles: Vec<u16>,
}

/// The history of a fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetLog {
    /// Replicas may come, go, fail, or be waited for in this run.
    pub kept: bool,
    /// At most `MOST_EVENTS`, the first ones.
    pub events: Vec<FleetEvent>,
    /// Events beyond those kept.
    pub more_events: u64,
    pub sizes: Vec<FleetSize>,
    /// The same of the prefill and the decode pool, where there are such.
    pub pools: Vec<Vec<FleetSize>>,
    /// By replica, when its GPUs were paid for: from and to, ps.
    pub paid: Vec<Vec<(u64, u64)>>,
    pub failures: u64,
    pub scale_ups: u64,
    pub scale_downs: u64,
    pub lost_attempts: u64,
    /// Tokens that came out for nothing.
    pub lost_tokens: u64,
    pub lost_prefill_tokens: u64,
    pub queue_peak: u32,
    pub tenants: Vec<TenantLog>,
}

/// Events kept.
pub const MOST_EVENTS: usize = 20_000;

impl FleetLog {
    pub fn event(&mut self, event: FleetEvent) {
        if self.events.len() < MOST_EVENTS {
            self.events.push(event);
        } else {
            self.more_events += 1;
        }
    }

    /// The sizes change; of several changes at one instant the last counts.
    pub fn size(&mut self, size: FleetSize) {
        changed(&mut self.sizes, size);
    }

    /// Those of the pools do.
    pub fn sizes_of_pools(&mut self, sizes: &[FleetSize]) {
        for (pool, size) in self.pools.iter_mut().zip(sizes) {
            changed(pool, *size);
        }
    }

    /// How long a replica's GPUs were paid for within a window, ps; all of it where nothing was kept.
    pub fn paid_ps(&self, replica: usize, from_ps: u64, to_ps: u64) -> u64 {
        if !self.kept {
            return to_ps.saturating_sub(from_ps);
        }
        let spans = self.paid.get(replica).map_or(&[][..], Vec::as_slice);
        spans.iter().map(|&(start, end)| end.min(to_ps).saturating_sub(start.max(from_ps))).sum()
    }

    /// Mean number of serving replicas over a window, the fewest and the most.
    pub fn serving(&self, from_ps: u64, to_ps: u64) -> (f64, u32, u32) {
        serving(&self.sizes, from_ps, to_ps)
    }

    /// Time within a window in which nobody could be served, ps.
    pub fn without_service_ps(&self, from_ps: u64, to_ps: u64) -> u64 {
        let end = |index: usize| self.sizes.get(index + 1).map_or(to_ps, |next| next.at_ps).min(to_ps);
        let out = self.sizes.iter().enumerate().filter(|(_, size)| size.out_of_service);
        out.map(|(index, size)| end(index).saturating_sub(size.at_ps.max(from_ps))).sum()
    }
}

fn changed(sizes: &mut Vec<FleetSize>, size: FleetSize) {
    match sizes.last_mut() {
        Some(last) if last.at_ps == size.at_ps => *last = size,
        Some(last) if FleetSize { at_ps: size.at_ps, ..*last } == size => {}
        _ => sizes.push(size),
    }
}

/// Mean number of serving replicas over a window, the fewest and the most.
pub fn serving(sizes: &[FleetSize], from_ps: u64, to_ps: u64) -> (f64, u32, u32) {
    let (mut integral, mut least, mut most) = (0u128, u32::MAX, 0);
    for (index, size) in sizes.iter().enumerate() {
        let end = sizes.get(index + 1).map_or(to_ps, |next| next.at_ps).min(to_ps);
        let start = size.at_ps.max(from_ps);
        if end > start {
            integral += u128::from(end - start) * u128::from(size.serving);
            (least, most) = (least.min(size.serving), most.max(size.serving));
        }
    }
    let span = to_ps.saturating_sub(from_ps);
    (if span > 0 { integral as f64 / span as f64 } else { 0.0 }, least.min(most), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_bills_of_a_window() {
        let mut log = FleetLog { kept: true, paid: vec![vec![(0, 40), (60, 100)], vec![(20, 100)]], ..FleetLog::default() };
        let size = |at_ps, serving| FleetSize { at_ps, serving, out_of_service: serving == 0, ..FleetSize::default() };
        for entry in [size(0, 1), size(20, 2), size(40, 1), size(40, 0), size(50, 0), size(60, 1)] {
            log.size(entry);
        }
        assert_eq!(log.sizes.len(), 4);
        // 20 * 1 + 20 * 2 + 20 * 0 + 40 * 1.
        assert_eq!(log.serving(0, 100), (1.0, 0, 2));
        assert_eq!(log.serving(30, 50), (1.0, 0, 2));
        assert_eq!(log.without_service_ps(0, 100), 20);
        assert_eq!((log.paid_ps(0, 30, 90), log.paid_ps(1, 30, 90), log.paid_ps(2, 30, 90)), (40, 60, 0));
        assert_eq!(FleetLog::default().paid_ps(0, 30, 90), 60);
    }
}
