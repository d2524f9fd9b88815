//! The radix tree itself: nodes, where they are found, locks, and the order of eviction.

use rustc_hash::FxHashMap;

use crate::kv::events::KvEvent;
use crate::queue::Queue;

/// The node above all others; it holds nothing and is never evicted.
pub const ROOT: u32 = 0;

/// Which unlocked leaf is evicted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// The one not visited for longest.
    #[default]
    Lru,
    /// The one visited last.
    Mru,
    /// The oldest; of a node that was split the lower part keeps its age, the upper one is new.
    Fifo,
    /// The newest.
    Filo,
    /// The one with the smallest priority of any request that had it, then the one not visited for longest.
    Priority,
    /// The one with the fewest hits, then the one not visited for longest.
    Lfu,
    /// One with less than two hits, then any; of each the one not visited for longest.
    Slru,
}

/// Hits from which on a node is protected: `SLRUStrategy` of SGLang.
const PROTECTED: u32 = 2;

/// Contents of a request's own start here; below are segments.
pub const PRIVATE: u64 = 1 << 40;

/// A run of tokens of one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub content: u64,
    /// Offset of the first token in the content.
    pub from: u32,
    pub tokens: u32,
}

#[derive(Debug, Default)]
struct Node {
    parent: u32,
    children: u32,
    key: Vec<Piece>,
    tokens: u64,
    /// Requests whose path it is on.
    locks: u32,
    /// When it was visited last.
    stamp: u64,
    /// When it, or the node of which it was the upper part, became a child of its parent; no two nodes have the same.
    born: u64,
    /// When it was made, by an insertion or as the upper part of another.
    made: u64,
    /// Largest priority of those who inserted it.
    priority: i32,
    /// Requests that inserted it; each counts once.
    hits: u32,
    /// It has an entry in the heap.
    queued: bool,
}

/// The tree. Positions and lengths are in tokens and whole pages, except where said otherwise.
pub struct Tree {
    page: u64,
    nodes: Vec<Node>,
    spare: Vec<u32>,
    /// Nodes by the last token of their first page.
    starts: FxHashMap<(u64, u32), u32>,
    /// (stamp, node) of leaves that nobody locks; a stamp may be out of date, and then it is too early.
    leaves: Queue<(u64, u32)>,
    /// Pages of nodes that nobody locks.
    evictable: u64,
    clock: u64,
    order: Eviction,
    /// What was evicted, where somebody wants to know.
    pub evicted: Option<Vec<Piece>>,
    /// What has become findable and what no longer is, where somebody wants to know.
    pub events: Option<Vec<KvEvent>>,
}

/// Where a walk down the tree has ended.
struct Walk {
    node: u32,
    /// Tokens in common with the tree.
    tokens: u64,
}

impl Tree {
    pub fn new(page: u32, order: Eviction) -> Tree {
        Tree {
            order,
            page: u64::from(page),
            nodes: vec![Node::default()],
            spare: Vec::new(),
            starts: FxHashMap::default(),
            leaves: Queue::new(),
            evictable: 0,
            clock: 0,
            evicted: None,
            events: None,
        }
    }

    pub fn order(&self) -> Eviction {
        self.order
    }

    /// Pages that eviction can free.
    pub fn evictable(&self) -> u64 {
        self.evictable
    }

    /// Goes down along the first `limit` tokens of a key: the last node that matches, and the tokens in common. A node that matches
    /// in part is split; all on the way count as visited.
    pub fn visit(&mut self, key: &[Piece], limit: u64) -> (u32, u64) {
        self.clock += 2;
        let walk = self.walk(key, limit);
        (walk.node, walk.tokens)
    }

    /// All from the root to a node count as visited.
    pub fn touch(&mut self, mut id: u32) {
        self.clock += 2;
        while id != ROOT {
            let node = &mut self.nodes[id as usize];
            node.stamp = self.clock;
            id = node.parent;
        }
    }

