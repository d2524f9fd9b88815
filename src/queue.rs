//! Things in order of a key: mostly pushed in that order, sometimes not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// So far from the end of the list an item is put in its place there.
const NEAR: usize = 16;

/// A priority queue, smallest first, that costs no more than a list when it is filled (nearly) in order.
pub(crate) struct Queue<T> {
    in_order: VecDeque<T>,
    others: BinaryHeap<Reverse<T>>,
}

impl<T: Ord> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue { in_order: VecDeque::new(), others: BinaryHeap::new() }
    }

    #[inline]
    pub fn push(&mut self, item: T) {
        match self.in_order.back() {
            Some(last) if item < *last => self.push_before(item),
            _ => self.in_order.push_back(item),
        }
    }

    /// An item that is not the last.
    #[inline(never)]
    fn push_before(&mut self, item: T) {
        let list = &mut self.in_order;
        let nearest = list.len().saturating_sub(NEAR);
        let mut place = list.len() - 1;
        while place > nearest && item < list[place - 1] {
            place -= 1;
        }
        if place == nearest && list.len() >= NEAR {
            self.others.push(Reverse(item));
        } else {
            list.insert(place, item);
        }
    }

    #[inline]
    pub fn peek(&self) -> Option<&T> {
        match (self.in_order.front(), self.others.peek()) {
            (Some(first), Some(Reverse(other))) => Some(first.min(other)),
            (first, other) => first.or(other.map(|Reverse(other)| other)),
        }
    }

    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        match (self.in_order.front(), self.others.peek()) {
            (None, Some(_)) => self.others.pop().map(|Reverse(other)| other),
            (Some(first), Some(Reverse(other))) if other < first => self.others.pop().map(|Reverse(other)| other),
            _ => self.in_order.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The same as taking the smallest of a plain list each time.
        #[test]
        fn the_smallest_comes_first(steps in proptest::collection::vec(proptest::option::weighted(0.6, 0u32..50), 0..200)) {
            let mut queue = Queue::new();
            let mut list: Vec<u32> = Vec::new();
            for step in steps {
                if let Some(item) = step {
                    queue.push(item);
                    list.push(item);
                    list.sort_unstable_by(|a, b| b.cmp(a));
                } else {
                    prop_assert_eq!(queue.pop(), list.pop());
                }
                prop_assert_eq!(queue.peek(), list.last());
            }
        }
    }
}
