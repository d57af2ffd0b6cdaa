//! Linear imputation of missing pixels (Rong et al. 2022).
//!
//! A missing pixel is the weighted mean of its neighbours, known or missing: xᵢ Σⱼ wᵢⱼ = Σⱼ wᵢⱼ xⱼ over the neighbours that the
//! picture has, w = 1/6 for the four beside, 1/12 for the four across corners. The equations of the missing pixels are symmetric and
//! positive definite as soon as one pixel is known; conjugate gradients with the diagonal as preconditioner solve them to a mean
//! residual of 10⁻¹¹ of the largest value. A picture of which nothing is known becomes its own mean.

const NEIGHBOURS: [(isize, isize, f64); 8] = [
    (0, 1, 1.0 / 6.0),
    (0, -1, 1.0 / 6.0),
    (1, 0, 1.0 / 6.0),
    (-1, 0, 1.0 / 6.0),
    (1, 1, 1.0 / 12.0),
    (1, -1, 1.0 / 12.0),
    (-1, 1, 1.0 / 12.0),
    (-1, -1, 1.0 / 12.0),
];

/// Missing pixels as equations.
struct System {
    /// Sum of weights of all neighbours, one an unknown.
    diagonal: Vec<f64>,
    /// Missing neighbours: (unknown, weight).
    missing: Vec<Vec<(usize, f64)>>,
    /// Known neighbours: (pixel, weight).
    known: Vec<Vec<(usize, f64)>>,
}

impl System {
    fn new([h, w]: [usize; 2], removed: &[bool], unknowns: &[usize]) -> Self {
        let mut number = vec![usize::MAX; removed.len()];
        unknowns.iter().enumerate().for_each(|(k, &at)| number[at] = k);
        let mut out = Self { diagonal: Vec::new(), missing: Vec::new(), known: Vec::new() };
        for &at in unknowns {
            let (mut total, mut missing, mut known) = (0.0, Vec::new(), Vec::new());
            for (down, right, weight) in NEIGHBOURS {
                let (Some(r), Some(c)) = ((at / w).checked_add_signed(down), (at % w).checked_add_signed(right)) else { continue };
                if r >= h || c >= w {
                    continue;
                }
                total += weight;
                let there = r * w + c;
                if removed[there] { missing.push((number[there], weight)) } else { known.push((there, weight)) }
            }
            out.diagonal.push(total);
            out.missing.push(missing);
            out.known.push(known);
        }
        out
    }

    fn product(&self, v: &[f64]) -> Vec<f64> {
        let row = |k: usize| self.diagonal[k] * v[k] - self.missing[k].iter().map(|(j, w)| w * v[*j]).sum::<f64>();
        (0..v.len()).map(row).collect()
    }

    /// Conjugate gradients from `v`; `scale` is the size of the values.
    fn solve(&self, right: &[f64], scale: f64, mut v: Vec<f64>) -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut r: Vec<f64> = right.iter().zip(self.product(&v)).map(|(b, a)| b - a).collect();
        // Not relative to the right-hand side, which is 0 beside a black ground.
        let limit = (1e-11 * scale).powi(2) * v.len() as f64;
        let scaled = |r: &[f64]| r.iter().zip(&self.diagonal).map(|(r, d)| r / d).collect::<Vec<f64>>();
        let mut z = scaled(&r);
        let mut p = z.clone();
        let mut rz = dot(&r, &z);
        for _ in 0..10 * v.len() {
            if dot(&r, &r) <= limit || rz <= 0.0 {
                break;
            }
            let ap = self.product(&p);
            let bend = dot(&p, &ap);
            if bend <= 0.0 {
                break;
            }
            let alpha = rz / bend;
            v.iter_mut().zip(&p).for_each(|(v, p)| *v += alpha * p);
            r.iter_mut().zip(&ap).for_each(|(r, a)| *r -= alpha * a);
            z = scaled(&r);
            let next = dot(&r, &z);
            p.iter_mut().zip(&z).for_each(|(p, z)| *p = z + next / rz * *p);
            rz = next;
        }
        v
    }
}

