//! Which rows of a trace share which beginnings, from their lists of block ids.
//!
//! A block is the same in two rows when its id, its length and all blocks before it are the same. That holds by definition for
//! ids that hash the whole prefix (Mooncake's) and is made to hold for any other. A last block that the prompt fills in part
//! is a block of its own length: a longer prompt with another id there shares only the full blocks before it.
//!
//! Only what can be shared is kept: blocks of a single row are text that occurs nowhere else, and blocks that always come together
//! are one segment.

use std::collections::HashMap;

use crate::workload::request::{Segment, SegmentId};

const ROOT: u32 = u32::MAX;

/// All rows' blocks as a tree from the start of the prompt.
#[derive(Default)]
pub(super) struct PrefixTree {
    nodes: Vec<Node>,
    /// Child by parent, block id and length.
    children: HashMap<(u32, u64, u32), u32>,
}

struct Node {
    parent: u32,
    tokens: u32,
    rows: u32,
}

impl PrefixTree {
    /// Adds a row's blocks, of which the last is shorter where the prompt ends in it. Returns the last block's node.
    /// `Err` when there are more blocks than the prompt has room for.
    pub fn add(&mut self, ids: impl IntoIterator<Item = u64>, block_tokens: u32, input_tokens: u32) -> Result<Option<u32>, String> {
        let mut parent = ROOT;
        let mut left = input_tokens;
        for id in ids {
            if left == 0 {
                return Err(format!("more hash_ids than blocks of {block_tokens} tokens in {input_tokens} input tokens"));
            }
            let tokens = left.min(block_tokens);
            left -= tokens;
            let new = self.nodes.len() as u32;
            let node = *self.children.entry((parent, id, tokens)).or_insert(new);
            if node == new {
                self.nodes.push(Node { parent, tokens, rows: 0 });
            }
            self.nodes[node as usize].rows += 1;
            parent = node;
        }
        Ok((parent != ROOT).then_some(parent))
    }

    /// The shared segments, and for each node the last shared segment up to it.
    pub fn share(self) -> (Shared, Vec<Option<u32>>) {
        let mut shared = Shared::default();
        let mut of_node: Vec<Option<u32>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let parent = (node.parent != ROOT).then(|| &self.nodes[node.parent as usize]);
            let before = (node.parent != ROOT).then(|| of_node[node.parent as usize]).flatten();
            let segment = match (node.rows, parent, before) {
                (0 | 1, ..) => before,
                // Every row with the parent goes on to this node: one segment.
                (rows, Some(parent), Some(before)) if parent.rows == rows => {
                    shared.segments[before as usize].1 += node.tokens;
                    Some(before)
                }
                _ => {
                    shared.segments.push((before, node.tokens));
                    Some(shared.segments.len() as u32 - 1)
                }
            };
            of_node.push(segment);
        }
        (shared, of_node)
    }
}

/// Segments that more than one row has: the one before, and the length in tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    segments: Vec<(Option<u32>, u32)>,
}

impl Shared {
    pub fn len(&self) -> u32 {
        self.segments.len() as u32
    }

    /// The segments from the start of the prompt to this one.
    pub fn chain(&self, last: Option<u32>) -> Box<[Segment]> {
        let mut chain = Vec::new();
        let mut next = last;
        while let Some(index) = next {
            let (before, tokens) = self.segments[index as usize];
            chain.push(Segment { id: SegmentId(index), tokens });
            next = before;
        }
        chain.reverse();
        chain.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(rows: &[(&[u64], u32)]) -> Vec<Vec<(u32, u32)>> {
        let mut tree = PrefixTree::default();
        let last: Vec<_> = rows.iter().map(|(ids, input)| tree.add(ids.iter().copied(), 512, *input).unwrap()).collect();
        let (shared, of_node) = tree.share();
        let chain = |node: Option<u32>| shared.chain(node.and_then(|node| of_node[node as usize]));
        last.into_iter().map(|node| chain(node).iter().map(|segment| (segment.id.0, segment.tokens)).collect()).collect()
    }

    #[test]
    fn blocks_that_always_come_together_are_one_segment() {
        let rows: [(&[u64], u32); 3] = [(&[0, 1, 2, 3], 2048), (&[0, 1, 2, 4], 2048), (&[0, 9], 1000)];
        assert_eq!(lengths(&rows), [vec![(0, 512), (1, 1024)], vec![(0, 512), (1, 1024)], vec![(0, 512)]]);
    }

    #[test]
    fn a_partial_last_block_is_shared_only_with_its_equal() {
        // The same id with another length is another text.
        let rows: [(&[u64], u32); 4] = [(&[0, 1], 700), (&[0, 1], 700), (&[0, 1], 1024), (&[0, 2, 3], 1500)];
        assert_eq!(lengths(&rows), [vec![(0, 512), (1, 188)], vec![(0, 512), (1, 188)], vec![(0, 512)], vec![(0, 512)]]);
    }

    #[test]
    fn equal_ids_after_different_beginnings_are_different_texts() {
        let rows: [(&[u64], u32); 2] = [(&[1, 7], 1024), (&[2, 7], 1024)];
        assert_eq!(lengths(&rows), [vec![], vec![]]);
    }

    #[test]
    fn too_many_ids_are_an_error() {
        assert!(PrefixTree::default().add([1, 2], 512, 512).is_err());
        assert_eq!(PrefixTree::default().add([], 512, 512), Ok(None));
    }
}
