//! Ground floor: sorting of lists that are short or sorted once. The standard sort is compiled anew, in some kilobytes, for every kind of
//! item; this one sorts places, in one function for all of them. What sorts in every step uses the standard one.

use std::cmp::Ordering;

/// Sorts a list, leaving equal items in their order.
pub(crate) fn sort_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    // The lists of this program are shorter than 2^32.
    let mut order: Vec<u32> = (0..items.len() as u32).collect();
    sort_places(&mut order, &mut |a, b| compare(&items[a as usize], &items[b as usize]));
    // Along each cycle, every place gets the item that belongs there.
    for start in 0..items.len() {
        let mut place = start;
        loop {
            let from = order[place] as usize;
            order[place] = place as u32;
            if from == start || from == place {
                break;
            }
            items.swap(place, from);
            place = from;
        }
    }
}

/// The same by a key.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

#[inline(never)]
fn sort_places(order: &mut [u32], compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    order.sort_by(|&a, &b| compare(a, b));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The standard, stable sort is the reference.
        #[test]
        fn sorts_as_the_standard_library_does(mut list in prop::collection::vec((0u8..10, 0u32..1000), 0..60)) {
            let mut expected = list.clone();
            expected.sort_by_key(|item| item.0);
            sort_by_key(&mut list, |item| item.0);
            prop_assert_eq!(&list, &expected);
            expected.sort();
            sort_by(&mut list, Ord::cmp);
            prop_assert_eq!(list, expected);
        }
    }
}
