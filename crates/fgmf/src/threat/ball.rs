//! Norm balls around images, cut to the bounds of an image.

use crate::error::{Error, Result};
use crate::record::{Norm, ThreatRecord};
use crate::rng::Stream;
use fgmf_net::Tensor;

/// ‖b − a‖ in a norm, accumulated in `f64`; NaN if any difference is.
pub(crate) fn distance(norm: Norm, a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let change = |a: f32, b: f32| (f64::from(b) - f64::from(a)).abs();
    match norm {
        Norm::Linf => in_lanes(a, b, |l, a, b| {
            let d = change(a, b);
            lanes[l] = if d > lanes[l] || d.is_nan() {
                d
            } else {
                lanes[l]
            };
        }),
        Norm::L2 => in_lanes(a, b, |l, a, b| lanes[l] += change(a, b) * change(a, b)),
        Norm::L1 => in_lanes(a, b, |l, a, b| lanes[l] += change(a, b)),
    }
    match norm {
        Norm::Linf => norm.of(lanes.into_iter()),
        Norm::L2 => lanes.iter().sum::<f64>().sqrt(),
        Norm::L1 => lanes.iter().sum(),
    }
}

/// Calls `f` with a lane of 0 to 7 and each pair of values. Sums kept in one variable a lane run in
/// vector registers, and always in the same order.
pub(crate) fn in_lanes(a: &[f32], b: &[f32], mut f: impl FnMut(usize, f32, f32)) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|l| f(l, a[l], b[l]));
    }
    a_rest
        .iter()
        .zip(b_rest)
        .enumerate()
        .for_each(|(l, (&a, &b))| f(l, a, b));
}

/// A checked threat: norm, radius, bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThreatModel {
    norm: Norm,
    eps: f64,
    bounds: [f64; 2],
}

impl ThreatModel {
    /// `eps ≥ 0` and finite, in the units of the input; `bounds` finite and increasing.
    pub fn new(norm: Norm, eps: f64, bounds: [f64; 2]) -> Result<Self> {
        if !(eps.is_finite() && eps >= 0.0) {
            return Err(Error::parameter("eps", "a finite number, 0 or more", eps));
        }
        if !(bounds[0].is_finite() && bounds[1].is_finite() && bounds[0] < bounds[1]) {
            return Err(Error::parameter(
                "bounds",
                "two finite numbers, the smaller first",
                format!("{bounds:?}"),
            ));
        }
        Ok(Self { norm, eps, bounds })
    }

    /// The norm.
    pub fn norm(&self) -> Norm {
        self.norm
    }

    /// The radius, in input units.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Smallest and largest value of an image.
    pub fn bounds(&self) -> [f64; 2] {
        self.bounds
    }

    /// The same threat at another radius.
    pub fn with_eps(&self, eps: f64) -> Result<Self> {
        Self::new(self.norm, eps, self.bounds)
    }

    /// For a report.
    pub fn record(&self) -> ThreatRecord {
        ThreatRecord {
            norm: self.norm,
            eps: self.eps,
            bounds: self.bounds,
        }
    }

    /// ‖x − origin‖.
    pub fn distance(&self, origin: &[f32], x: &[f32]) -> f64 {
        distance(self.norm, origin, x)
    }

    /// Distance of the image farthest from `origin` within the bounds.
    pub fn reach(&self, origin: &[f32]) -> f64 {
        let [lo, hi] = self.bounds;
        self.norm.of(origin
            .iter()
            .map(|&o| (f64::from(o) - lo).max(hi - f64::from(o))))
    }

    /// Largest distance of two images of so many values within the bounds.
    pub fn widest(&self, values: usize) -> f64 {
        let [lo, hi] = self.bounds;
        (hi - lo) * self.norm.of_ones(values)
    }