/// Replaces the pixels marked in every channel of `image` `[c, h, w]`.
pub(super) fn impute(image: &mut [f64], [_, h, w]: [usize; 3], removed: &[bool]) {
    let unknowns: Vec<usize> = (0..h * w).filter(|&at| removed[at]).collect();
    if unknowns.is_empty() {
        return;
    }
    let system = (unknowns.len() < h * w && h * w > 1).then(|| System::new([h, w], removed, &unknowns));
    for plane in image.chunks_exact_mut(h * w) {
        let (sum, count) =
            (0..h * w).filter(|&at| system.is_none() || !removed[at]).fold((0.0, 0.0), |(s, n), at| (s + plane[at], n + 1.0));
        let start = vec![sum / count; unknowns.len()];
        let found = match &system {
            Some(system) => {
                let right: Vec<f64> = system.known.iter().map(|known| known.iter().map(|(at, w)| w * plane[*at]).sum()).collect();
                let scale = plane.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                system.solve(&right, scale, start)
            }
            None => start,
        };
        unknowns.iter().zip(found).for_each(|(&at, v)| plane[at] = v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    /// One missing corner of 2 x 2: neighbours 1, 2 beside, 5 across: (1/6 + 2/6 + 5/12) / (5/12).
    #[test]
    fn a_corner_by_hand() {
        let mut image = vec![9.0, 1.0, 2.0, 5.0];
        impute(&mut image, [1, 2, 2], &[true, false, false, false]);
        assert!((image[0] - (0.5 + 5.0 / 12.0) / (5.0 / 12.0)).abs() < 1e-9, "{image:?}");
    }

    /// A line along one axis satisfies the equations at every inner pixel.
    #[test]
    fn a_slope_is_continued() {
        let slope: Vec<f64> = (0..49).map(|i| f64::from(i % 7)).collect();
        let removed: Vec<bool> = (0..49).map(|i| (1..6).contains(&(i / 7)) && (1..6).contains(&(i % 7))).collect();
        let mut image = slope.clone();
        removed.iter().enumerate().filter(|(_, r)| **r).for_each(|(i, _)| image[i] = -3.0);
        impute(&mut image, [1, 7, 7], &removed);
        assert!(image.iter().zip(&slope).all(|(a, b)| (a - b).abs() < 1e-8), "{image:?}");
    }

    /// Slow twin: Gauss-Seidel on the same equations until nothing moves.
    #[test]
    fn matches_relaxation_on_random_masks() {
        let mut rng = Stream::new(3, Purpose::Evaluation, 0, 0);
        for share in [0.1, 0.5, 0.95] {
            let clean: Vec<f64> = (0..2 * 90).map(|_| f64::from(rng.unit())).collect();
            let removed: Vec<bool> = (0..90).map(|_| rng.unit() < share).collect();
            let mut fast = clean.clone();
            impute(&mut fast, [2, 9, 10], &removed);
            let mut slow = clean.clone();
            for plane in slow.chunks_exact_mut(90) {
                for _ in 0..20_000 {
                    for at in (0..90).filter(|&at| removed[at]) {
                        let (mut sum, mut total) = (0.0, 0.0);
                        for (down, right, weight) in NEIGHBOURS {
                            let (r, c) = ((at / 10) as isize + down, (at % 10) as isize + right);
                            if (0..9).contains(&r) && (0..10).contains(&c) {
                                sum += weight * plane[(r * 10 + c) as usize];
                                total += weight;
                            }
                        }
                        plane[at] = sum / total;
                    }
                }
            }
            assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-7), "share {share}");
        }
    }

    /// A hole in a black ground, white elsewhere: the right-hand side is 0.
    #[test]
    fn a_hole_in_a_black_ground_stays_black() {
        let mut image = vec![0.0; 144];
        image[11] = 1.0;
        let removed: Vec<bool> = (0..144).map(|i| (5..10).contains(&(i / 12)) && (1..8).contains(&(i % 12))).collect();
        impute(&mut image, [1, 12, 12], &removed);
        assert!(image.iter().enumerate().all(|(i, v)| (v - f64::from(u8::from(i == 11))).abs() < 1e-9), "{image:?}");
    }

    #[test]
    fn nothing_known_becomes_the_mean() {
        let mut image = vec![1.0, 2.0, 3.0, 6.0];
        impute(&mut image, [1, 2, 2], &[true; 4]);
        assert_eq!(image, [3.0; 4]);
    }
}
