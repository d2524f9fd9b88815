//! Flows over shared links against hand-worked cases and against water poured byte by byte; which links lie between two GPUs.

use llmperforacle::cluster::network::{Fabric, FabricSpec, Flows, LinkId, Placement};
use llmperforacle::units::{PS_PER_S, Time};
use proptest::prelude::*;

const S: u64 = PS_PER_S;

/// Runs flows (start, bytes, path) to their ends: when each ended.
fn ends(capacities: &[u64], flows: &[(Time, u64, Vec<LinkId>)]) -> Vec<Time> {
    let mut network = Flows::new(capacities.to_vec());
    let mut ends = vec![Time::NEVER; flows.len()];
    let mut next = 0;
    loop {
        let start = flows.get(next).map_or(Time::NEVER, |flow| flow.0);
        let end = network.next_end();
        if start.min(end) == Time::NEVER {
            return ends;
        }
        if end <= start {
            let mut ended = Vec::new();
            network.end_by(end, &mut ended);
            ended.iter().for_each(|&owner| ends[owner as usize] = end);
        } else {
            network.start(start, next as u32, flows[next].1, &flows[next].2);
            next += 1;
        }
    }
}

#[test]
fn one_flow_has_the_link_to_itself() {
    assert_eq!(ends(&[100], &[(Time(5 * S), 300, vec![0])]), [Time(8 * S)]);
}

#[test]
fn two_flows_halve_a_link_and_the_later_one_speeds_up_when_it_is_alone() {
    // A: 100 alone, then 50 from t = 1 on. 300 bytes: 100 + 4 * 50: ends at 5. B: 4 * 50 = 200 by then, 100 left at 100: ends at 6.
    let flows = [(Time(0), 300, vec![0]), (Time(S), 300, vec![0])];
    assert_eq!(ends(&[100], &flows), [Time(5 * S), Time(6 * S)]);
}

#[test]
fn a_flow_held_back_elsewhere_leaves_its_share_to_others() {
    // The textbook case: A over both links, B and C over one each. Link 1 is narrow: A and C get 20 of its 40, B the 80 left of link 0.
    let mut network = Flows::new(vec![100, 40]);
    network.start(Time::ZERO, 0, 1000, &[0, 1]);
    network.start(Time::ZERO, 1, 1000, &[0]);
    network.start(Time::ZERO, 2, 1000, &[1]);
    assert_eq!(network.rates().collect::<Vec<_>>(), [(0, 20), (1, 80), (2, 20)]);
    // B ends at 12.5 s; A and C stay at 20 by link 1, and both end at 50 s.
    assert_eq!(
        ends(&[100, 40], &[(Time(0), 1000, vec![0, 1]), (Time(0), 1000, vec![0]), (Time(0), 1000, vec![1])]),
        [Time(50 * S), Time(25 * S / 2), Time(50 * S)]
    );
}

#[test]
fn a_stopped_flow_gives_its_share_back() {
    let mut network = Flows::new(vec![100]);
    network.start(Time::ZERO, 0, 200, &[0]);
    network.start(Time::ZERO, 1, 200, &[0]);
    network.stop(Time(2 * S), 1);
    // 100 bytes at 50, then the other 100 at 100.
    assert_eq!(network.next_end(), Time(3 * S));
    assert_eq!(network.carried(0), 200);
}

#[test]
fn an_end_is_the_first_picosecond_by_which_all_has_gone() {
    assert_eq!(ends(&[3], &[(Time(0), 1, vec![0])]), [Time(333_333_333_334)]);
    assert_eq!(ends(&[3], &[(Time(7), 0, vec![0])]), [Time(7)]);
    assert_eq!(ends(&[3], &[(Time(7), 1 << 40, vec![])]), [Time(7)]);
}

/// Rates by pouring one byte a second into every flow in turn, for as long as none of its links is full.
fn poured(capacities: &[u64], paths: &[Vec<LinkId>]) -> Vec<u64> {
    let mut spare = capacities.to_vec();
    let mut rates = vec![0; paths.len()];
    loop {
        let before = rates.clone();
        // A round that not all of the rising flows can take part in is not taken: the flows of a full link stay equal.
        let fits: Vec<bool> = paths
            .iter()
            .enumerate()
            .map(|(at, path)| {
                path.iter().all(|&link| {
                    let rising = paths.iter().enumerate().filter(|(other, path)| path.contains(&link) && !stuck(*other, &spare, paths));
                    !stuck(at, &spare, paths) && spare[link as usize] >= rising.count() as u64
                })
            })
            .collect();
        for (at, path) in paths.iter().enumerate().filter(|(at, _)| fits[*at]) {
            rates[at] += 1;
            path.iter().for_each(|&link| spare[link as usize] -= 1);
        }
        if rates == before {
            return rates;
        }
    }
}