    /// Ends of boxes around images `[n, …]` that hold every image of the ball and of the bounds:
    /// all that [`Self::contains`] lets pass there. Ends are rounded outwards.
    pub fn boxes(&self, images: &Tensor) -> [Tensor; 2] {
        let [lo, hi] = [self.bounds[0] as f32, self.bounds[1] as f32];
        let values = images.to_f32();
        let size = values.len() / images.shape().first().map_or(1, |n| (*n).max(1));
        let radius = self.eps + 1e-6 * self.widest(size);
        let end = |of: &dyn Fn(f64) -> f32| {
            let ends = values.iter().map(|&v| of(f64::from(v)).clamp(lo, hi));
            Tensor::new(images.shape(), ends.collect::<Vec<f32>>())
        };
        [
            end(&|v| ((v - radius) as f32).next_down()),
            end(&|v| ((v + radius) as f32).next_up()),
        ]
    }

    /// Whether `x` is in the ball around `origin` and in the bounds, up to the rounding of `f32`:
    /// one part in 10⁶ of the value range for each coordinate that the norm adds up (1 for Linf, √d
    /// for L2, d for L1).
    pub fn contains(&self, origin: &[f32], x: &[f32]) -> bool {
        let [lo, hi] = self.bounds;
        let slack = 1e-6 * self.widest(origin.len());
        let inside = |v: &f32| f64::from(*v) >= lo - 1e-6 && f64::from(*v) <= hi + 1e-6;
        self.distance(origin, x) <= self.eps + slack && x.iter().all(inside)
    }

    /// Brings `x` into the ball around `origin` and into the bounds, which hold `origin`.
    ///
    /// Linf clips, and L1 is the Euclidean projection onto the intersection (Croce & Hein 2021):
    /// both are exact. L2 scales into the ball, then clips, which moves each coordinate towards
    /// `origin` and so stays in the ball.
    pub fn project(&self, origin: &[f32], x: &mut [f32]) {
        let eps = self.eps as f32;
        match self.norm {
            // As `f32::clamp`, whose panic would keep it out of vector registers.
            Norm::Linf => x.iter_mut().zip(origin).for_each(|(v, &o)| {
                let (low, high) = (o - eps, o + eps);
                let above = if *v < low { low } else { *v };
                *v = if above > high { high } else { above };
            }),
            Norm::L2 => {
                let length = self.distance(origin, x);
                if length > self.eps {
                    let scale = (self.eps / length) as f32;
                    x.iter_mut()
                        .zip(origin)
                        .for_each(|(v, &o)| *v = o + (*v - o) * scale);
                }
            }
            Norm::L1 => self.project_l1(origin, x),
        }
        self.clip(x);
    }

    /// Brings `x` into the bounds, wherever the ball is.
    pub fn clip(&self, x: &mut [f32]) {
        let [lo, hi] = [self.bounds[0] as f32, self.bounds[1] as f32];
        x.iter_mut().for_each(|v| *v = v.clamp(lo, hi));
    }

    /// With change d = x − o and room u towards the bound it heads for, the nearest point moves by
    /// min(max(|d| − t, 0), u), where t is the least t ≥ 0 at which these moves add up to eps or
    /// less.
    fn project_l1(&self, origin: &[f32], x: &mut [f32]) {
        let [lo, hi] = [self.bounds[0] as f32, self.bounds[1] as f32];
        let room = |o: f32, d: f32| if d > 0.0 { hi - o } else { o - lo };
        let changes: Vec<f32> = origin.iter().zip(x.iter()).map(|(&o, &v)| v - o).collect();
        let rooms: Vec<f32> = origin
            .iter()
            .zip(&changes)
            .map(|(&o, &d)| room(o, d))
            .collect();
        let sizes: Vec<f32> = changes.iter().map(|d| d.abs()).collect();
        let t = excess(&sizes, &rooms, self.eps) as f32;
        for (((v, &o), d), u) in x.iter_mut().zip(origin).zip(changes).zip(rooms) {
            *v = o + (d.abs() - t).max(0.0).min(u).copysign(d);
        }
    }

