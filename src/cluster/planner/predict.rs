//! The next value of a series, as Dynamo's planner predicts load (`components/planner`, 1.6): constant, ARIMA, Kalman.
//!
//! The ARIMA is one without moving averages: differences until the KPSS test finds no unit root (as `auto_arima` does), then an
//! autoregression by Burg's method whose order has the least corrected AIC. Orders are chosen anew for each prediction.

use crate::math;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PredictorSpec {
    /// The last value.
    Constant,
    Arima,
    /// Local linear trend: variances of level and trend from one interval to the next, and of the observation.
    Kalman {
        q_level: f64,
        q_trend: f64,
        r: f64,
    },
}

/// A series, and its next value.
#[derive(Clone, Debug)]
pub struct Predictor {
    spec: PredictorSpec,
    /// Predict the logarithm of one plus the value.
    log1p: bool,
    values: Vec<f64>,
    kalman: Option<Kalman>,
}

/// Fewest values that ARIMA looks at.
const ARIMA_POINTS: usize = 5;
/// Values looked at: the planner keeps all; what is older than this hardly counts.
const MOST_VALUES: usize = 512;
const MOST_DIFFERENCES: usize = 2;
const MOST_LAGS: usize = 5;
/// 5 % point of the KPSS statistic for a level (Kwiatkowski et al. 1992, table 1).
const KPSS_5_PERCENT: f64 = 0.463;

impl Predictor {
    pub fn new(spec: PredictorSpec, log1p: bool) -> Predictor {
        Predictor { spec, log1p, values: Vec::new(), kalman: None }
    }

    /// The value of the interval that has ended. Zeros before the first load are left out.
    pub fn add(&mut self, value: f64) {
        let value = if value.is_finite() { value.max(0.0) } else { 0.0 };
        if value == 0.0 && self.values.is_empty() {
            return;
        }
        if self.values.len() == MOST_VALUES {
            self.values.remove(0);
        }
        self.values.push(value);
        if let PredictorSpec::Kalman { q_level, q_trend, r } = self.spec {
            let seen = if self.log1p { math::ln_1p(value) } else { value };
            match &mut self.kalman {
                Some(filter) => filter.observe(seen, q_level, q_trend, r),
                None => self.kalman = Some(Kalman::new(seen)),
            }
        }
    }

    /// The value of the next interval; 0 before anything was seen.
    pub fn predict(&self) -> f64 {
        let last = self.values.last().copied().unwrap_or(0.0);
        match (self.spec, &self.kalman) {
            (PredictorSpec::Constant, _) | (PredictorSpec::Kalman { .. }, None) => last,
            (PredictorSpec::Kalman { .. }, Some(filter)) => {
                let next = filter.level + filter.trend;
                if self.log1p { math::expm1(next).max(0.0) } else { next.max(0.0) }
            }
            (PredictorSpec::Arima, _) => self.arima().unwrap_or(last),
        }
    }

    fn arima(&self) -> Option<f64> {
        if self.values.len() < ARIMA_POINTS || self.values.iter().all(|value| *value == self.values[0]) {
            return None;
        }
        let logs = || -> Vec<f64> { self.values.iter().map(|value| math::ln_1p(*value)).collect() };
        let in_logs = |series: &[f64]| math::expm1(forecast(series).0).max(0.0);
        if self.log1p {
            return Some(in_logs(&logs()));
        }
        // A fit without lags is tried on the logarithms, which bear spikes better.
        match forecast(&self.values) {
            (_, 0) => Some(in_logs(&logs())),
            (next, _) => Some(next.max(0.0)),
        }
    }
}

/// The next value of a series and the number of lags that it rests on.
fn forecast(series: &[f64]) -> (f64, usize) {
    let mut levels = vec![series.to_vec()];
    while levels.len() <= MOST_DIFFERENCES {
        let top = &levels[levels.len() - 1];
        if top.len() < 4 || kpss(top) <= KPSS_5_PERCENT {
            break;
        }
        levels.push(top.windows(2).map(|pair| pair[1] - pair[0]).collect());
    }
    let top = &levels[levels.len() - 1];
    // Twice differenced series have no drift (a quadratic trend would follow from it).
    let mean = if levels.len() > MOST_DIFFERENCES { 0.0 } else { mean(top) };
    let centred: Vec<f64> = top.iter().map(|value| value - mean).collect();
    let lags = autoregression(&centred);
    let next = mean + lags.iter().zip(centred.iter().rev()).map(|(lag, value)| lag * value).sum::<f64>();
    let below = levels[..levels.len() - 1].iter().filter_map(|level| level.last()).sum::<f64>();
    (next + below, lags.len())
}

