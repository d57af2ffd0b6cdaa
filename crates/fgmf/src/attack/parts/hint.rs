//! What a search by scores makes of a map that a server gives beside them: where to look first, and
//! which way.
//!
//! A search is not told whether the map has signs, or whether it is any good. It tries three ways:
//! as if there were no map, at places by the map's magnitude, and there against the map's signs.
//! Each proposal draws its way by what proposals gained by it lately. So a map that misleads costs
//! little more than the proposals that find that out.

use crate::rng::Stream;

/// Share of what was seen that a new proposal leaves: about the last fifty count.
const FADES: f64 = 0.98;

/// A map that tells places apart.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    map: Vec<f32>,
    size: [usize; 2],
    /// Sums of magnitudes over all rows above and all columns to the left.
    sums: Vec<f64>,
}

impl Hint {
    /// A map `[h, w]`; `None` of one that says nothing: it is the same everywhere, or not finite.
    pub(crate) fn new(map: Vec<f32>, [h, w]: [usize; 2]) -> Option<Self> {
        let first = map.first()?;
        let flat = map.iter().all(|v| v.total_cmp(first).is_eq());
        if flat || map.len() != h * w || !map.iter().all(|v| v.is_finite()) {
            return None;
        }
        let mut sums = vec![0.0; (h + 1) * (w + 1)];
        for row in 0..h {
            let mut line = 0.0;
            for column in 0..w {
                line += f64::from(map[row * w + column].abs());
                sums[(row + 1) * (w + 1) + column + 1] = sums[row * (w + 1) + column + 1] + line;
            }
        }
        let size = [h, w];
        Some(Self { map, size, sums })
    }

    /// Values `[h, w]`.
    pub(crate) fn map(&self) -> &[f32] {
        &self.map
    }

    /// Top left corner of a square window, drawn by the magnitude that it covers.
    pub(crate) fn place(&self, side: usize, rng: &mut Stream) -> (usize, usize) {
        let [h, w] = self.size;
        let (rows, columns) = (h + 1 - side, w + 1 - side);
        let at = |r: usize, c: usize| self.sums[r * (w + 1) + c];
        let covered = |i: usize| {
            let (r, c) = (i / columns, i % columns);
            (at(r + side, c + side) - at(r, c + side) - at(r + side, c) + at(r, c)).max(0.0)
        };
        let total: f64 = (0..rows * columns).map(covered).sum();
        let mut left = f64::from(rng.unit()) * total;
        let found = (0..rows * columns).find(|&i| {
            left -= covered(i);
            left < 0.0
        });
        // Rounding may leave a rest behind the last.
        let i = found.unwrap_or(rows * columns - 1);
        (i / columns, i % columns)
    }
}

/// √(½ + ½ |m| / mean |m|) of values: scales of draws whose squares have mean 1, larger where the
/// map is. At least √½, so that no place is left out; 1 everywhere for values that are all 0.
pub(crate) fn scales(values: &[f32]) -> Vec<f32> {
    let total: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
    if total <= 0.0 {
        return vec![1.0; values.len()];
    }
    let mean = total / values.len() as f64;
    let scale = |v: &f32| (0.5 + 0.5 * f64::from(v.abs()) / mean).sqrt() as f32;
    values.iter().map(scale).collect()
}

/// How a proposal uses the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HintWay {
    /// Not at all.
    Blind = 0,
    /// Places by its magnitude.
    Places = 1,
    /// Places by its magnitude, and changes against its signs.
    Against = 2,
}

const WAYS: [HintWay; 3] = [HintWay::Blind, HintWay::Places, HintWay::Against];

/// What each way gained lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    tried: [f64; 3],
    gained: [f64; 3],
}

impl Ways {
    /// Draws a way in proportion to the square of its gain a proposal. Each way is credited with
    /// one more proposal of the mean gain, so that none is given up, and all are alike at first.
    pub(crate) fn draw(&self, rng: &mut Stream) -> HintWay {
        let tried: f64 = self.tried.iter().sum();
        let mean = self.gained.iter().sum::<f64>() / tried.max(1.0);
        // Before anything was gained all are worth the same.
        let usual = if mean > 0.0 { mean } else { 1.0 };
        let worth = |way: HintWay| {
            let i = way as usize;
            ((self.gained[i] + usual) / (self.tried[i] + 1.0) / usual).powi(2)
        };
        let mut left = f64::from(rng.unit()) * WAYS.map(worth).iter().sum::<f64>();
        let found = WAYS.into_iter().find(|&way| {
            left -= worth(way);
            left < 0.0
        });
        found.unwrap_or(HintWay::Against)
    }

