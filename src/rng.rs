//! Ground floor: seeded random streams, one for each purpose, and the elementary draws from them.
//!
//! A stream is named by seed, purpose and index, and nothing else: whatever one part of a simulation draws leaves the numbers of
//! every other part as they were. So two stacks are compared on the same requests (common random numbers), and a change of one
//! distribution leaves the draws of the others. Draws use integer arithmetic, correctly rounded float operations and [`crate::math`],
//! hence have the same bits everywhere. What a document's distributions mean is decided in `workload::sampler`, not here.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::math;

/// What a stream's numbers decide. The numbers are part of every golden result: give a new purpose a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Gaps between first requests, by client profile.
    Arrivals = 1,
    /// Which client profile sends the next first request.
    ProfileChoice = 2,
    /// Prompt lengths of first requests, by client profile.
    InputLengths = 3,
    /// Output lengths of first requests, by client profile.
    OutputLengths = 4,
    /// Priorities of first requests, by client profile.
    Priorities = 5,
    /// Which shared prefix a first request has, by client profile.
    PrefixChoice = 6,
    /// Whether a first request opens a conversation, by client profile.
    ConversationStart = 7,
    /// How many turns a conversation has, by conversation.
    ConversationTurns = 8,
    /// Think time, lengths and priority of a follow-up, by conversation and turn.
    FollowUp = 9,
    /// Where in its coarse time step a traced request arrives.
    TraceJitter = 10,
    /// Which replica or entry serves a request, by router.
    Routing = 11,
    /// How many drafted tokens are accepted, by replica and attention rank.
    Speculation = 12,
    /// Failures of devices and links.
    Faults = 13,
    /// Declared limit and cancellation, by first request and turn (or row of the trace).
    Terms = 14,
    /// Order of a queue that is served at random, by engine.
    QueueOrder = 15,
    /// Waits before second tries, by run.
    Retries = 16,
    /// Which LoRA adapter serves, by first request (or row of the trace).
    Adapters = 17,
    /// Images of a prompt, by first request and turn (or row of the trace).
    Images = 18,
}

/// A stream of random numbers: ChaCha with 8 rounds, keyed by the seed, with purpose and index as the nonce.
#[derive(Debug)]
pub struct Stream {
    generator: ChaCha8Rng,
}

impl Stream {
    /// The stream of this purpose with this index, of which the lower 56 bits count.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Stream {
        debug_assert!(index >> 56 == 0, "stream index out of range");
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(((purpose as u64) << 56) | (index & ((1 << 56) - 1)));
        Stream { generator }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Uniform on [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform on (0, 1), symmetric about 1/2: never 0, never 1.
    pub fn uniform_open(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// Uniform among 0..n without bias (Lemire 2019, doi 10.1145/3230636); 0 for n = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            // The low half decides whether this draw belongs to the incomplete last interval.
            if product as u64 >= n.wrapping_neg().checked_rem(n).unwrap_or(0) {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with this probability; no number is drawn when it is 0 or less, or 1 or more.
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        probability >= 1.0 || self.uniform() < probability
    }

    /// Exponential with mean 1, by inverse CDF.
    pub fn exponential(&mut self) -> f64 {
        -math::ln(1.0 - self.uniform())
    }

    /// Standard normal, by inverse CDF: one draw a number, rising with it.
    pub fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform_open())
    }

    /// Gamma with this shape and scale 1 (Marsaglia and Tsang 2000, doi 10.1145/358407.358414).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            // A gamma of shape + 1 times U^(1/shape) has this shape.
            let boosted = self.gamma(shape + 1.0);
            return boosted * math::pow(self.uniform_open(), 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / math::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let cube_root = 1.0 + c * x;
            if cube_root <= 0.0 {
                continue;
            }
            let v = cube_root * cube_root * cube_root;
            if math::ln(self.uniform_open()) < 0.5 * x * x + d * (1.0 - v + math::ln(v)) {
                return d * v;
            }
        }
    }
}

/// Quantile of the standard normal at `p` in (0, 1), relative error about 1e-16 (Wichura 1988, algorithm AS 241, doi 10.2307/2347330).
pub fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(0.180625 - q * q, &CENTRE);
    }
    let r = math::sqrt(-math::ln(if q < 0.0 { p } else { 1.0 - p }));
    let magnitude = if r <= 5.0 { ratio(r - 1.6, &SHOULDER) } else { ratio(r - 5.0, &TAIL) };
    if q < 0.0 { -magnitude } else { magnitude }
}

/// Numerator and denominator, from the highest power down.
type Rational = [[f64; 8]; 2];

fn ratio(x: f64, [numerator, denominator]: &Rational) -> f64 {
    let horner = |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient);
    horner(numerator) / horner(denominator)
}