fn mean(series: &[f64]) -> f64 {
    series.iter().sum::<f64>() / series.len().max(1) as f64
}

/// The KPSS statistic against a level, with `3 sqrt(n) / 13` lags of the long-run variance.
fn kpss(series: &[f64]) -> f64 {
    let n = series.len() as f64;
    let mean = mean(series);
    let residuals: Vec<f64> = series.iter().map(|value| value - mean).collect();
    let lags = (3.0 * math::sqrt(n) / 13.0) as usize;
    let mut variance = residuals.iter().map(|r| r * r).sum::<f64>() / n;
    for lag in 1..=lags {
        let weight = 1.0 - lag as f64 / (lags as f64 + 1.0);
        let products: f64 = residuals.iter().zip(&residuals[lag..]).map(|(a, b)| a * b).sum();
        variance += 2.0 * weight * products / n;
    }
    let (mut sum, mut squares) = (0.0, 0.0);
    for residual in &residuals {
        sum += residual;
        squares += sum * sum;
    }
    if variance > 0.0 { squares / (n * n * variance) } else { 0.0 }
}

/// Coefficients of an autoregression by Burg's method, of the order with the least corrected AIC: none for noise.
fn autoregression(series: &[f64]) -> Vec<f64> {
    let n = series.len();
    let mut variance = series.iter().map(|value| value * value).sum::<f64>() / n.max(1) as f64;
    let criterion = |variance: f64, order: usize| {
        // Of the mean, the variance and the lags.
        let parameters = order as f64 + 2.0;
        let room = n as f64 - parameters - 1.0;
        if room <= 0.0 || variance <= 0.0 {
            return if room <= 0.0 { f64::INFINITY } else { f64::NEG_INFINITY };
        }
        n as f64 * math::ln(variance) + 2.0 * parameters + 2.0 * parameters * (parameters + 1.0) / room
    };
    let (mut best, mut least) = (Vec::new(), criterion(variance, 0));
    let (mut forward, mut backward) = (series.to_vec(), series.to_vec());
    let mut lags: Vec<f64> = Vec::new();
    for order in 1..=MOST_LAGS.min(n / 2) {
        let (mut product, mut power) = (0.0, 0.0);
        for t in order..n {
            product += forward[t] * backward[t - 1];
            power += forward[t] * forward[t] + backward[t - 1] * backward[t - 1];
        }
        if power <= 0.0 {
            break;
        }
        let reflection = 2.0 * product / power;
        for t in (order..n).rev() {
            let (ahead, behind) = (forward[t], backward[t - 1]);
            forward[t] = ahead - reflection * behind;
            backward[t] = behind - reflection * ahead;
        }
        let mut longer: Vec<f64> = (0..order - 1).map(|i| lags[i] - reflection * lags[order - 2 - i]).collect();
        longer.push(reflection);
        lags = longer;
        variance *= 1.0 - reflection * reflection;
        let value = criterion(variance, order);
        if value < least {
            (best, least) = (lags.clone(), value);
        }
    }
    best
}

#[derive(Clone, Debug)]
struct Kalman {
    level: f64,
    trend: f64,
    /// Covariance: of the level, of level and trend, of the trend.
    p: [f64; 3],
}

impl Kalman {
    fn new(first: f64) -> Kalman {
        Kalman { level: first, trend: 0.0, p: [1000.0, 0.0, 1000.0] }
    }

