//! The queue before the replicas: who is let in, who waits, who goes next. Which replica serves is the router's.
//!
//! Fairness between tenants is the virtual token counter (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024,
//! algorithm 2, with the predicted output of its section 4.4): the tenant that has been served least goes first; service is one for a
//! prompt token and two for an output token, over the tenant's weight; one that comes back from idleness starts from the least of those
//! that wait, so that nobody saves up.

use std::collections::{BTreeMap, VecDeque};

use crate::units::Time;

/// Who goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First come, first served.
    Fcfs,
    /// The smallest number first, then first come.
    Priority,
    /// The greatest score first, by which a router orders a queue of its own, then first come.
    Score,
    /// The tenant served least.
    Fair,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TenantSpec {
    pub name: String,
    pub weight: f64,
    /// Requests of it that may wait.
    pub max_queue: Option<u32>,
    /// Requests a second, and how many may come at once.
    pub rate: Option<(f64, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AdmissionSpec {
    /// Requests sent to a replica that have not ended, at most; none: no limit.
    pub max_in_flight_per_replica: Option<u32>,
    /// Requests that may wait; none: no limit.
    pub max_queue: Option<u32>,
    pub order: Order,
    /// At least one.
    pub tenants: Vec<TenantSpec>,
    /// Of each client profile, the tenant.
    pub tenant_of: Vec<u16>,
}

/// A request as the queue needs to know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticket {
    pub id: u32,
    pub tenant: u16,
    pub priority: i32,
    pub input_tokens: u32,
    /// For [`Order::Score`] alone.
    pub score: f64,
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    RateLimited,
}

/// Outputs of a tenant that its next one is predicted from.
const REMEMBERED: usize = 5;
/// Service of an output token, of a prompt token's.
const OUTPUT_WEIGHT: f64 = 2.0;

#[derive(Clone, Debug, Default)]
struct Tenant {
    waiting: VecDeque<Ticket>,
    served: f64,
    outputs: VecDeque<u32>,
    tokens: f64,
    refilled: Time,
}

impl Tenant {
    fn predicted(&self) -> f64 {
        if self.outputs.is_empty() {
            return 0.0;
        }
        self.outputs.iter().map(|&tokens| f64::from(tokens)).sum::<f64>() / self.outputs.len() as f64
    }
}

/// The queue.
#[derive(Clone, Debug)]
pub struct Admission {
    spec: AdmissionSpec,
    tenants: Vec<Tenant>,
    /// By rank, the lowest first, then order of coming; for [`Order::Priority`] and [`Order::Score`].
    ranked: BTreeMap<(u64, u64), Ticket>,
    arrivals: u64,
    waiting: u32,
    /// What was charged beforehand for outputs, by request.
    charged: BTreeMap<u32, f64>,
}

impl Admission {
    pub fn new(spec: AdmissionSpec) -> Admission {
        let fresh = |tenant: &TenantSpec| Tenant { tokens: tenant.rate.map_or(0.0, |(_, burst)| burst), ..Tenant::default() };
        let tenants = spec.tenants.iter().map(fresh).collect();
        Admission { spec, tenants, ranked: BTreeMap::new(), arrivals: 0, waiting: 0, charged: BTreeMap::new() }
    }

    pub fn spec(&self) -> &AdmissionSpec {
        &self.spec
    }

    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    pub fn tenant_of(&self, profile: u16) -> u16 {
        self.spec.tenant_of.get(usize::from(profile)).copied().unwrap_or(0)
    }

    /// Service that a tenant has had, tokens weighed.
    pub fn served(&self, tenant: u16) -> f64 {
        self.tenants.get(usize::from(tenant)).map_or(0.0, |tenant| tenant.served)
    }

    /// A request comes. It waits from here on, unless it is refused; `must_wait` says that none is let in at once.
    pub fn come(&mut self, ticket: Ticket, now: Time, must_wait: bool) -> Result<(), Refusal> {
        let place = usize::from(ticket.tenant);
        let Some(spec) = self.spec.tenants.get(place) else { return Err(Refusal::QueueFull) };
        let tenant = &mut self.tenants[place];
        if let Some((rate, burst)) = spec.rate {
            tenant.tokens = (tenant.tokens + rate * now.since(tenant.refilled).as_s()).min(burst);
            tenant.refilled = now;
            if tenant.tokens < 1.0 {
                return Err(Refusal::RateLimited);
            }
        }
        let waits = must_wait || self.waiting > 0;
        let full = |most: Option<u32>, waiting: u32| waits && most.is_some_and(|most| waiting >= most);
        if full(self.spec.max_queue, self.waiting) || full(spec.max_queue, tenant.waiting.len() as u32) {
            return Err(Refusal::QueueFull);
        }
        if spec.rate.is_some() {
            tenant.tokens -= 1.0;
        }
        self.lift(place);
        self.put(ticket, false);
        Ok(())
    }

    /// One that was let in and has to wait again, before the others of its tenant.
    pub fn come_back(&mut self, ticket: Ticket) {
        self.put(ticket, true);
    }

    /// A tenant that comes back from idleness has had at least as much service as the least served of those that wait.
    fn lift(&mut self, place: usize) {
        if self.spec.order != Order::Fair || !self.tenants[place].waiting.is_empty() {
            return;
        }
        let busy = self.tenants.iter().filter(|tenant| !tenant.waiting.is_empty());
        if let Some(least) = busy.map(|tenant| tenant.served).reduce(f64::min) {
            self.tenants[place].served = self.tenants[place].served.max(least);
        }
    }

    fn put(&mut self, ticket: Ticket, front: bool) {
        self.waiting += 1;
        self.arrivals += 1;
        match self.spec.order {
            Order::Priority => {
                let rank = i64::from(ticket.priority) - i64::from(i32::MIN);
                self.ranked.insert((rank as u64, self.arrivals), ticket);
            }
            Order::Score => {
                self.ranked.insert((!ascending(ticket.score), self.arrivals), ticket);
            }
            Order::Fcfs => Self::push(&mut self.tenants[0].waiting, ticket, front),
            Order::Fair => Self::push(&mut self.tenants[usize::from(ticket.tenant)].waiting, ticket, front),
        }
    }

    fn push(queue: &mut VecDeque<Ticket>, ticket: Ticket, front: bool) {
        if front { queue.push_front(ticket) } else { queue.push_back(ticket) }
    }

    /// Takes the one that goes next and charges its tenant.
    pub fn take_next(&mut self) -> Option<Ticket> {
        let ticket = match self.spec.order {
            Order::Priority | Order::Score => self.ranked.pop_first().map(|(_, ticket)| ticket),
            Order::Fcfs => self.tenants[0].waiting.pop_front(),
            Order::Fair => {
                let busy = self.tenants.iter_mut().filter(|tenant| !tenant.waiting.is_empty());
                // The first of the least served ones.
                let least = busy.reduce(|least, tenant| if tenant.served < least.served { tenant } else { least })?;
                least.waiting.pop_front()
            }
        }?;
        self.waiting -= 1;
        let place = usize::from(ticket.tenant);
        let output = OUTPUT_WEIGHT * self.tenants[place].predicted() / self.spec.tenants[place].weight;
        self.tenants[place].served += f64::from(ticket.input_tokens) / self.spec.tenants[place].weight + output;
        self.charged.insert(ticket.id, output);
        Some(ticket)
    }

    /// Takes one out that waits no longer.
    pub fn leave(&mut self, id: u32) {
        let before = self.waiting;
        self.ranked.retain(|_, ticket| ticket.id != id);
        self.tenants.iter_mut().for_each(|tenant| tenant.waiting.retain(|ticket| ticket.id != id));
        let there = self.ranked.len() + self.tenants.iter().map(|tenant| tenant.waiting.len()).sum::<usize>();
        self.waiting = there as u32;
        debug_assert!(before == self.waiting || before == self.waiting + 1);
    }

    /// A request that was let in has ended with so many tokens: what was charged for them beforehand is put right. Where it is not
    /// known how many there were, that stays.
    pub fn ended(&mut self, id: u32, tenant: u16, output_tokens: Option<u32>) {
        let (Some(charged), Some(output_tokens)) = (self.charged.remove(&id), output_tokens) else { return };
        let place = usize::from(tenant);
        let Some(spec) = self.spec.tenants.get(place) else { return };
        let tenant = &mut self.tenants[place];
        tenant.served += OUTPUT_WEIGHT * f64::from(output_tokens) / spec.weight - charged;
        if tenant.outputs.len() == REMEMBERED {
            tenant.outputs.pop_front();
        }
        tenant.outputs.push_back(output_tokens);
    }
}

/// A number's bits in an order like its own; it is not NaN.
fn ascending(number: f64) -> u64 {
    // 0 and -0 are the same.
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str, weight: f64) -> TenantSpec {
        TenantSpec { name: name.to_owned(), weight, max_queue: None, rate: None }
    }

    fn queue(order: Order, tenants: Vec<TenantSpec>, max_queue: Option<u32>) -> Admission {
        let tenant_of = (0..tenants.len() as u16).collect();
        Admission::new(AdmissionSpec { max_in_flight_per_replica: Some(1), max_queue, order, tenants, tenant_of })
    }

    fn ticket(id: u32, tenant: u16, input_tokens: u32) -> Ticket {
        Ticket { id, tenant, priority: 0, input_tokens, score: 0.0 }
    }

    fn order(queue: &mut Admission) -> Vec<u32> {
        std::iter::from_fn(|| queue.take_next()).map(|ticket| ticket.id).collect()
    }

    #[test]
    fn first_come_or_most_urgent() {
        let mut fcfs = queue(Order::Fcfs, vec![tenant("a", 1.0), tenant("b", 1.0)], None);
        let mut priority = queue(Order::Priority, vec![tenant("a", 1.0), tenant("b", 1.0)], None);
        for (id, urgency) in [(1, 5), (2, 0), (3, 5), (4, -1)] {
            let ticket = Ticket { id, tenant: (id % 2) as u16, priority: urgency, input_tokens: 10, score: 0.0 };
            assert_eq!(fcfs.come(ticket, Time::ZERO, true), Ok(()));
            assert_eq!(priority.come(ticket, Time::ZERO, true), Ok(()));
        }
        assert_eq!(order(&mut fcfs), [1, 2, 3, 4]);
        assert_eq!(order(&mut priority), [4, 2, 1, 3]);
    }

    #[test]
    fn the_greatest_score_goes_first() {
        let mut queue = queue(Order::Score, vec![tenant("a", 1.0)], None);
        for (id, score) in [(1, 0.5), (2, -3.0), (3, 7.0), (4, -0.0), (5, 0.5), (6, 0.0), (7, -2.5)] {
            queue.come(Ticket { score, ..ticket(id, 0, 10) }, Time::ZERO, true).unwrap();
        }
        assert_eq!(order(&mut queue), [3, 1, 5, 4, 6, 7, 2]);
    }

    /// Served after each: a 100, b 300, a 200, a 300 (a draw, the first), a 400, b 600.
    #[test]
    fn the_tenant_served_least_goes_first() {
        let mut queue = queue(Order::Fair, vec![tenant("a", 1.0), tenant("b", 1.0)], None);
        for id in 0..5 {
            queue.come(ticket(id, 0, 100), Time::ZERO, true).unwrap();
        }
        for id in 10..12 {
            queue.come(ticket(id, 1, 300), Time::ZERO, true).unwrap();
        }
        assert_eq!(order(&mut queue), [0, 10, 1, 2, 3, 11, 4]);
        assert_eq!((queue.served(0), queue.served(1)), (500.0, 600.0));
    }

    #[test]
    fn weights_share_the_service() {
        let mut queue = queue(Order::Fair, vec![tenant("a", 3.0), tenant("b", 1.0)], None);
        for id in 0..400 {
            queue.come(ticket(id, (id % 2) as u16, 90), Time::ZERO, true).unwrap();
        }
        let first: Vec<u32> = (0..100).filter_map(|_| queue.take_next()).map(|ticket| ticket.id % 2).collect();
        assert_eq!(first.iter().filter(|&&tenant| tenant == 0).count(), 75);
    }

    #[test]
    fn outputs_count_twice_and_are_put_right() {
        let mut queue = queue(Order::Fair, vec![tenant("a", 1.0)], None);
        queue.come(ticket(1, 0, 100), Time::ZERO, true).unwrap();
        queue.take_next().unwrap();
        assert_eq!(queue.served(0), 100.0);
        queue.ended(1, 0, Some(50));
        assert_eq!(queue.served(0), 200.0);
        queue.come(ticket(2, 0, 10), Time::ZERO, true).unwrap();
        queue.take_next().unwrap();
        // 10 and twice the 50 predicted.
        assert_eq!(queue.served(0), 310.0);
        queue.ended(2, 0, Some(20));
        assert_eq!(queue.served(0), 250.0);
    }

    #[test]
    fn nobody_saves_up_by_being_idle() {
        let mut queue = queue(Order::Fair, vec![tenant("a", 1.0), tenant("b", 1.0)], None);
        for id in 0..20 {
            queue.come(ticket(id, 0, 100), Time::ZERO, true).unwrap();
        }
        for _ in 0..10 {
            queue.take_next();
        }
        queue.come(ticket(50, 1, 100), Time::ZERO, true).unwrap();
        queue.come(ticket(51, 1, 100), Time::ZERO, true).unwrap();
        assert_eq!(queue.served(1), 1000.0);
        // They take turns from here on.
        assert_eq!(order(&mut queue)[..4], [10, 50, 11, 51]);
    }

    #[test]
    fn full_queues_and_fast_tenants_are_refused() {
        let limited = TenantSpec { rate: Some((2.0, 1.0)), ..tenant("a", 1.0) };
        let small = TenantSpec { max_queue: Some(1), ..tenant("b", 1.0) };
        let mut queue = queue(Order::Fair, vec![limited, small, tenant("c", 1.0)], Some(3));
        assert_eq!(queue.come(ticket(1, 0, 1), Time::ZERO, true), Ok(()));
        assert_eq!(queue.come(ticket(2, 0, 1), Time::from_s(0.25), true), Err(Refusal::RateLimited));
        assert_eq!(queue.come(ticket(3, 0, 1), Time::from_s(0.5), true), Ok(()));
        assert_eq!(queue.come(ticket(4, 1, 1), Time::ZERO, true), Ok(()));
        assert_eq!(queue.come(ticket(5, 2, 1), Time::ZERO, true), Err(Refusal::QueueFull));
        queue.leave(1);
        assert_eq!(queue.come(ticket(6, 1, 1), Time::ZERO, true), Err(Refusal::QueueFull));
        assert_eq!(queue.come(ticket(7, 2, 1), Time::ZERO, true), Ok(()));
        assert_eq!(queue.waiting(), 3);
    }
}
