//! Which replicas take requests now.

/// Replicas that take requests, in order, and the rest.
#[derive(Clone, Debug)]
pub struct Ready {
    is: Vec<bool>,
    list: Vec<u32>,
}

impl Ready {
    pub fn new(replicas: usize) -> Ready {
        Ready { is: vec![true; replicas], list: (0..replicas as u32).collect() }
    }

    /// True when that is news.
    pub fn set(&mut self, replica: usize, ready: bool) -> bool {
        if self.is[replica] == ready {
            return false;
        }
        self.is[replica] = ready;
        match self.list.binary_search(&(replica as u32)) {
            Ok(at) => drop(self.list.remove(at)),
            Err(at) => self.list.insert(at, replica as u32),
        }
        true
    }

    pub fn is(&self, replica: usize) -> bool {
        self.is[replica]
    }

    pub fn list(&self) -> &[u32] {
        &self.list
    }

    /// The n-th of those that are ready; `n` is below their number.
    pub fn nth(&self, n: usize) -> usize {
        self.list.get(n).map_or(0, |&replica| replica as usize)
    }
}