    /// One interval on, and what was seen in it.
    fn observe(&mut self, seen: f64, q_level: f64, q_trend: f64, r: f64) {
        let [level, both, trend] = self.p;
        let (level, both, trend) = (level + 2.0 * both + trend + q_level.max(1e-12), both + trend, trend + q_trend.max(1e-12));
        let ahead = self.level + self.trend;
        let total = level + r.max(1e-9);
        let (gain_level, gain_trend) = (level / total, both / total);
        let miss = seen - ahead;
        self.level = ahead + gain_level * miss;
        self.trend += gain_trend * miss;
        self.p = [(1.0 - gain_level) * level, (1.0 - gain_level) * both, trend - gain_trend * both];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    fn after(spec: PredictorSpec, values: &[f64]) -> f64 {
        let mut predictor = Predictor::new(spec, false);
        values.iter().for_each(|value| predictor.add(*value));
        predictor.predict()
    }

    const KALMAN: PredictorSpec = PredictorSpec::Kalman { q_level: 1.0, q_trend: 0.1, r: 10.0 };

    #[test]
    fn constant_is_the_last_value_and_idle_beginnings_do_not_count() {
        assert_eq!(after(PredictorSpec::Constant, &[]), 0.0);
        assert_eq!(after(PredictorSpec::Constant, &[0.0, 0.0, 7.0, 3.0]), 3.0);
        let mut predictor = Predictor::new(PredictorSpec::Constant, false);
        [0.0, 0.0, f64::NAN].into_iter().for_each(|value| predictor.add(value));
        assert!(predictor.values.is_empty());
        [5.0, 0.0].into_iter().for_each(|value| predictor.add(value));
        assert_eq!(predictor.values, [5.0, 0.0]);
    }

    /// By hand: prior covariance [[2001, 1000], [1000, 1000.1]], gain 2001/2011 and 1000/2011 on a miss of 2.
    #[test]
    fn kalman_takes_one_worked_step() {
        let (level, trend) = (10.0 + 2.0 * 2001.0 / 2011.0, 2.0 * 1000.0 / 2011.0);
        assert!((after(KALMAN, &[10.0, 12.0]) - (level + trend)).abs() < 1e-12);
        // Before a second value there is no trend.
        assert_eq!(after(KALMAN, &[10.0]), 10.0);
    }

    #[test]
    fn kalman_follows_a_ramp_and_settles_on_a_level() {
        let ramp: Vec<f64> = (1..=60).map(|i| 3.0 * f64::from(i)).collect();
        assert!((after(KALMAN, &ramp) - 183.0).abs() < 1.0);
        assert!((after(KALMAN, &[40.0; 50]) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn arima_needs_five_values_and_copies_a_constant() {
        assert_eq!(after(PredictorSpec::Arima, &[1.0, 2.0, 3.0, 4.0]), 4.0);
        assert_eq!(after(PredictorSpec::Arima, &[6.0; 9]), 6.0);
    }

    #[test]
    fn arima_extends_a_trend() {
        // First differences are the constant 5: drift alone.
        let ramp: Vec<f64> = (0..40).map(|i| 100.0 + 5.0 * f64::from(i)).collect();
        let next = forecast(&ramp);
        assert!((next.0 - 300.0).abs() < 1e-6, "{next:?}");
    }

    /// An autoregression of order one is found again, and noise is not taken for one.
    #[test]
    fn burg_finds_the_lag_of_its_own_kind() {
        let mut stream = Stream::new(5, Purpose::Routing, 0);
        let (mut series, mut value) = (Vec::new(), 0.0);
        for _ in 0..400 {
            value = 0.7 * value + stream.normal();
            series.push(value);
        }
        let lags = autoregression(&series);
        assert!((lags[0] - 0.7).abs() < 0.1, "{lags:?}");
        assert!(kpss(&series) < KPSS_5_PERCENT);
        let expected = 0.7 * series[399];
        assert!((forecast(&series).0 - expected).abs() < 0.3);
        let noise: Vec<f64> = (0..400).map(|_| stream.normal()).collect();
        let lags = autoregression(&noise);
        assert!(lags.iter().all(|lag| lag.abs() < 0.15), "{lags:?}");
    }

    /// Every value is the mirror of the one before it: one reflection of -1, and nothing is left over.
    #[test]
    fn burg_of_a_zigzag_by_hand() {
        let zigzag = [3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0];
        assert_eq!(forecast(&zigzag), (3.0, 1));
        assert_eq!(after(PredictorSpec::Arima, &zigzag), 3.0);
    }

    /// Partial sums of (-2, -1, 0, 1, 2): -2, -3, -3, -2, 0; squares 26; variance 2; 26 / (25 * 2).
    #[test]
    fn kpss_by_hand() {
        assert!((kpss(&[1.0, 2.0, 3.0, 4.0, 5.0]) - 0.52).abs() < 1e-12);
    }
}