    /// A random point of the ball, in the bounds: uniform for Linf; a uniform direction with radius
    /// `eps u^(1/d)` for L2; for L1 a random simplex point with random signs.
    pub fn random_start(&self, origin: &[f32], rng: &mut Stream) -> Vec<f32> {
        let eps = self.eps as f32;
        let mut x: Vec<f32> = match self.norm {
            Norm::Linf => origin.iter().map(|&o| o + eps * rng.symmetric()).collect(),
            Norm::L2 => {
                let direction: Vec<f32> = origin.iter().map(|_| rng.normal()).collect();
                let length = Norm::L2
                    .of(direction.iter().map(|&v| f64::from(v)))
                    .max(1e-12);
                let radius =
                    self.eps * f64::from(rng.unit()).powf(1.0 / origin.len().max(1) as f64);
                origin
                    .iter()
                    .zip(direction)
                    .map(|(&o, d)| o + d * (radius / length) as f32)
                    .collect()
            }
            Norm::L1 => {
                let shares: Vec<f64> = origin
                    .iter()
                    .map(|_| -(1.0 - f64::from(rng.unit())).ln())
                    .collect();
                let total: f64 = shares.iter().sum::<f64>().max(1e-12);
                origin
                    .iter()
                    .zip(shares)
                    .map(|(&o, s)| o + rng.symmetric().signum() * (self.eps * s / total) as f32)
                    .collect()
            }
        };
        self.project(origin, &mut x);
        x
    }

    /// Sets to 0 the gradient of coordinates that stand at a bound and would step over it: a step
    /// spent there is lost.
    pub fn drop_blocked(&self, x: &[f32], g: &mut [f32]) {
        let [lo, hi] = [self.bounds[0] as f32, self.bounds[1] as f32];
        // Without branches, so that it runs in vector registers.
        for (g, &v) in g.iter_mut().zip(x) {
            let blocked = ((v <= lo) & (*g < 0.0)) | ((v >= hi) & (*g > 0.0));
            *g = if blocked { 0.0 } else { *g };
        }
    }

    /// Direction of steepest ascent with unit norm: sign(g) for Linf, g/‖g‖₂ for L2; for L1 the
    /// largest coordinates, a hundredth of them, with equal shares (the largest alone would move
    /// one value a step).
    pub fn steepest(&self, g: &mut [f32]) {
        match self.norm {
            Norm::Linf => g
                .iter_mut()
                .for_each(|v| *v = if *v == 0.0 { 0.0 } else { v.signum() }),
            Norm::L2 => {
                let length = Norm::L2.of(g.iter().map(|&v| f64::from(v))).max(1e-12) as f32;
                g.iter_mut().for_each(|v| *v /= length);
            }
            Norm::L1 => {
                let count = (g.len() / 100).max(1);
                let mut order: Vec<usize> = (0..g.len()).collect();
                order.sort_by(|&a, &b| g[b].abs().total_cmp(&g[a].abs()).then(a.cmp(&b)));
                let mut step = vec![0.0; g.len()];
                order[..count].iter().for_each(|&i| {
                    step[i] = if g[i] == 0.0 {
                        0.0
                    } else {
                        g[i].signum() / count as f32
                    }
                });
                g.copy_from_slice(&step);
            }
        }
    }
}

