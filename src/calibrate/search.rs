//! Least squares over a few parameters: Levenberg and Marquardt's method with slopes from differences, which comes near in few
//! simulations, then Nelder and Mead's, which small jumps of the results do not stop. It asks for points and is given their
//! residuals, so that whoever computes these can do it in slices.

use crate::math;

/// Distance of the points that slopes are taken from: wide enough for a simulation, whose results move in small jumps.
const DIFFERENCE: f64 = 0.03;
/// Longest step in one parameter.
const STEP: f64 = 0.4;
/// A step shorter than this is none.
const CLOSE: f64 = 0.001;
const MOST_ROUNDS: u32 = 20;
const MOST_TRIES: u32 = 5;
/// Pull of every parameter towards its start: decides only where the residuals do not.
const PULL: f64 = 1e-6;
/// A parameter whose slopes are smaller than this in norm is held: moving it by 1 changes the residuals by less.
const FLAT: f64 = 0.01;

/// Edge of the simplex that the second method starts with, and its size when it is done.
const EDGE: f64 = 0.1;
const SMALL: f64 = 0.002;
const MOST_CORNERS_MOVED: u32 = 60;
/// A sum of squares that needs no further search: every metric within a few tenths of a percent.
const GOOD: f64 = 2e-6;

enum Doing {
    Base,
    Slope(usize),
    Trial,
    /// The rest are of the second method.
    Corner,
    Reflected,
    Expanded,
    Contracted,
    Nothing,
}

/// One descent from one start.
pub struct Search {
    start: Vec<f64>,
    bounds: Vec<(f64, f64)>,
    best: Vec<f64>,
    residuals: Vec<f64>,
    /// By parameter: change of each residual with it.
    slopes: Vec<Vec<f64>>,
    wanted: Vec<f64>,
    damping: f64,
    rounds: u32,
    tries: u32,
    doing: Doing,
    /// Corners and their cost; the reflected point while its expansion is tried.
    simplex: Vec<(Vec<f64>, f64)>,
    reflected: (Vec<f64>, f64),
    edge: f64,
    moved: u32,
}

impl Search {
    pub fn new(start: Vec<f64>, bounds: Vec<(f64, f64)>) -> Search {
        Search {
            wanted: start.clone(),
            best: start.clone(),
            slopes: vec![Vec::new(); start.len()],
            start,
            bounds,
            residuals: Vec::new(),
            damping: 0.03,
            rounds: 0,
            tries: 0,
            doing: Doing::Base,
            simplex: Vec::new(),
            reflected: (Vec::new(), 0.0),
            edge: EDGE,
            moved: 0,
        }
    }

    /// The point whose residuals are wanted next.
    pub fn wanted(&self) -> &[f64] {
        &self.wanted
    }

    pub fn done(&self) -> bool {
        matches!(self.doing, Doing::Nothing)
    }

    pub fn best(&self) -> &[f64] {
        &self.best
    }

    /// Sum of squares at the best point.
    pub fn cost(&self) -> f64 {
        squares(&self.residuals)
    }

    /// Whether the residuals say anything about a parameter.
    pub fn decides(&self, parameter: usize) -> bool {
        math::sqrt(squares(&self.slopes[parameter])) >= FLAT
    }

    /// How far it has come, from 0 to 1: a guess, it may end at any time.
    pub fn fraction(&self) -> f64 {
        if self.done() { 1.0 } else { f64::from(self.rounds + self.moved / 2) / f64::from(MOST_ROUNDS + MOST_CORNERS_MOVED / 2) }
    }

    /// Goes on from the best point with the second method. Only the parameters that the residuals decide move.
    pub fn polish(&mut self) {
        if self.cost() > GOOD {
            self.simplex = vec![(self.best.clone(), self.cost())];
            self.corner();
        }
    }

    /// Asks for the next corner of the first simplex, or starts to move it.
    fn corner(&mut self) {
        let free: Vec<usize> = (0..self.best.len()).filter(|&parameter| self.decides(parameter)).collect();
        let Some(&parameter) = free.get(self.simplex.len() - 1) else { return self.reflect() };
        let mut point = self.simplex[0].0.clone();
        let (_, most) = self.bounds[parameter];
        point[parameter] += if point[parameter] + self.edge <= most { self.edge } else { -self.edge };
        self.wanted = point;
        self.doing = Doing::Corner;
    }