fn stuck(flow: usize, spare: &[u64], paths: &[Vec<LinkId>]) -> bool {
    paths[flow].iter().any(|&link| spare[link as usize] == 0)
}

fn paths(links: u32) -> impl Strategy<Value = Vec<Vec<LinkId>>> {
    prop::collection::vec(prop::collection::btree_set(0..links, 1..4).prop_map(|path| path.into_iter().collect()), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The one division that is max-min fair: no link carries more than it can, and each flow has a link that is full (but for what
    /// whole bytes a second leave) on which no flow is faster than it.
    #[test]
    fn every_flow_has_a_bottleneck((capacities, paths) in (prop::collection::vec(1_000_u64..1_000_000_000_000, 6), paths(6))) {
        let mut network = Flows::new(capacities.clone());
        for (owner, path) in paths.iter().enumerate() {
            network.start(Time::ZERO, owner as u32, 1 << 50, path);
        }
        let rates: Vec<u64> = network.rates().map(|(_, rate)| rate).collect();
        let load = |link: u32| paths.iter().zip(&rates).filter(|(path, _)| path.contains(&link)).map(|(_, rate)| rate).sum::<u64>();
        for link in 0..6 {
            prop_assert!(load(link) <= capacities[link as usize]);
        }
        for (path, rate) in paths.iter().zip(&rates) {
            let slack = paths.len() as u64;
            let bottleneck = path.iter().any(|&link| {
                let fastest = paths.iter().zip(&rates).filter(|(other, _)| other.contains(&link)).map(|(_, rate)| *rate).max().unwrap_or(0);
                load(link) + slack >= capacities[link as usize] && fastest <= rate + slack
            });
            prop_assert!(bottleneck, "{path:?} at {rate} of {rates:?}");
        }
    }

    /// Whole runs against water poured byte by byte between events.
    #[test]
    fn ends_are_those_of_poured_water(
        (capacities, flows) in (prop::collection::vec(5_040_u64..5_041, 3), prop::collection::vec((0_u64..20, 1_u64..100_000, prop::collection::btree_set(0_u32..3, 1..3)), 1..5))
    ) {
        // Links of 5,040 bytes a second: whole shares for up to ten flows, so that nothing is lost by whole bytes on the first link.
        let mut flows: Vec<(Time, u64, Vec<LinkId>)> =
            flows.into_iter().map(|(at, bytes, path)| (Time(at * S), bytes, path.into_iter().collect())).collect();
        flows.sort_by_key(|flow| flow.0);
        let exact = ends(&capacities, &flows);
        // The reference: seconds and bytes in floats, rates poured.
        let mut left: Vec<f64> = flows.iter().map(|flow| flow.1 as f64).collect();
        let mut done = vec![f64::INFINITY; flows.len()];
        let mut now = 0.0;
        while done.iter().any(|end| end.is_infinite()) {
            let live: Vec<usize> = (0..flows.len()).filter(|&at| flows[at].0.as_s() <= now && done[at].is_infinite()).collect();
            let rates = poured(&capacities, &live.iter().map(|&at| flows[at].2.clone()).collect::<Vec<_>>());
            let arrival = flows.iter().map(|flow| flow.0.as_s()).filter(|&at| at > now).fold(f64::INFINITY, f64::min);
            let end = live.iter().zip(&rates).map(|(&at, &rate)| now + left[at] / rate as f64).fold(f64::INFINITY, f64::min);
            let next = arrival.min(end);
            for (&at, &rate) in live.iter().zip(&rates) {
                left[at] -= (next - now) * rate as f64;
                if left[at] < 1e-6 {
                    done[at] = next;
                }
            }
            now = next;
        }
        for (exact, reference) in exact.iter().zip(&done) {
            prop_assert!((exact.as_s() - reference).abs() < 1e-3 * reference.max(1.0), "{} {reference}", exact.as_s());
        }
    }

    /// What has gone over a link is what its flows brought.
    #[test]
    fn bytes_are_conserved(flows in prop::collection::vec((0_u64..5, 1_u64..1_000_000, prop::collection::btree_set(0_u32..4, 1..4)), 1..8)) {
        let mut network = Flows::new(vec![1_000_003, 700_001, 12_345, 999]);
        let mut expected = [0; 4];
        for (owner, (_, bytes, path)) in flows.iter().enumerate() {
            let path: Vec<LinkId> = path.iter().copied().collect();
            network.start(Time::ZERO, owner as u32, *bytes, &path);
            path.iter().for_each(|&link| expected[link as usize] += bytes);
        }
        let mut ended = Vec::new();
        while network.next_end() != Time::NEVER {
            network.end_by(network.next_end(), &mut ended);
        }
        prop_assert_eq!(ended.len(), flows.len());
        prop_assert_eq!([0, 1, 2, 3].map(|link| network.carried(link)), expected);
    }
}

fn fabric() -> FabricSpec {
    FabricSpec {
        nodes: 4,
        gpus_per_node: 8,
        port: 450_000_000_000,
        port_is_pcie: false,
        nics_per_node: 8,
        nic: 50_000_000_000,
        rail_optimised: true,
        nodes_per_leaf: 2,
        oversubscription: 2.0,
        port_latency: Time::from_us(1.0),
        leaf_latency: Time::from_us(2.0),
        spine_latency: Time::from_us(3.0),
    }
}

#[test]
fn rails_meet_under_one_leaf_and_other_places_over_a_spine() {
    let rails = Fabric::new(fabric());
    assert!(rails.path(3, 3).links.is_empty());
    let inside = rails.path(0, 7);
    assert_eq!((inside.links.len(), inside.latency, inside.by_network), (2, Time::from_us(1.0), false));
    // GPU 0 of node 0 and GPU 0 of node 1: bus, card, card, bus. GPU 1 of node 1 hangs under another leaf; node 2 is in another group.
    assert_eq!((rails.path(0, 8).links.len(), rails.path(0, 8).latency), (4, Time::from_us(2.0)));
    assert_eq!((rails.path(0, 9).links.len(), rails.path(0, 9).latency), (6, Time::from_us(5.0)));
    assert_eq!(rails.path(0, 16).links.len(), 6);
    let plain = Fabric::new(FabricSpec { rail_optimised: false, ..fabric() });
    assert_eq!((plain.path(0, 9).links.len(), plain.path(0, 16).links.len()), (4, 6));
    assert_eq!(rails.bandwidth(0, 8), 50_000_000_000);
    assert_eq!(rails.bandwidth(0, 1), 450_000_000_000);
}

#[test]
fn no_two_links_are_one() {
    for (nics, rails, pcie) in [(8, true, false), (4, false, false), (2, true, true), (1, false, true)] {
        let fabric = Fabric::new(FabricSpec { nics_per_node: nics, rail_optimised: rails, port_is_pcie: pcie, ..fabric() });
        let links = fabric.capacities().len() as u32;
        for from in 0..fabric.gpus() {
            for to in 0..fabric.gpus() {
                let path = fabric.path(from, to).links;
                assert!(path.iter().all(|&link| link < links));
                let back = fabric.path(to, from).links;
                assert!(path.iter().all(|link| !back.contains(link)), "a link serves both ways: {from} {to}");
                let mut once = path.clone();
                once.sort_unstable();
                once.dedup();
                assert_eq!(once.len(), path.len());
            }
        }
    }
}

#[test]
fn an_oversubscribed_spine_halves_what_all_send_at_once() {
    // Both nodes of the first group send by each of eight rails to the nodes of the second: 2 * 50 GB/s below a leaf, 50 above it.
    let rails = Fabric::new(fabric());
    let mut network = Flows::new(rails.capacities());
    for gpu in 0..16 {
        network.start(Time::ZERO, gpu, 25_000_000_000, &rails.path(gpu, gpu + 16).links);
    }
    assert!(network.rates().all(|(_, rate)| rate == 25_000_000_000));
    assert_eq!(network.next_end(), Time(S));
}

#[test]
fn cards_shared_by_gpus_are_shared_by_their_flows() {
    let two_cards = Fabric::new(FabricSpec { nics_per_node: 2, rail_optimised: false, ..fabric() });
    let mut network = Flows::new(two_cards.capacities());
    for gpu in 0..4 {
        network.start(Time::ZERO, gpu, 1, &two_cards.path(gpu, gpu + 8).links);
    }
    assert!(network.rates().all(|(_, rate)| rate == 12_500_000_000));
}

#[test]
fn groups_that_fit_into_a_node_stay_in_it() {
    let mut placement = Placement::new(8);
    assert_eq!([4, 2, 4, 8, 1, 16].map(|ranks| placement.take(ranks)), [0, 4, 8, 16, 24, 32]);
    assert_eq!(placement.nodes(), 6);
}