/// Least t ≥ 0 with f(t) = Σ min(max(aᵢ − t, 0), uᵢ) ≤ radius, for numbers aᵢ, uᵢ ≥ 0. f is
/// piecewise linear and falling, neither convex nor concave: Newton steps (from within the last
/// segment the step is exact), bisection where one does not stay strictly inside the bracket or the
/// last one did not halve it.
fn excess(a: &[f32], u: &[f32], radius: f64) -> f64 {
    let at = |t: f64| {
        let (mut sums, mut slopes) = ([0.0f64; 8], [0u32; 8]);
        in_lanes(a, u, |l, a, u| {
            let (rest, u) = (f64::from(a) - t, f64::from(u));
            sums[l] += rest.max(0.0).min(u);
            slopes[l] += u32::from(rest > 0.0) & u32::from(rest < u);
        });
        (
            sums.iter().sum::<f64>(),
            f64::from(slopes.iter().sum::<u32>()),
        )
    };
    let (mut below, mut above) = (0.0, a.iter().fold(0.0f64, |m, a| m.max(f64::from(*a))));
    let (mut t, mut width) = (0.0, f64::INFINITY);
    for _ in 0..200 {
        let (sum, slope) = at(t);
        // The last Newton step may land a rounding above the radius.
        if (sum - radius).abs() <= 1e-12 * radius || (t <= 0.0 && sum <= radius) {
            return t;
        }
        if sum > radius {
            below = t;
        } else {
            above = t;
        }
        let newton = t + (sum - radius) / slope;
        let middle = 0.5 * (below + above);
        if middle <= below || middle >= above {
            break;
        }
        let halved = above - below <= 0.5 * width;
        width = above - below;
        t = if halved && newton > below && newton < above {
            newton
        } else {
            middle
        };
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use proptest::prelude::*;

    fn threat(norm: Norm, eps: f64) -> ThreatModel {
        ThreatModel::new(norm, eps, [0.0, 1.0]).unwrap()
    }

    proptest! {
        /// A box holds every point of the ball, and has the radius.
        #[test]
        fn boxes_hold_the_ball(
            values in prop::collection::vec((0.0f32..=1.0, -3.0f32..3.0), 1..20),
            eps in 0.0f64..0.5,
        ) {
            let (origin, far): (Vec<f32>, Vec<f32>) = values.into_iter().unzip();
            let x = Tensor::new(&[1, origin.len()], origin.clone());
            for norm in [Norm::Linf, Norm::L2, Norm::L1] {
                let t = threat(norm, eps);
                let mut point = far.clone();
                t.project(&origin, &mut point);
                let [lower, upper] = t.boxes(&x).map(|e| e.to_f32());
                for (i, p) in point.iter().enumerate() {
                    prop_assert!(lower[i] <= *p && *p <= upper[i], "{norm:?}");
                    prop_assert!(f64::from(upper[i] - lower[i]) < 2.0 * eps + 1e-4);
                    prop_assert!(lower[i] >= 0.0 && upper[i] <= 1.0);
                }
            }
        }

        /// In the ball, in the bounds, idempotent, and no point of the ball is nearer than the
        /// projection (bounds apart).
        #[test]
        fn projection_and_random_start_stay_inside(
            values in prop::collection::vec((0.0f32..1.0, -3.0f32..3.0), 1..40),
            eps in 0.0f64..2.0,
            seed: u64,
        ) {
            let (origin, far): (Vec<f32>, Vec<f32>) = values.into_iter().unzip();
            for norm in [Norm::Linf, Norm::L2, Norm::L1] {
                let t = threat(norm, eps);
                let mut x = far.clone();
                t.project(&origin, &mut x);
                let distance = t.distance(&origin, &x);
                prop_assert!(t.contains(&origin, &x), "{norm:?}: {distance} > {eps}");
                let mut again = x.clone();
                t.project(&origin, &mut again);
                prop_assert!(x.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-5));
                let mut draws = Stream::new(seed, Purpose::AttackStart, 0, 0);
                let start = t.random_start(&origin, &mut draws);
                prop_assert!(t.contains(&origin, &start));
            }
        }

        /// The L1 projection is the Euclidean one: moving mass between two coordinates, inside the
        /// ball, never comes closer.
        #[test]
        fn l1_projection_is_euclidean(
            far in prop::collection::vec(-1.0f32..1.0, 2..12),
            eps in 0.05f64..1.0,
        ) {
            let origin = vec![0.0f32; far.len()];
            let t = ThreatModel::new(Norm::L1, eps, [-10.0, 10.0]).unwrap();
            let mut x = far.clone();
            t.project(&origin, &mut x);
            let square = |p: &[f32]| {
                let each = p.iter().zip(&far).map(|(a, b)| f64::from(a - b).powi(2));
                each.sum::<f64>()
            };
            let best = square(&x);
            for i in 0..x.len() {
                for j in 0..x.len() {
                    for step in [1e-3f32, -1e-3] {
                        let mut y = x.clone();
                        y[i] += step;
                        y[j] -= step;
                        let reach = t.eps().min(t.distance(&origin, &x).max(eps));
                        if t.distance(&origin, &y) <= reach {
                            prop_assert!(square(&y) >= best - 1e-6);
                        }
                    }
                }
            }
        }
    }

    proptest! {
        /// Distances in lanes are those of the plain sums.
        #[test]
        fn distances_match_plain_sums(
            values in prop::collection::vec((-2.0f32..2.0, -2.0f32..2.0), 0..40),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = values.into_iter().unzip();
            for norm in [Norm::Linf, Norm::L2, Norm::L1] {
                let plain = norm.of(a.iter().zip(&b).map(|(&a, &b)| f64::from(b) - f64::from(a)));
                prop_assert!((distance(norm, &a, &b) - plain).abs() < 1e-12);
            }
        }

        /// Nearest point of ball and box: no better one by bisection on the multiplier, which is
        /// monotone.
        #[test]
        fn l1_projection_into_the_box_is_the_nearest_point(
            values in prop::collection::vec((0.0f32..=1.0, -3.0f32..3.0), 1..40),
            eps in 0.0f64..4.0,
        ) {
            let (origin, far): (Vec<f32>, Vec<f32>) = values.into_iter().unzip();
            let t = threat(Norm::L1, eps);
            let mut x = far.clone();
            t.project(&origin, &mut x);
            let twin = |t: f64| -> Vec<f64> {
                origin.iter().zip(&far).map(|(&o, &v)| {
                    let (o, d) = (f64::from(o), f64::from(v) - f64::from(o));
                    (o + d.signum() * (d.abs() - t).max(0.0)).clamp(0.0, 1.0)
                }).collect()
            };
            let length = |p: &[f64]| {
                let each = p.iter().zip(&origin).map(|(p, &o)| (p - f64::from(o)).abs());
                each.sum::<f64>()
            };
            let (mut low, mut high) = (0.0, 4.0);
            if length(&twin(0.0)) <= eps { high = 0.0; }
            for _ in 0..100 {
                let middle = 0.5 * (low + high);
                if length(&twin(middle)) > eps { low = middle } else { high = middle }
            }
            for (ours, twin) in x.iter().zip(twin(high)) {
                prop_assert!((f64::from(*ours) - twin).abs() < 1e-5, "{ours} for {twin}");
            }
        }
    }

    /// Radius 3.75: Newton goes from 0 to 3, back to 0.25, and to 3 again. A bracket that already
    /// ends there must not close on it.
    #[test]
    fn l1_multiplier_survives_a_step_onto_the_bracket() {
        let (mut a, mut u) = (vec![2.0; 8], vec![1.0; 8]);
        a.extend([4.0, 1.25, 1.25, 1.25]);
        u.extend([5.0, 3.0, 3.0, 3.0]);
        let f = |t: f64| {
            a.iter()
                .zip(&u)
                .map(|(&a, &u)| (f64::from(a) - t).max(0.0).min(f64::from(u)))
                .sum::<f64>()
        };
        for radius in [0.0, 1e-9, 0.1, 1.0, 3.75, 7.5, 10.0, 15.0, 15.75, 16.0] {
            let t = excess(&a, &u, radius);
            assert!(
                (f(t) - radius).abs() < 1e-9 || (t == 0.0 && f(t) <= radius),
                "{radius}: {t} gives {}",
                f(t)
            );
        }
    }

    #[test]
    fn bad_parameters_are_refused() {
        for (eps, bounds) in [
            (f64::NAN, [0.0, 1.0]),
            (-0.1, [0.0, 1.0]),
            (f64::INFINITY, [0.0, 1.0]),
            (0.1, [1.0, 0.0]),
            (0.1, [0.0, f64::NAN]),
        ] {
            assert!(ThreatModel::new(Norm::Linf, eps, bounds).is_err());
        }
    }

    #[test]
    fn steepest_directions_have_unit_norm() {
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            let mut g: Vec<f32> = (0..784)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0)
                .collect();
            threat(norm, 1.0).steepest(&mut g);
            assert!((norm.of(g.iter().map(|&v| f64::from(v))) - 1.0).abs() < 1e-5);
        }
    }
}