    /// A point on the line from the worst corner through the middle of the others: 0 is the middle, 1 the mirror image.
    fn ask(&mut self, along: f64, doing: Doing) {
        let others = &self.simplex[..self.simplex.len() - 1];
        let worst = &self.simplex[self.simplex.len() - 1].0;
        let middle = |i: usize| others.iter().map(|(point, _)| point[i]).sum::<f64>() / others.len() as f64;
        self.wanted =
            (0..worst.len()).map(|i| (middle(i) + along * (middle(i) - worst[i])).clamp(self.bounds[i].0, self.bounds[i].1)).collect();
        self.doing = doing;
    }

    fn reflect(&mut self) {
        self.doing = Doing::Nothing;
        self.moved += 1;
        crate::order::sort_by(&mut self.simplex, |a, b| a.1.total_cmp(&b.1));
        let best = &self.simplex[0].0;
        let size = self.simplex.iter().flat_map(|(point, _)| differences(point, best)).fold(0.0_f64, |most, edge| most.max(edge.abs()));
        if self.simplex.len() > 1 && size > SMALL && self.moved <= MOST_CORNERS_MOVED && self.cost() > GOOD {
            self.ask(1.0, Doing::Reflected);
        }
    }

    /// The cost at a point of the second method.
    fn moved_to(&mut self, cost: f64) {
        let here = (self.wanted.clone(), cost);
        let count = self.simplex.len();
        match self.doing {
            Doing::Corner => {
                self.simplex.push(here);
                return self.corner();
            }
            Doing::Reflected if cost < self.simplex[0].1 => {
                self.reflected = here;
                return self.ask(2.0, Doing::Expanded);
            }
            Doing::Reflected if count > 2 && cost < self.simplex[count - 2].1 => self.simplex[count - 1] = here,
            Doing::Reflected => {
                let along = if cost < self.simplex[count - 1].1 { 0.5 } else { -0.5 };
                self.reflected = here;
                return self.ask(along, Doing::Contracted);
            }
            Doing::Expanded => self.simplex[count - 1] = if cost < self.reflected.1 { here } else { self.reflected.clone() },
            _ if cost < self.simplex[count - 1].1.min(self.reflected.1) => self.simplex[count - 1] = here,
            _ => {
                // Nothing better on this line: a smaller simplex around the best corner.
                self.edge /= 2.0;
                self.simplex.truncate(1);
                return self.corner();
            }
        }
        self.reflect();
    }

    /// The residuals at the point that was wanted.
    pub fn answer(&mut self, residuals: Vec<f64>) {
        match self.doing {
            Doing::Nothing => {}
            Doing::Base => {
                self.residuals = residuals;
                self.slope(0);
            }
            Doing::Slope(parameter) => {
                let step = self.wanted[parameter] - self.best[parameter];
                self.slopes[parameter] = residuals.iter().zip(&self.residuals).map(|(there, here)| (there - here) / step).collect();
                self.slope(parameter + 1);
            }
            Doing::Corner | Doing::Reflected | Doing::Expanded | Doing::Contracted => {
                let cost = squares(&residuals);
                if cost < self.cost() {
                    (self.best, self.residuals) = (self.wanted.clone(), residuals);
                }
                self.moved_to(cost);
            }
            Doing::Trial => {
                let pulled = |x: &[f64], r: &[f64]| squares(r) + PULL * squares(&differences(x, &self.start));
                if pulled(&self.wanted, &residuals) < pulled(&self.best, &self.residuals) {
                    let moved = differences(&self.wanted, &self.best).iter().fold(0.0_f64, |most, step| most.max(step.abs()));
                    (self.best, self.residuals) = (self.wanted.clone(), residuals);
                    self.damping = (self.damping / 5.0).max(1e-6);
                    self.rounds += 1;
                    self.tries = 0;
                    if moved < CLOSE || self.rounds >= MOST_ROUNDS { self.doing = Doing::Nothing } else { self.slope(0) }
                } else {
                    self.damping *= 8.0;
                    self.tries += 1;
                    self.step();
                }
            }
        }
    }

    /// Asks for the slope of `parameter`, or for a step when all are known.
    fn slope(&mut self, parameter: usize) {
        if parameter == self.best.len() {
            self.step();
            return;
        }
        self.wanted = self.best.clone();
        let (_, most) = self.bounds[parameter];
        let up = self.best[parameter] + DIFFERENCE;
        self.wanted[parameter] = if up <= most { up } else { self.best[parameter] - DIFFERENCE };
        self.doing = Doing::Slope(parameter);
    }