#[rustfmt::skip]
const CENTRE: Rational = [
    [2.509_080_928_730_122_7e3, 3.343_057_558_358_813e4, 6.726_577_092_700_87e4, 4.592_195_393_154_987e4,
     1.373_169_376_550_946e4, 1.971_590_950_306_551_3e3, 1.331_416_678_917_843_8e2, 3.387_132_872_796_366_5],
    [5.226_495_278_852_854e3, 2.872_908_573_572_194_3e4, 3.930_789_580_009_271e4, 2.121_379_430_158_659_7e4,
     5.394_196_021_424_751e3, 6.871_870_074_920_579e2, 4.231_333_070_160_091e1, 1.0],
];
#[rustfmt::skip]
const SHOULDER: Rational = [
    [7.745_450_142_783_414e-4, 2.272_384_498_926_918_4e-2, 2.417_807_251_774_506e-1, 1.270_458_252_452_368_4,
     3.647_848_324_763_204_5, 5.769_497_221_460_691, 4.630_337_846_156_546, 1.423_437_110_749_683_5],
    [1.050_750_071_644_416_9e-9, 5.475_938_084_995_345e-4, 1.519_866_656_361_645_7e-2, 1.481_039_764_274_800_8e-1,
     6.897_673_349_851e-1, 1.676_384_830_183_803_8, 2.053_191_626_637_759, 1.0],
];
#[rustfmt::skip]
const TAIL: Rational = [
    [2.010_334_399_292_288_1e-7, 2.711_555_568_743_487_6e-5, 1.242_660_947_388_078_4e-3, 2.653_218_952_657_612_4e-2,
     2.965_605_718_285_048_7e-1, 1.784_826_539_917_291_3, 5.463_784_911_164_114, 6.657_904_643_501_103],
    [2.044_263_103_389_939_8e-15, 1.421_511_758_316_446e-7, 1.846_318_317_510_054_8e-5, 7.868_691_311_456_133e-4,
     1.487_536_129_085_061_5e-2, 1.369_298_809_227_358e-1, 5.998_322_065_558_88e-1, 1.0],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(n: u32, mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let x = draw();
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(n);
        (mean, squares / f64::from(n) - mean * mean)
    }

    #[test]
    fn streams_are_apart_and_repeat() {
        let first = |seed, purpose, index| Stream::new(seed, purpose, index).bits();
        assert_eq!(first(7, Purpose::Arrivals, 3), first(7, Purpose::Arrivals, 3));
        let mut seen: Vec<u64> = Vec::new();
        for seed in [0, 1, u64::MAX] {
            for purpose in [Purpose::Arrivals, Purpose::InputLengths, Purpose::FollowUp] {
                for index in [0, 1, (1 << 56) - 1] {
                    seen.push(first(seed, purpose, index));
                }
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 27);
    }

    /// Any change here changes every result of every document.
    #[test]
    fn first_numbers_stay() {
        let mut stream = Stream::new(42, Purpose::Arrivals, 0);
        let bits: Vec<u64> = (0..3).map(|_| stream.bits()).collect();
        let mut draws = Stream::new(42, Purpose::InputLengths, 5);
        let values = [draws.uniform(), draws.exponential(), draws.normal(), draws.gamma(0.5), draws.gamma(3.0)];
        assert_eq!(bits, GOLDEN_BITS);
        assert_eq!(values, GOLDEN_VALUES);
    }
    const GOLDEN_BITS: [u64; 3] = [10778380846689891090, 2204091386601894679, 5126070752156005463];
    const GOLDEN_VALUES: [f64; 5] = [0.4665658110989478, 0.681985155428199, 0.14819915966054364, 0.06632461079453354, 7.196187008167954];

    /// Reference values of the normal quantile, to 16 digits.
    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.25, -0.674_489_750_196_081_7),
            (0.001, -3.090_232_306_167_813_5),
            (1e-20, -9.262_340_089_798_408),
            (0.975, 1.959_963_984_540_054),
            (0.875, 1.150_349_380_376_008),
        ] {
            assert!((normal_quantile(p) - z).abs() <= 1e-14 * z.abs().max(1.0), "{p}: {} {z}", normal_quantile(p));
        }
    }

    #[test]
    fn uniforms_stay_inside() {
        let mut stream = Stream::new(1, Purpose::Routing, 0);
        for _ in 0..10_000 {
            assert!((0.0..1.0).contains(&stream.uniform()));
            let open = stream.uniform_open();
            assert!(open > 0.0 && open < 1.0);
        }
        // The ends of the open one: its smallest and largest possible values.
        assert!((0.0 + 0.5) / (1u64 << 52) as f64 > 0.0 && (((1u64 << 52) - 1) as f64 + 0.5) / ((1u64 << 52) as f64) < 1.0);
    }

    #[test]
    fn below_is_even_and_bounded() {
        let mut stream = Stream::new(1, Purpose::Routing, 1);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        // Chi-square with 6 degrees of freedom: 22.5 is its 99.9 % quantile.
        let chi_square: f64 = counts.iter().map(|&count| f64::from(count) - 10_000.0).map(|excess| excess * excess / 10_000.0).sum();
        assert!(chi_square < 22.5, "{counts:?}");
        assert_eq!(stream.below(1), 0);
        assert_eq!(stream.below(0), 0);
    }

    #[test]
    fn chances_that_are_certain_draw_nothing() {
        let mut stream = Stream::new(1, Purpose::Routing, 2);
        let mut untouched = Stream::new(1, Purpose::Routing, 2);
        assert!(!stream.chance(0.0) && stream.chance(1.0) && !stream.chance(f64::NAN.min(0.0)));
        assert_eq!(stream.bits(), untouched.bits());
        let hits = (0..100_000).filter(|_| stream.chance(0.3)).count() as f64;
        assert!((hits - 30_000.0).abs() < 4.0 * (100_000.0f64 * 0.3 * 0.7).sqrt(), "{hits}");
    }

    #[test]
    fn moments_are_the_closed_forms() {
        let n = 200_000;
        let mut stream = Stream::new(9, Purpose::Arrivals, 0);
        let check = |name: &str, (mean, variance): (f64, f64), expected_mean: f64, expected_variance: f64| {
            assert!((mean - expected_mean).abs() < 5.0 * (expected_variance / f64::from(n)).sqrt(), "{name}: mean {mean}");
            assert!((variance / expected_variance - 1.0).abs() < 0.05, "{name}: variance {variance}");
        };
        check("exponential", moments(n, || stream.exponential()), 1.0, 1.0);
        check("normal", moments(n, || stream.normal()), 0.0, 1.0);
        for shape in [0.3, 1.0, 4.5] {
            check("gamma", moments(n, || stream.gamma(shape)), shape, shape);
        }
    }
}
