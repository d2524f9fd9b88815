//! The smallest of many numbers that change one at a time: a tree of matches, each won by the smaller, the left one on a draw.

/// Keys of a fixed number of players. Changing one costs the logarithm of their number.
#[derive(Clone, Debug)]
pub struct Tournament {
    leaves: usize,
    /// Winners' keys: the root at 1, the players from `leaves` on.
    keys: Vec<u64>,
}

impl Tournament {
    /// `players` keys, all the same.
    pub fn new(players: usize, key: u64) -> Tournament {
        let leaves = players.next_power_of_two().max(1);
        let mut keys = vec![u64::MAX; 2 * leaves];
        keys[leaves..leaves + players].fill(key);
        for node in (1..leaves).rev() {
            keys[node] = keys[2 * node].min(keys[2 * node + 1]);
        }
        Tournament { leaves, keys }
    }

    pub fn key(&self, player: usize) -> u64 {
        self.keys[self.leaves + player]
    }

    pub fn set(&mut self, player: usize, key: u64) {
        let mut node = self.leaves + player;
        self.keys[node] = key;
        while node > 1 {
            node /= 2;
            let least = self.keys[2 * node].min(self.keys[2 * node + 1]);
            if self.keys[node] == least {
                break;
            }
            self.keys[node] = least;
        }
    }

    /// The smallest key and the first player that has it.
    pub fn first(&self) -> (u64, usize) {
        let least = self.keys[1];
        let mut node = 1;
        while node < self.leaves {
            node = if self.keys[2 * node] == least { 2 * node } else { 2 * node + 1 };
        }
        (least, node - self.leaves)
    }

    /// The smallest key of all players but this one.
    pub fn least_beside(&self, player: usize) -> u64 {
        let mut node = self.leaves + player;
        let mut least = u64::MAX;
        while node > 1 {
            least = least.min(self.keys[node ^ 1]);
            node /= 2;
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    #[test]
    fn agrees_with_looking_at_all() {
        let mut stream = Stream::new(3, Purpose::Routing, 0);
        for players in [1, 2, 3, 7, 8, 100] {
            let mut keys = vec![5; players];
            let mut tree = Tournament::new(players, 5);
            for _ in 0..2000 {
                let player = stream.below(players as u64) as usize;
                keys[player] = stream.below(10);
                tree.set(player, keys[player]);
                let least = *keys.iter().min().unwrap();
                let first = keys.iter().position(|&key| key == least).unwrap();
                assert_eq!(tree.first(), (least, first));
                let beside = keys.iter().enumerate().filter(|(other, _)| *other != player).map(|(_, key)| *key).min();
                assert_eq!(tree.least_beside(player), beside.unwrap_or(u64::MAX));
            }
        }
    }
}