    /// Takes in what a proposal gained; 0 if it was not kept. A gain that is not finite is none.
    pub(crate) fn learn(&mut self, way: HintWay, gain: f64) {
        let gain = if gain.is_finite() { gain.max(0.0) } else { 0.0 };
        for i in 0..3 {
            let new = f64::from(u8::from(i == way as usize));
            self.tried[i] = FADES * self.tried[i] + new;
            self.gained[i] = FADES * self.gained[i] + new * gain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn rng() -> Stream {
        Stream::new(3, Purpose::AttackStep, 0, 0)
    }

    #[test]
    fn a_map_that_says_nothing_is_no_hint() {
        assert!(Hint::new(vec![0.5; 6], [2, 3]).is_none());
        assert!(Hint::new(vec![0.0, f32::NAN, 1.0, 0.0], [2, 2]).is_none());
        assert!(Hint::new(vec![0.0, 1.0], [2, 2]).is_none());
        assert!(Hint::new(Vec::new(), [0, 0]).is_none());
        assert!(Hint::new(vec![0.0, 1.0, 0.0, -1.0], [2, 2]).is_some());
    }

    /// Of 20,000 draws each place has its share, within five standard errors; by a map whose
    /// magnitude is the same everywhere all have the same.
    #[test]
    fn places_are_drawn_by_what_they_cover() {
        let mut map = vec![0.0; 16];
        (map[0], map[5], map[15]) = (-1.0, 2.0, 1.0);
        let plain: Vec<f32> = (0..16)
            .map(|i| if i % 3 == 0 { -1.0 } else { 1.0 })
            .collect();
        for map in [map, plain] {
            let (hint, mut rng) = (Hint::new(map.clone(), [4, 4]).unwrap(), rng());
            let (n, mut counts) = (20_000, [0usize; 9]);
            for _ in 0..n {
                let (top, left) = hint.place(2, &mut rng);
                counts[top * 3 + left] += 1;
            }
            let covered = |i: usize| {
                let (top, left) = (i / 3, i % 3);
                let cells = [0, 1, 4, 5].map(|d| map[top * 4 + left + d].abs());
                f64::from(cells.iter().sum::<f32>())
            };
            let total: f64 = (0..9).map(covered).sum();
            for (i, &count) in counts.iter().enumerate() {
                let p = covered(i) / total;
                let off = (count as f64 / f64::from(n) - p).abs();
                assert!(
                    off <= 5.0 * (p * (1.0 - p) / f64::from(n)).sqrt(),
                    "{i}: {off}"
                );
            }
        }
    }

    #[test]
    fn scales_keep_the_size_of_a_draw() {
        let found = scales(&[0.0, 1.0, -3.0, 0.0]);
        let squares: f32 = found.iter().map(|s| s * s).sum();
        assert!((squares - 4.0).abs() < 1e-5 && found[2] > found[1] && found[1] > found[0]);
        assert!((found[0] - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(scales(&[0.0; 3]), [1.0; 3]);
    }

    /// A way that gains takes over, the others stay in the draw; where nothing gains all are tried.
    #[test]
    fn ways_follow_what_was_gained() {
        for (best, most) in [
            (Some(HintWay::Against), 2000),
            (Some(HintWay::Blind), 2000),
            (None, 0),
        ] {
            let (mut ways, mut rng) = (Ways::default(), rng());
            let mut counts = [0; 3];
            for _ in 0..3000 {
                let way = ways.draw(&mut rng);
                counts[way as usize] += 1;
                let gain = if Some(way) == best { 0.01 } else { 0.0 };
                ways.learn(way, gain);
                ways.learn(way, f64::INFINITY);
            }
            assert!(counts.iter().all(|&n| n > 50), "{counts:?}");
            let won = best.map_or(1000, |way| counts[way as usize]);
            assert!(won > most, "{counts:?}");
        }
    }
}
