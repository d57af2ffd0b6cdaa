//! Linear imputation of missing pixels (Rong et al. 2022).
//!
//! A missing pixel is the weighted mean of its neighbours, known or missing: xᵢ Σⱼ wᵢⱼ = Σⱼ wᵢⱼ xⱼ
//! over the neighbours that the picture has, w = 1/6 for the four beside, 1/12 for the four across
//! corners. The equations of the missing pixels are symmetric and positive definite as soon as one
//! pixel is known; conjugate gradients with the diagonal as preconditioner solve them to a mean
//! residual of 10⁻¹¹ of the largest value. A picture of which nothing is known becomes its own
//! mean. Pixels lie in a frame of zeros one pixel wide, known pixels and the frame have value 0 in
//! every vector of unknowns: the sum over neighbours is then the same nine-point stencil
//! everywhere.

const BESIDE: f64 = 1.0 / 6.0;
const ACROSS: f64 = 1.0 / 12.0;

/// Missing pixels as equations, on the picture and its frame.
struct System {
    /// Rows and columns of the picture.
    size: [usize; 2],
    /// 1 at unknowns, else 0.
    unknown: Vec<f64>,
    /// Sum of weights of the neighbours that the picture has at unknowns, else 1.
    diagonal: Vec<f64>,
}

/// Puts a picture into its frame.
fn framed(plane: &[f64], [h, w]: [usize; 2]) -> Vec<f64> {
    let mut out = vec![0.0; (h + 2) * (w + 2)];
    out[w + 2..]
        .chunks_exact_mut(w + 2)
        .zip(plane.chunks_exact(w))
        .for_each(|(to, from)| to[1..=w].copy_from_slice(from));
    out
}

/// Weighted sums over the neighbours of every pixel of the picture, 0 on the frame.
fn neighbours(v: &[f64], [h, w]: [usize; 2]) -> Vec<f64> {
    let line = w + 2;
    let mut out = vec![0.0; v.len()];
    for r in 1..=h {
        let [above, own, below] = [r - 1, r, r + 1].map(|r| &v[r * line..][..line]);
        let sums = &mut out[r * line + 1..][..w];
        for (c, sum) in sums.iter_mut().enumerate() {
            let beside = own[c] + own[c + 2] + above[c + 1] + below[c + 1];
            let across = above[c] + above[c + 2] + below[c] + below[c + 2];
            *sum = BESIDE * beside + ACROSS * across;
        }
    }
    out
}

/// Sum of products, in eight parts.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (mut parts, (a, b)) = ([0.0; 8], (a.chunks_exact(8), b.chunks_exact(8)));
    let rest: f64 = a
        .remainder()
        .iter()
        .zip(b.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a.zip(b) {
        (0..8).for_each(|i| parts[i] += a[i] * b[i]);
    }
    parts.iter().sum::<f64>() + rest
}

impl System {
    fn new(size: [usize; 2], removed: &[bool]) -> Self {
        let marks: Vec<f64> = removed.iter().map(|r| f64::from(u8::from(*r))).collect();
        let unknown = framed(&marks, size);
        let weights = neighbours(&framed(&vec![1.0; removed.len()], size), size);
        let diagonal = unknown
            .iter()
            .zip(weights)
            .map(|(u, w)| if *u > 0.0 { w } else { 1.0 })
            .collect();
        Self {
            size,
            unknown,
            diagonal,
        }
    }

    /// The matrix times `v`, which is 0 off the unknowns.
    fn product(&self, v: &[f64]) -> Vec<f64> {
        let mut out = neighbours(v, self.size);
        for (((o, v), d), u) in out.iter_mut().zip(v).zip(&self.diagonal).zip(&self.unknown) {
            *o = u * (d * v - *o);
        }
        out
    }