    fn step(&mut self) {
        self.doing = Doing::Nothing;
        if self.tries > MOST_TRIES {
            return;
        }
        let free: Vec<usize> = (0..self.best.len()).filter(|&parameter| self.decides(parameter)).collect();
        let Some(step) = self.solve(&free) else { return };
        self.wanted = self.best.clone();
        for (&parameter, step) in free.iter().zip(step) {
            let (least, most) = self.bounds[parameter];
            self.wanted[parameter] = (self.best[parameter] + step.clamp(-STEP, STEP)).clamp(least, most);
        }
        if differences(&self.wanted, &self.best).iter().any(|step| step.abs() >= CLOSE * 0.1) {
            self.doing = Doing::Trial;
        }
    }

    /// The damped normal equations over the free parameters.
    fn solve(&self, free: &[usize]) -> Option<Vec<f64>> {
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut rows: Vec<Vec<f64>> = Vec::new();
        for &i in free {
            let mut row: Vec<f64> = free.iter().map(|&j| product(&self.slopes[i], &self.slopes[j])).collect();
            let own = rows.len();
            row[own] += PULL + self.damping * row[own];
            row.push(-product(&self.slopes[i], &self.residuals) - PULL * (self.best[i] - self.start[i]));
            rows.push(row);
        }
        solve(rows)
    }
}

/// Gauss with pivots; each row ends with its right-hand side.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let count = rows.len();
    if count == 0 {
        return None;
    }
    for column in 0..count {
        let pivot = (column..count).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, pivot);
        if rows[column][column].abs() < 1e-300 {
            return None;
        }
        let own = rows[column].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            if index != column {
                let factor = row[column] / own[column];
                row.iter_mut().zip(&own).skip(column).for_each(|(value, own)| *value -= factor * own);
            }
        }
    }
    Some((0..count).map(|index| rows[index][count] / rows[index][index]).collect())
}

fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut search: Search, residuals: impl Fn(&[f64]) -> Vec<f64>) -> Search {
        let mut calls = 0;
        for polished in [false, true] {
            if polished {
                search.polish();
            }
            while !search.done() {
                search.answer(residuals(search.wanted()));
                calls += 1;
                assert!(calls < 400, "it does not end");
            }
        }
        search
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_floor() {
        // Rosenbrock's function: the least sum of squares is 0 at (1, 1).
        let found = run(Search::new(vec![0.0, 0.5], vec![(-3.0, 3.0); 2]), |x| vec![3.0 * (x[1] - x[0] * x[0]), 1.0 - x[0]]);
        assert!((found.best()[0] - 1.0).abs() < 0.02 && (found.best()[1] - 1.0).abs() < 0.03, "{:?}", found.best());
    }

    #[test]
    fn what_the_residuals_do_not_depend_on_stays_where_it_was() {
        let found = run(Search::new(vec![0.0, 0.3], vec![(-1.0, 1.0); 2]), |x| vec![x[0] - 0.4, 2.0 * (x[0] - 0.4)]);
        assert!((found.best()[0] - 0.4).abs() < 1e-3 && found.best()[1] == 0.3, "{:?}", found.best());
        assert!(found.decides(0) && !found.decides(1));
    }

    #[test]
    fn small_jumps_do_not_stop_it() {
        // A valley along (1, -1) with steps in it, as simulations have them.
        let jumpy = |value: f64| (value * 500.0).round() / 500.0;
        let found = run(Search::new(vec![0.0, 0.0], vec![(-2.0, 2.0); 2]), |x| {
            vec![jumpy(x[0] + x[1] - 0.5), jumpy(0.3 * (x[0] - x[1] - 0.1)), jumpy(0.5 * (x[0] * x[0] - 0.09))]
        });
        assert!((found.best()[0] - 0.3).abs() < 0.02 && (found.best()[1] - 0.2).abs() < 0.02, "{:?} {}", found.best(), found.cost());
    }

    #[test]
    fn bounds_are_kept() {
        let found = run(Search::new(vec![0.0], vec![(-0.5, 0.5)]), |x| vec![x[0] - 2.0]);
        assert_eq!(found.best(), [0.5]);
    }
}