    /// The nodes below the root on the way to this one, which is the last: when each became a child, in which order SGLang keeps them.
    pub fn path(&self, mut id: u32) -> Vec<u64> {
        let mut path = Vec::new();
        while id != ROOT {
            path.push(self.nodes[id as usize].born);
            id = self.nodes[id as usize].parent;
        }
        path.reverse();
        path
    }

    /// Makes the first `tokens` tokens of a key part of the tree, for a request that has inserted the first `before` of them before. The node
    /// where they end, and how many of them were there.
    pub fn insert(&mut self, key: &[Piece], tokens: u64, before: u64, priority: i32) -> (u32, u64) {
        self.clock += 2;
        let walk = self.walk(key, tokens);
        let (mut above, mut end) = (walk.node, walk.tokens);
        let counts = matches!(self.order, Eviction::Priority | Eviction::Lfu | Eviction::Slru);
        while counts && above != ROOT {
            let node = &mut self.nodes[above as usize];
            node.priority = node.priority.max(priority);
            node.hits = node.hits.saturating_add(u32::from(end > before));
            end -= node.tokens;
            above = node.parent;
        }
        if walk.tokens == tokens {
            return (walk.node, tokens);
        }
        let added = tokens - walk.tokens;
        let id = self.spare.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            (self.nodes.len() - 1) as u32
        });
        let node = &mut self.nodes[id as usize];
        node.key.clear();
        slice(key, walk.tokens, tokens, &mut node.key);
        (node.parent, node.children, node.tokens, node.locks, node.stamp) = (walk.node, 0, added, 0, self.clock + 1);
        (node.born, node.made, node.priority) = (self.clock + 1, self.clock + 1, priority);
        node.hits = u32::from(tokens > before);
        tell(&mut self.events, true, &node.key);
        let start = token_at(&node.key, self.page - 1);
        self.starts.insert(start, id);
        self.nodes[walk.node as usize].children += 1;
        self.evictable += added / self.page;
        self.offer(id);
        (id, walk.tokens)
    }

    /// A request stands at this node: it and all above it stay.
    pub fn lock(&mut self, mut id: u32) {
        while id != ROOT {
            let node = &mut self.nodes[id as usize];
            if node.locks == 0 {
                self.evictable -= node.tokens / self.page;
            }
            node.locks += 1;
            id = node.parent;
        }
    }

    /// A request no longer stands at this node.
    pub fn unlock(&mut self, mut id: u32) {
        while id != ROOT {
            let node = &mut self.nodes[id as usize];
            debug_assert!(node.locks > 0, "a node was unlocked twice");
            node.locks -= 1;
            let parent = node.parent;
            if node.locks == 0 {
                self.evictable += node.tokens / self.page;
                self.offer(id);
            }
            id = parent;
        }
    }

    /// Pages from the root to this node that nobody locks.
    pub fn unlocked_pages(&self, mut id: u32) -> u64 {
        let mut pages = 0;
        while id != ROOT && self.nodes[id as usize].locks == 0 {
            pages += self.nodes[id as usize].tokens / self.page;
            id = self.nodes[id as usize].parent;
        }
        pages
    }

    /// Evicts leaves until at least `pages` pages are free or none is left. Pages freed.
    pub fn evict(&mut self, pages: u64) -> u64 {
        if self.order != Eviction::Lru {
            return self.evict_in_order(pages);
        }
        let mut freed = 0;
        while freed < pages {
            let Some((stamp, id)) = self.leaves.pop() else { break };
            let node = &mut self.nodes[id as usize];
            node.queued = false;
            if node.locks > 0 || node.children > 0 || node.tokens == 0 {
                continue;
            }
            if node.stamp != stamp {
                self.offer(id);
                continue;
            }
            let (pages, parent) = self.remove(id);
            freed += pages;
            self.offer(parent);
        }
        self.evictable -= freed;
        freed
    }

    /// As `evict`, in another order: like SGLang, it looks at all leaves each time.
    fn evict_in_order(&mut self, pages: u64) -> u64 {
        let mut leaves = Queue::new();
        for id in 1..self.nodes.len() as u32 {
            if let Some(place) = self.place(id) {
                leaves.push((place, id));
            }
        }
        let mut freed = 0;
        while freed < pages {
            let Some((_, id)) = leaves.pop() else { break };
            let (pages, parent) = self.remove(id);
            freed += pages;
            if let Some(place) = self.place(parent) {
                leaves.push((place, parent));
            }
        }
        self.evictable -= freed;
        freed
    }

    /// Place of an unlocked leaf in the order of eviction; none of another node.
    fn place(&self, id: u32) -> Option<(i64, u64)> {
        let node = &self.nodes[id as usize];
        if id == ROOT || node.locks > 0 || node.children > 0 || node.tokens == 0 {
            return None;
        }
        Some(match self.order {
            Eviction::Lru => (0, node.stamp),
            Eviction::Mru => (0, u64::MAX - node.stamp),
            Eviction::Fifo => (0, node.made),
            Eviction::Filo => (0, u64::MAX - node.made),
            Eviction::Priority => (i64::from(node.priority), node.stamp),
            Eviction::Lfu => (i64::from(node.hits), node.stamp),
            Eviction::Slru => (i64::from(node.hits >= PROTECTED), node.stamp),
        })
    }

    /// Takes a leaf out of the tree: its pages, and what it was a child of.
    fn remove(&mut self, id: u32) -> (u64, u32) {
        let node = &mut self.nodes[id as usize];
        let parent = node.parent;
        if let Some(evicted) = &mut self.evicted {
            evicted.extend_from_slice(&node.key);
        }
        tell(&mut self.events, false, &node.key);
        let pages = std::mem::take(&mut node.tokens) / self.page;
        let start = token_at(&node.key, self.page - 1);
        self.starts.remove(&start);
        self.spare.push(id);
        self.nodes[parent as usize].children -= 1;
        (pages, parent)
    }

    /// Leading tokens of a key that are in the tree. Visits nothing.
    pub fn leading(&self, key: &[Piece]) -> u64 {
        let limit: u64 = key.iter().map(|piece| u64::from(piece.tokens)).sum();
        let mut tokens = 0;
        while tokens + self.page <= limit {
            let Some(&id) = self.starts.get(&token_at(key, tokens + self.page - 1)) else { break };
            let node = &self.nodes[id as usize];
            let common = common(&node.key, key, tokens) / self.page * self.page;
            tokens += common;
            if common < node.tokens {
                break;
            }
        }
        tokens
    }

    fn walk(&mut self, key: &[Piece], limit: u64) -> Walk {
        let mut walk = Walk { node: ROOT, tokens: 0 };
        while walk.tokens + self.page <= limit {
            let Some(&id) = self.starts.get(&token_at(key, walk.tokens + self.page - 1)) else { break };
            debug_assert_eq!(self.nodes[id as usize].parent, walk.node, "a segment stands in two places");
            let node = &mut self.nodes[id as usize];
            node.stamp = self.clock;
            let common = common(&node.key, key, walk.tokens).min(limit - walk.tokens) / self.page * self.page;
            walk.tokens += common;
            if common < node.tokens {
                walk.node = self.split(id, common);
                break;
            }
            walk.node = id;
        }
        walk
    }

    /// Cuts a node after `tokens` tokens: it keeps what comes after, and the new node above it has the rest. The new node.
    fn split(&mut self, id: u32, tokens: u64) -> u32 {
        let upper = self.spare.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            (self.nodes.len() - 1) as u32
        });
        let mut head = std::mem::take(&mut self.nodes[upper as usize].key);
        let mut tail = Vec::new();
        head.clear();
        let lower = &mut self.nodes[id as usize];
        slice(&lower.key, 0, tokens, &mut head);
        slice(&lower.key, tokens, lower.tokens, &mut tail);
        lower.key = tail;
        lower.tokens -= tokens;
        let (parent, locks, priority, hits) = (lower.parent, lower.locks, lower.priority, lower.hits);
        lower.parent = upper;
        let born = std::mem::replace(&mut lower.born, self.clock);
        let start = token_at(&lower.key, self.page - 1);
        self.starts.insert(start, id);
        self.starts.insert(token_at(&head, self.page - 1), upper);
        let queued = self.nodes[upper as usize].queued;
        let now = self.clock + 1;
        let made = self.clock;
        self.nodes[upper as usize] = Node { parent, children: 1, key: head, tokens, locks, stamp: now, born, made, priority, hits, queued };
        upper
    }

    /// Puts a node in line for eviction if it is a leaf that nobody locks.
    fn offer(&mut self, id: u32) {
        let node = &mut self.nodes[id as usize];
        if id != ROOT && node.locks == 0 && node.children == 0 && node.tokens > 0 && !node.queued {
            node.queued = true;
            self.leaves.push((node.stamp, id));
        }
    }
}