    /// The unknowns of a plane, 0 off them, by conjugate gradients from the value `start`.
    fn solve(&self, plane: &[f64], start: f64) -> Vec<f64> {
        let mut known = framed(plane, self.size);
        known
            .iter_mut()
            .zip(&self.unknown)
            .for_each(|(k, u)| *k *= 1.0 - u);
        let right = neighbours(&known, self.size);
        let count = self.unknown.iter().sum::<f64>();
        let scale = plane.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        // Not relative to the right-hand side, which is 0 beside a black ground.
        let limit = (1e-11 * scale).powi(2) * count;
        let mut v: Vec<f64> = self.unknown.iter().map(|u| u * start).collect();
        let mut r: Vec<f64> = right
            .iter()
            .zip(self.product(&v))
            .zip(&self.unknown)
            .map(|((b, a), u)| u * b - a)
            .collect();
        let scaled = |r: &[f64]| {
            r.iter()
                .zip(&self.diagonal)
                .map(|(r, d)| r / d)
                .collect::<Vec<f64>>()
        };
        let mut z = scaled(&r);
        let mut p = z.clone();
        let mut rz = dot(&r, &z);
        for _ in 0..10 * count as usize {
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
            p.iter_mut()
                .zip(&z)
                .for_each(|(p, z)| *p = z + next / rz * *p);
            rz = next;
        }
        v
    }
}

/// Replaces the pixels marked in every channel of `image` `[c, h, w]`.
pub(crate) fn impute(image: &mut [f64], [_, h, w]: [usize; 3], removed: &[bool]) {
    let missing = removed.iter().filter(|r| **r).count();
    if missing == 0 {
        return;
    }
    let system = (missing < h * w).then(|| System::new([h, w], removed));
    for plane in image.chunks_exact_mut(h * w) {
        let (sum, count) = (0..h * w)
            .filter(|&at| system.is_none() || !removed[at])
            .fold((0.0, 0.0), |(s, n), at| (s + plane[at], n + 1.0));
        let mean = sum / count;
        match &system {
            Some(system) => {
                let found = system.solve(plane, mean);
                for at in (0..h * w).filter(|&at| removed[at]) {
                    plane[at] = found[(at / w + 1) * (w + 2) + at % w + 1];
                }
            }
            None => plane.fill(mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

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

    /// One missing corner of 2 x 2: neighbours 1, 2 beside, 5 across: (1/6 + 2/6 + 5/12) / (5/12).
    #[test]
    fn a_corner_by_hand() {
        let mut image = vec![9.0, 1.0, 2.0, 5.0];
        impute(&mut image, [1, 2, 2], &[true, false, false, false]);
        assert!(
            (image[0] - (0.5 + 5.0 / 12.0) / (5.0 / 12.0)).abs() < 1e-9,
            "{image:?}"
        );
    }

    /// A line along one axis satisfies the equations at every inner pixel.
    #[test]
    fn a_slope_is_continued() {
        let slope: Vec<f64> = (0..49).map(|i| f64::from(i % 7)).collect();
        let removed: Vec<bool> = (0..49)
            .map(|i| (1..6).contains(&(i / 7)) && (1..6).contains(&(i % 7)))
            .collect();
        let mut image = slope.clone();
        removed
            .iter()
            .enumerate()
            .filter(|(_, r)| **r)
            .for_each(|(i, _)| image[i] = -3.0);
        impute(&mut image, [1, 7, 7], &removed);
        assert!(
            image.iter().zip(&slope).all(|(a, b)| (a - b).abs() < 1e-8),
            "{image:?}"
        );
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
            assert!(
                fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-7),
                "share {share}"
            );
        }
    }

    /// A hole in a black ground, white elsewhere: the right-hand side is 0.
    #[test]
    fn a_hole_in_a_black_ground_stays_black() {
        let mut image = vec![0.0; 144];
        image[11] = 1.0;
        let removed: Vec<bool> = (0..144)
            .map(|i| (5..10).contains(&(i / 12)) && (1..8).contains(&(i % 12)))
            .collect();
        impute(&mut image, [1, 12, 12], &removed);
        assert!(
            image
                .iter()
                .enumerate()
                .all(|(i, v)| (v - f64::from(u8::from(i == 11))).abs() < 1e-9),
            "{image:?}"
        );
    }

    #[test]
    fn nothing_known_becomes_the_mean() {
        let mut image = vec![1.0, 2.0, 3.0, 6.0];
        impute(&mut image, [1, 2, 2], &[true; 4]);
        assert_eq!(image, [3.0; 4]);
    }
}
