//! The routed experts of a layer as one fused kernel, weights cut over the GPUs (tensor parallel) or dealt out whole (expert parallel).
//!
//! With T tokens, k experts each, E experts of width I a GPU: rows = T k, of which `active` experts are met;
//!
//! `t = launch + ((F (1 + 16 padding active/rows)/compute)^2 + (W/memory)^2)^(1/2) + A/activation_memory + per_expert active`
//!
//! Experts are not equally popular: they are met as if the r-th most popular were chosen with a probability proportional to r^-0.7,
//! `active = sum of 1 - (1 - p_r)^rows`. Few tokens then meet fewer experts than even routing would. The exponent is an assumption; the count is
//! within an eighth that of the skewed routing (power law of exponent 1.2) with which the kernels were measured, whose rows the constants fit.
//!
//! Where whole experts are dealt out over R GPUs, n each, a layer ends with the GPU that has most to do. Its rows are the mean m of the R
//! times `1 + sqrt(placed^2 + chance^2)`. Few rows fall unevenly by chance, `z sqrt((R - 1)/(R m))` with z the expected largest of R normal
//! draws (Blom); popular experts lie where their number puts them, `z sqrt((R - 1)(sum p^2 - 1/E))`, or as much as the most popular one
//! alone makes of its GPU, `R (p_1 + (1 - p_1)(n - 1)/(E - 1)) - 1`. At most all rows; 2 to 10 % below what throwing them gives. Nothing
//! here is fitted.
//!
//! With expert load balancing the popular ones have copies and all lie so that GPUs have alike much to do: DeepSeek's EPLB, by popularity that is
//! known. Each copy goes to the expert whose copies have most; then the largest load goes to the GPU that has least and has room, and so on.
//!
//! In the formula, F stands for the products over the peak rate, W the bytes of the active experts and A those of activations over the bandwidth.

use super::rates::{Arithmetic, US};
use crate::catalog::calibration::MoeConstants;
use crate::math::{exp, ln, ln_1p, p_norm, sqrt};
use crate::rng::normal_quantile;

/// How the popularity of experts falls with their rank. An assumption: even routing would be 0.
pub const EXPERT_SKEW: f64 = 0.7;

/// How often the expert of a rank, from 1, is chosen; in relation to the first.
fn popularity(rank: u32, skew: f64) -> f64 {
    exp(-skew * ln(f64::from(rank)))
}

/// The expert layers of one model on one device.
#[derive(Clone, Debug)]
pub struct Experts {
    pub arithmetic: Arithmetic,
    pub bandwidth: f64,
    pub constants: MoeConstants,
    pub experts: f64,
    pub experts_per_token: f64,
    pub hidden: f64,
    /// Width of one expert's share on one GPU.
    pub width: f64,
    /// Exponent of the experts' popularity.
    pub skew: f64,
    /// Matrices of an expert: three when gated.
    pub matrices: f64,
    /// GPUs over which whole experts are dealt out; 1 when each has a slice of every expert.
    pub uneven: Uneven,
}

/// How unevenly the rows of a step fall on GPUs that hold whole experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uneven {
    gpus: f64,
    /// Expected largest of as many normal draws.
    largest: f64,
    /// What a busiest GPU has above the mean by its experts' popularity, over the mean.
    placed: f64,
}

impl Uneven {
    /// Of all `experts` of a layer, dealt out over `gpus`.
    pub fn new(experts: u32, gpus: u32, skew: f64) -> Uneven {
        let (experts, gpus) = (experts.max(1), gpus.max(1));
        let weight = |rank: u32| popularity(rank, skew);
        let total: f64 = (1..=experts).map(weight).sum();
        let squares: f64 = (1..=experts).map(|rank| weight(rank) * weight(rank)).sum();
        let (e, r) = (f64::from(experts), f64::from(gpus));
        if gpus == 1 {
            return Uneven { gpus: r, largest: 0.0, placed: 0.0 };
        }
        let largest = normal_quantile((r - 0.375) / (r + 0.25));
        let all = largest * sqrt((r - 1.0) * (squares / (total * total) - 1.0 / e).max(0.0));
        let first = r * (1.0 + (total - 1.0) * (e / r - 1.0).max(0.0) / (e - 1.0).max(1.0)) / total - 1.0;
        Uneven { gpus: r, largest, placed: all.max(first) }
    }