/// Contents can be found, or no longer.
fn tell(events: &mut Option<Vec<KvEvent>>, stored: bool, key: &[Piece]) {
    let Some(events) = events else { return };
    let shared = key.iter().filter(|piece| piece.content < PRIVATE);
    events.extend(shared.map(|piece| KvEvent { stored, segment: piece.content as u32, from: piece.from, to: piece.from + piece.tokens }));
}

/// The token at `index` of a key.
fn token_at(key: &[Piece], mut index: u64) -> (u64, u32) {
    for piece in key {
        if index < u64::from(piece.tokens) {
            return (piece.content, piece.from + index as u32);
        }
        index -= u64::from(piece.tokens);
    }
    // Past the end: nothing is ever stored under this.
    (u64::MAX, 0)
}

/// Appends the tokens from `from` to `to` of a key to `out`.
fn slice(key: &[Piece], from: u64, to: u64, out: &mut Vec<Piece>) {
    let mut start = 0;
    for piece in key {
        let end = start + u64::from(piece.tokens);
        let (first, last) = (from.max(start), to.min(end));
        if first < last {
            out.push(Piece { content: piece.content, from: piece.from + (first - start) as u32, tokens: (last - first) as u32 });
        }
        start = end;
    }
}

/// Leading tokens that a node's key has in common with `key` from `position` on.
fn common(node: &[Piece], key: &[Piece], position: u64) -> u64 {
    let mut tokens = 0;
    for own in node {
        let (content, offset) = token_at(key, position + tokens);
        if (content, offset) != (own.content, own.from) {
            break;
        }
        let mut end = 0;
        let left = key.iter().find_map(|piece| {
            let start = end;
            end += u64::from(piece.tokens);
            (position + tokens < end && position + tokens >= start).then(|| end - position - tokens)
        });
        let same = left.unwrap_or(0).min(u64::from(own.tokens));
        tokens += same;
        if same < u64::from(own.tokens) {
            break;
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(content: u64, tokens: u32) -> [Piece; 1] {
        [Piece { content, from: 0, tokens }]
    }

    /// Contents in the order in which they are evicted.
    fn evicted(mut tree: Tree) -> Vec<(u64, u32)> {
        tree.evicted = Some(Vec::new());
        while tree.evict(1) > 0 {}
        assert_eq!(tree.evictable(), 0);
        tree.evicted.unwrap_or_default().iter().map(|piece| (piece.content, piece.from)).collect()
    }

    /// 1, 2 and 3 are inserted in turn with priorities 1, 2 and 0, and 1 is visited again.
    #[test]
    fn leaves_go_by_the_policy() {
        let order = |policy| {
            let mut tree = Tree::new(16, policy);
            for (content, priority) in [(1, 1), (2, 2), (3, 0)] {
                tree.insert(&key(content, 16), 16, 0, priority);
            }
            tree.visit(&key(1, 16), 16);
            evicted(tree).iter().map(|(content, _)| *content).collect::<Vec<u64>>()
        };
        assert_eq!(order(Eviction::Lru), [2, 3, 1]);
        assert_eq!(order(Eviction::Mru), [1, 3, 2]);
        assert_eq!(order(Eviction::Fifo), [1, 2, 3]);
        assert_eq!(order(Eviction::Filo), [3, 2, 1]);
        assert_eq!(order(Eviction::Priority), [3, 1, 2]);
    }

    /// 1 has 32 tokens; then comes 2; then 16 of 1 with 16 of 3 behind them. The split leaves the lower half of 1 as old as 1 was; the upper
    /// half is new, and a leaf only when both behind it are gone. A priority of 7 is its own and that of 3, not of what was below.
    #[test]
    fn a_split_makes_the_upper_part_new() {
        let order = |policy| {
            let mut tree = Tree::new(16, policy);
            tree.insert(&key(1, 32), 32, 0, 0);
            tree.insert(&key(2, 16), 16, 0, 5);
            let forked = [Piece { content: 1, from: 0, tokens: 16 }, Piece { content: 3, from: 0, tokens: 16 }];
            tree.insert(&forked, 32, 0, 7);
            evicted(tree)
        };
        assert_eq!(order(Eviction::Fifo), [(1, 16), (2, 0), (3, 0), (1, 0)]);
        assert_eq!(order(Eviction::Filo), [(3, 0), (2, 0), (1, 16), (1, 0)]);
        assert_eq!(order(Eviction::Priority), [(1, 16), (2, 0), (3, 0), (1, 0)]);
    }

    /// 1, 2 and 3 are inserted; then 1 twice more and 3 once more; then 2 is visited, which is no hit. Hits 3, 1 and 2; visited last: 2, 3, 1.
    #[test]
    fn leaves_go_by_hits() {
        let order = |policy| {
            let mut tree = Tree::new(16, policy);
            for content in [1, 2, 3, 1, 1, 3] {
                tree.insert(&key(content, 16), 16, 0, 0);
            }
            tree.visit(&key(2, 16), 16);
            evicted(tree).iter().map(|(content, _)| *content).collect::<Vec<u64>>()
        };
        assert_eq!(order(Eviction::Lru), [1, 3, 2]);
        assert_eq!(order(Eviction::Lfu), [2, 3, 1]);
        assert_eq!(order(Eviction::Slru), [2, 1, 3]);
    }

    /// A request that inserts its prompt in two pieces, and again when it ends, is one hit of each piece: both go before what came later.
    #[test]
    fn a_request_hits_what_it_has_inserted_once() {
        for policy in [Eviction::Lfu, Eviction::Slru] {
            let mut tree = Tree::new(16, policy);
            for (tokens, before) in [(16, 0), (32, 16), (32, 32)] {
                tree.insert(&key(1, 32), tokens, before, 0);
            }
            tree.insert(&key(2, 16), 16, 0, 0);
            assert_eq!(evicted(tree), [(1, 16), (1, 0), (2, 0)]);
        }
    }

    /// Two requests have 1 in whole, a third its first half with 3 behind it: the halves have 3 and 2 hits, 3 has one. 4, with two hits, goes
    /// after the lower half, which is older, and before the upper.
    #[test]
    fn a_split_hands_its_hits_to_both_parts() {
        let mut tree = Tree::new(16, Eviction::Lfu);
        let forked = [Piece { content: 1, from: 0, tokens: 16 }, Piece { content: 3, from: 0, tokens: 16 }];
        for key in [&key(1, 32)[..], &key(1, 32), &forked, &key(4, 16), &key(4, 16)] {
            let tokens = key.iter().map(|piece| u64::from(piece.tokens)).sum();
            tree.insert(key, tokens, 0, 0);
        }
        assert_eq!(evicted(tree), [(3, 0), (1, 16), (4, 0), (1, 0)]);
    }
}
