//! Speculative decoding as the scheduler sees it: how many drafted tokens a verification accepts. What drafting and verifying
//! cost is in `cost::speculative`.

use crate::rng::{Purpose, Stream};

/// Draws how many of the drafted tokens are accepted, sequence by sequence and step by step.
#[derive(Debug)]
pub struct Speculation {
    /// Probability that the token at each drafted position is accepted, given that all before it were.
    acceptance: Vec<f64>,
    stream: Stream,
}

impl Speculation {
    /// One probability for each drafted token. Every attention rank of a replica has a stream of its own.
    pub fn new(acceptance: &[f64], seed: u64, replica: u16, rank: u32) -> Speculation {
        let index = u64::from(rank) << 16 | u64::from(replica);
        Speculation { acceptance: acceptance.to_vec(), stream: Stream::new(seed, Purpose::Speculation, index) }
    }

    /// Accepted tokens of one verification: the first rejection ends it.
    pub fn accepted(&mut self) -> u32 {
        let stream = &mut self.stream;
        self.acceptance.iter().take_while(|&&probability| stream.chance(probability)).count() as u32
    }
}

/// Mean tokens of a step, the verified model's own one included: `1 + sum over i of the product of the first i probabilities`.
pub fn mean_tokens_per_step(acceptance: &[f64]) -> f64 {
    let (mut reached, mut mean) = (1.0, 1.0);
    for probability in acceptance {
        reached *= probability;
        mean += reached;
    }
    mean
}