    /// The same where `copies` of popular experts lie beside them, and all are laid out by load.
    pub fn laid_out(experts: u32, copies: u32, gpus: u32, skew: f64) -> Uneven {
        let by_number = Uneven::new(experts, gpus, skew);
        let weights: Vec<f64> = (1..=experts.max(1)).map(|rank| popularity(rank, skew)).collect();
        let mut shares = vec![1u32; weights.len()];
        let load = |expert: usize, shares: &[u32]| weights[expert] / f64::from(shares[expert]);
        let most = |shares: &[u32], left: &dyn Fn(usize) -> bool| {
            let none = weights.len();
            (0..none).filter(|&expert| left(expert)).fold(none, |a, b| if a == none || load(b, shares) > load(a, shares) { b } else { a })
        };
        for _ in 0..copies {
            let expert = most(&shares, &|_| true);
            shares[expert] += 1;
        }
        let slots = weights.len() + copies as usize;
        let room = slots.div_ceil(gpus.max(1) as usize);
        let mut held = vec![(0.0f64, 0usize); gpus.max(1) as usize];
        let mut left = shares.clone();
        for _ in 0..slots {
            let expert = most(&shares, &|expert| left[expert] > 0);
            left[expert] -= 1;
            let least = held.iter_mut().filter(|(_, held)| *held < room).min_by(|a, b| a.0.total_cmp(&b.0));
            least.into_iter().for_each(|gpu| *gpu = (gpu.0 + load(expert, &shares), gpu.1 + 1));
        }
        let most = held.iter().map(|(load, _)| *load).fold(0.0, f64::max);
        let mean = weights.iter().sum::<f64>() / held.len() as f64;
        Uneven { placed: (most / mean - 1.0).max(0.0), ..by_number }
    }

    /// Rows of the busiest GPU where so many are the mean.
    pub fn busiest(&self, mean: f64) -> f64 {
        let chance = self.largest * self.largest * (self.gpus - 1.0) / (self.gpus * mean);
        (mean * (1.0 + sqrt(self.placed * self.placed + chance))).min(mean * self.gpus)
    }
}

impl Experts {
    /// Experts of a layer that at least one of the tokens chooses, on the busiest GPU.
    pub fn active(&self, tokens: f64) -> f64 {
        let rows = self.rows(tokens);
        let weight = |rank: u32| popularity(rank, self.skew);
        let total: f64 = (1..=self.count()).map(weight).sum();
        let met: f64 = (1..=self.count()).map(|rank| 1.0 - exp(rows * ln_1p(-(weight(rank) / total).min(1.0 - 1e-12)))).sum();
        // Experts of one token are distinct.
        met.max(self.experts_per_token.min(rows)).min(rows)
    }

    /// Rows of the busiest GPU.
    fn rows(&self, tokens: f64) -> f64 {
        self.uneven.busiest(tokens * self.experts_per_token)
    }

    fn count(&self) -> u32 {
        (self.experts as u32).max(1)
    }

    /// Bytes of expert weights one layer reads on one GPU.
    pub fn weight_bytes(&self, tokens: f64) -> f64 {
        self.active(tokens) * self.matrices * self.hidden * self.width * self.arithmetic.weight_bytes
    }

    /// Time of the experts of one layer, us.
    pub fn us(&self, tokens: f64) -> f64 {
        let c = &self.constants;
        let rows = self.rows(tokens);
        let active = self.active(tokens);
        let compute = c.compute.min(1.0);
        let flops = 2.0 * self.matrices * rows * self.hidden * self.width;
        let compute_us = flops * (1.0 + 16.0 * c.padding * active / rows) / (self.arithmetic.peak_flops * compute) * US;
        let weights_us = self.weight_bytes(tokens) / (self.bandwidth * c.memory.min(1.0)) * US;
        let activations_us = rows * (2.0 * self.hidden + self.matrices * self.width) * 2.0 / (self.bandwidth * c.activation_memory) * US;
        c.launch_us + p_norm(compute_us, weights_us, 2.0) + activations_us + c.per_expert_ns * 1e-3 * active
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    /// Rows of the busiest GPU by throwing them: experts dealt out at random, rows by popularity.
    fn thrown(experts: usize, gpus: usize, rows: usize) -> f64 {
        let mut stream = Stream::new(3, Purpose::InputLengths, 0);
        let weights: Vec<f64> = (1..=experts).map(|rank| exp(-EXPERT_SKEW * ln(rank as f64))).collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        for _ in 0..400 {
            let mut places: Vec<usize> = (0..experts).collect();
            for index in (1..experts).rev() {
                places.swap(index, (stream.uniform() * (index + 1) as f64) as usize);
            }
            let mut loads = vec![0u32; gpus];
            for _ in 0..rows {
                let mut left = stream.uniform() * total;
                let expert = weights.iter().position(|weight| {
                    left -= weight;
                    left < 0.0
                });
                loads[places[expert.unwrap_or(experts - 1)] * gpus / experts] += 1;
            }
            sum += f64::from(loads.into_iter().max().unwrap_or(0));
        }
        sum / 400.0
    }

    #[test]
    fn the_busiest_gpu_has_as_many_rows_as_when_they_are_thrown() {
        for (experts, gpus, rows) in
            [(256, 8, 32), (256, 8, 512), (128, 4, 16), (128, 4, 4000), (128, 2, 64), (384, 16, 2048), (256, 32, 512)]
        {
            let formula = Uneven::new(experts as u32, gpus as u32, EXPERT_SKEW).busiest(rows as f64 / gpus as f64);
            let thrown = thrown(experts, gpus, rows);
            assert!((formula / thrown - 1.0).abs() < 0.08, "{experts} experts, {gpus} GPUs, {rows} rows: {formula:.1} for {thrown:.1}");
        }
        assert_eq!(Uneven::new(128, 1, EXPERT_SKEW).busiest(7.0), 7.0);
        assert!(Uneven::new(8, 8, EXPERT_SKEW).busiest(0.25) <= 2.0);
    }

    /// Four experts of weights 1, 1/2, 1/3, 1/4 over two GPUs, by hand; then DeepSeek-V3's.
    #[test]
    fn copies_level_what_popular_experts_do() {
        let placed = |copies| Uneven::laid_out(4, copies, 2, 1.0).placed;
        // 1 + 1/4 | 1/2 + 1/3, of a mean of 25/24.
        assert!((placed(0) - 0.2).abs() < 1e-12, "{}", placed(0));
        // Both copies go to the first: 1/2 + 1/3 + 1/4 | 1/3 + 1/3 + 1/3, three on each.
        assert!((placed(2) - 0.04).abs() < 1e-12, "{}", placed(2));
        // 256 experts over 32 GPUs: by number one GPU has over twice the mean, with 32 copies all have the same within a hundredth.
        assert!(Uneven::new(256, 32, EXPERT_SKEW).placed > 1.0);
        assert!(Uneven::laid_out(256, 32, 32, EXPERT_SKEW).placed < 0.01);
        let by_copies: Vec<f64> = [0, 32, 64, 128].map(|copies| Uneven::laid_out(256, copies, 32, EXPERT_SKEW).placed).to_vec();
        assert!(by_copies.is_sorted_by(|a, b| b <= &(a + 0.01)), "{by_copies:?}");
    }
}
