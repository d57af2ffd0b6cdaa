//! Nearest, linear and cubic resizing of planes, with the coordinate rules of ONNX `Resize`.

use crate::axis::{AXES, ShapeError, product, saturating_product};
use crate::real::Real;

/// Which input cell a fractional coordinate means (ONNX `nearest_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearestRounding {
    /// To the nearest, halves down.
    RoundPreferFloor,
    /// To the nearest, halves up.
    RoundPreferCeil,
    /// Down.
    Floor,
    /// Up.
    Ceil,
}

/// Interpolation (ONNX `mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeMode {
    /// Copies one input cell.
    Nearest(NearestRounding),
    /// Blends the two neighbours along each axis.
    Linear,
    /// Keys' cubic of the four neighbours along each axis, with coefficient -0.75; beyond the
    /// border, its cells count.
    Cubic,
}

/// Input coordinate of an output cell (ONNX `coordinate_transformation_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    /// `(o + 0.5) / scale - 0.5`
    HalfPixel,
    /// As `HalfPixel`, but `0` for an output of length 1.
    PytorchHalfPixel,
    /// `o * (in - 1) / (out - 1)`, or `0` for an output of length 1; `scale` is not used.
    AlignCorners,
    /// `o / scale`
    Asymmetric,
}

/// Shape and rule of a resize of `planes` independent planes, `[planes, h, w]` to
/// `[planes, out_h, out_w]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resize2d {
    /// Batch size times channels.
    pub planes: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Output over input size, `[height, width]`, as the graph gives it (which need not be exactly
    /// `out / in`).
    pub scale: [f64; 2],
    /// Interpolation.
    pub mode: ResizeMode,
    /// Input coordinate of an output cell.
    pub coordinates: Coordinates,
}

impl Resize2d {
    /// Judges the shape.
    ///
    /// # Errors
    ///
    /// A zero size, a scale that is not positive and finite, or sizes whose product does not fit
    /// the address space.
    pub fn check(&self) -> Result<(), ShapeError> {
        for (what, size) in [
            ("input size", self.h),
            ("input size", self.w),
            ("output size", self.out_h),
            ("output size", self.out_w),
        ] {
            if size == 0 {
                return Err(ShapeError::Zero { what });
            }
        }
        for (axis, scale) in AXES.into_iter().zip(self.scale) {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(ShapeError::Scale { axis, scale });
            }
        }
        product("resize input", &[self.planes.max(1), self.h, self.w])?;
        product(
            "resize output",
            &[self.planes.max(1), self.out_h, self.out_w],
        )?;
        Ok(())
    }

    /// Numbers in the input, `planes * h * w`.
    #[must_use]
    pub fn x_len(&self) -> usize {
        saturating_product(&[self.planes, self.h, self.w])
    }

    /// Numbers in the output, `planes * out_h * out_w`.
    #[must_use]
    pub fn y_len(&self) -> usize {
        saturating_product(&[self.planes, self.out_h, self.out_w])
    }

    fn assert_lengths(&self, x: usize, y: usize) {
        assert_eq!(x, self.x_len(), "input length of {self:?}");
        assert_eq!(y, self.y_len(), "output length of {self:?}");
    }

    /// For each axis and output cell, the four cells and weights of a cubic.
    fn cubic_taps<T: Real>(&self) -> [Vec<[(usize, T); 4]>; 2] {
        let (input, output) = ([self.h, self.w], [self.out_h, self.out_w]);
        [0, 1].map(|i| {
            (0..output[i])
                .map(|o| {
                    let at = self.coordinate(i, o, input[i], output[i]);
                    std::array::from_fn(|k| {
                        let cell = at.floor() + k as f64 - 1.0;
                        let inside = cell.clamp(0.0, (input[i] - 1) as f64) as usize;
                        (inside, T::from_f64(cubic(at - cell)))
                    })
                })
                .collect()
        })
    }

    fn taps<T: Real>(&self) -> [Vec<Tap<T>>; 2] {
        let (input, output) = ([self.h, self.w], [self.out_h, self.out_w]);
        [0, 1].map(|i| {
            (0..output[i])
                .map(|o| match self.mode {
                    ResizeMode::Nearest(rounding) => {
                        let cell = self.nearest(i, o, input[i], output[i], rounding);
                        Tap::of(cell as f64, input[i])
                    }
                    _ => Tap::of(self.coordinate(i, o, input[i], output[i]), input[i]),
                })
                .collect()
        })
    }

    fn coordinate(&self, axis: usize, o: usize, input: usize, output: usize) -> f64 {
        let (o, scale) = (o as f64, self.scale[axis]);
        match self.coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if output == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (o + 0.5) / scale - 0.5,
            Coordinates::AlignCorners => o * (input - 1) as f64 / (output - 1) as f64,
            Coordinates::Asymmetric => o / scale,
        }
    }

    /// The cell, decided in single precision: ONNX stores scales so, and with a scale of 0.6 the
    /// quotient 3 / 0.6 is a whole number only there.
    fn nearest(
        &self,
        axis: usize,
        o: usize,
        input: usize,
        output: usize,
        rounding: NearestRounding,
    ) -> usize {
        let (of, scale) = (o as f32, self.scale[axis] as f32);
        let at = match self.coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if output == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (of + 0.5) / scale - 0.5,
            Coordinates::AlignCorners => of * (input - 1) as f32 / (output - 1) as f32,
            Coordinates::Asymmetric => of / scale,
        };
        let cell = match rounding {
            NearestRounding::RoundPreferFloor => (at - 0.5).ceil(),
            NearestRounding::RoundPreferCeil => (at + 0.5).floor(),
            NearestRounding::Floor => at.floor(),
            NearestRounding::Ceil => at.ceil(),
        };
        // A cast from float saturates, so a negative coordinate is cell 0.
        (cell as usize).min(input - 1)
    }
}

/// Keys' cubic convolution kernel at distance `d`: `(a + 2)|d|³ − (a + 3)d² + 1` up to 1,
/// `a|d|³ − 5a d² + 8a|d| − 4a` up to 2, with a = -0.75.
fn cubic(d: f64) -> f64 {
    const A: f64 = -0.75;
    let d = d.abs();
    if d <= 1.0 {
        ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A
    } else {
        0.0
    }
}

/// What one output cell reads along one axis: `low.0 * x[low.1] + high.0 * x[high.1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap<T> {
    cells: [usize; 2],
    weights: [T; 2],
}

impl<T: Real> Tap<T> {
    fn of(coordinate: f64, len: usize) -> Self {
        let at = coordinate.clamp(0.0, (len - 1) as f64);
        let low = at as usize;
        let part = at - low as f64;
        Self {
            cells: [low, (low + 1).min(len - 1)],
            weights: [T::from_f64(1.0 - part), T::from_f64(part)],
        }
    }
}

/// Resizes `x` `[planes, h, w]` to `y` `[planes, out_h, out_w]`.
///
/// Coordinates outside the input are clamped to its border. Nearest copies numbers unchanged.
///
/// # Panics
///
/// If a slice length does not match the shape.
pub fn resize2d<T: Real>(s: &Resize2d, x: &[T], y: &mut [T]) {
    s.assert_lengths(x.len(), y.len());
    let planes = x.chunks_exact(s.h * s.w);
    if s.mode == ResizeMode::Cubic {
        let [rows, cols] = s.cubic_taps::<T>();
        for (x, y) in planes.zip(y.chunks_exact_mut(s.out_h * s.out_w)) {
            for (row, y) in rows.iter().zip(y.chunks_exact_mut(s.out_w)) {
                for (col, y) in cols.iter().zip(y) {
                    let line = |r: usize| {
                        let of = |&(c, w): &(usize, T)| x[r * s.w + c] * w;
                        col.iter().map(of).fold(T::zero(), |a, b| a + b)
                    };
                    let of = |&(r, w): &(usize, T)| line(r) * w;
                    *y = row.iter().map(of).fold(T::zero(), |a, b| a + b);
                }
            }
        }
        return;
    }
    let [rows, cols] = s.taps::<T>();
    for (x, y) in planes.zip(y.chunks_exact_mut(s.out_h * s.out_w)) {
        for (row, y) in rows.iter().zip(y.chunks_exact_mut(s.out_w)) {
            let [low, high] = row.cells.map(|r| &x[r * s.w..(r + 1) * s.w]);
            match s.mode {
                ResizeMode::Nearest(_) => {
                    for (col, y) in cols.iter().zip(y) {
                        *y = low[col.cells[0]];
                    }
                }
                _ => {
                    let blend = |line: &[T], col: &Tap<T>| {
                        line[col.cells[0]] * col.weights[0] + line[col.cells[1]] * col.weights[1]
                    };
                    for (col, y) in cols.iter().zip(y) {
                        *y = blend(low, col) * row.weights[0] + blend(high, col) * row.weights[1];
                    }
                }
            }
        }
    }
}

/// Adjoint of [`resize2d`]: adds every `dy` to the cells it was blended from. Overwrites `dx`
/// (`[planes, h, w]`); `dy` is `[planes, out_h, out_w]`.
///
/// # Panics
///
/// If a slice length does not match the shape.
pub fn resize2d_adjoint<T: Real>(s: &Resize2d, dy: &[T], dx: &mut [T]) {
    s.assert_lengths(dx.len(), dy.len());
    dx.fill(T::zero());
    let planes = dx.chunks_exact_mut(s.h * s.w);
    if s.mode == ResizeMode::Cubic {
        let [rows, cols] = s.cubic_taps::<T>();
        for (dx, dy) in planes.zip(dy.chunks_exact(s.out_h * s.out_w)) {
            for (row, dy) in rows.iter().zip(dy.chunks_exact(s.out_w)) {
                for (col, &v) in cols.iter().zip(dy) {
                    for &(r, a) in row {
                        for &(c, b) in col {
                            dx[r * s.w + c] += v * a * b;
                        }
                    }
                }
            }
        }
        return;
    }
    let [rows, cols] = s.taps::<T>();
    for (dx, dy) in planes.zip(dy.chunks_exact(s.out_h * s.out_w)) {
        for (row, dy) in rows.iter().zip(dy.chunks_exact(s.out_w)) {
            for (col, &v) in cols.iter().zip(dy) {
                match s.mode {
                    ResizeMode::Nearest(_) => dx[row.cells[0] * s.w + col.cells[0]] += v,
                    _ => {
                        for (&r, &a) in row.cells.iter().zip(&row.weights) {
                            for (&c, &b) in col.cells.iter().zip(&col.weights) {
                                dx[r * s.w + c] += v * a * b;
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use {Coordinates::*, NearestRounding::*, ResizeMode::*};

    fn resize(
        size: [usize; 2],
        out: [usize; 2],
        scale: [f64; 2],
        mode: ResizeMode,
        coordinates: Coordinates,
    ) -> Resize2d {
        Resize2d {
            planes: 1,
            h: size[0],
            w: size[1],
            out_h: out[0],
            out_w: out[1],
            scale,
            mode,
            coordinates,
        }
    }

    #[track_caller]
    fn assert_resizes(s: &Resize2d, x: &[f64], want: &[f64]) {
        s.check().unwrap();
        let mut y = vec![f64::NAN; s.y_len()];
        resize2d(s, x, &mut y);
        for (i, (got, want)) in y.iter().zip(want).enumerate() {
            assert!((got - want).abs() < 1e-6, "y[{i}] of {y:?}, not {want}");
        }
        assert_eq!(y.len(), want.len());
    }

    /// The examples of the ONNX operator specification.
    #[test]
    fn nearest_of_the_specification() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_resizes(
            &resize(
                [2, 2],
                [4, 6],
                [2.0, 3.0],
                Nearest(RoundPreferFloor),
                HalfPixel,
            ),
            &x,
            &[
                1., 1., 1., 2., 2., 2., 1., 1., 1., 2., 2., 2., 3., 3., 3., 4., 4., 4., 3., 3., 3.,
                4., 4., 4.,
            ],
        );
        let x: Vec<f64> = (1..=8).map(f64::from).collect();
        assert_resizes(
            &resize(
                [2, 4],
                [1, 2],
                [0.6, 0.6],
                Nearest(RoundPreferFloor),
                HalfPixel,
            ),
            &x,
            &[1., 3.],
        );
        let x: Vec<f64> = (1..=16).map(f64::from).collect();
        assert_resizes(
            &resize([4, 4], [8, 8], [2.0, 2.0], Nearest(Floor), AlignCorners),
            &x,
            &[
                1., 1., 1., 2., 2., 3., 3., 4., 1., 1., 1., 2., 2., 3., 3., 4., 1., 1., 1., 2., 2.,
                3., 3., 4., 5., 5., 5., 6., 6., 7., 7., 8., 5., 5., 5., 6., 6., 7., 7., 8., 9., 9.,
                9., 10., 10., 11., 11., 12., 9., 9., 9., 10., 10., 11., 11., 12., 13., 13., 13.,
                14., 14., 15., 15., 16.,
            ],
        );
    }

    #[test]
    fn linear_of_the_specification() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_resizes(
            &resize([2, 2], [4, 4], [2.0, 2.0], Linear, HalfPixel),
            &x,
            &[
                1., 1.25, 1.75, 2., 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3., 3.25, 3.75, 4.,
            ],
        );
        let third = 1.0 / 3.0;
        let line = |v: f64| [v, v + third, v + 2.0 * third, v + 1.0];
        let corners: Vec<f64> = [0, 1, 2, 3]
            .iter()
            .flat_map(|&i| line(1.0 + 2.0 * third * f64::from(i)))
            .collect();
        assert_resizes(
            &resize([2, 2], [4, 4], [2.0, 2.0], Linear, AlignCorners),
            &x,
            &corners,
        );
        let x: Vec<f64> = (1..=8).map(f64::from).collect();
        assert_resizes(
            &resize([2, 4], [1, 2], [0.6, 0.6], Linear, HalfPixel),
            &x,
            &[2.666_666_5, 4.333_333_1],
        );
        assert_resizes(
            &resize([2, 4], [1, 2], [0.6, 0.6], Linear, AlignCorners),
            &x,
            &[1.0, 4.0],
        );
        let x: Vec<f64> = (1..=16).map(f64::from).collect();
        assert_resizes(
            &resize([4, 4], [3, 1], [0.75, 0.25], Linear, PytorchHalfPixel),
            &x,
            &[1.666_666_7, 7.0, 12.333_333],
        );
    }

    #[test]
    fn every_rounding_at_a_half() {
        let x = [0.0, 1.0, 2.0, 3.0];
        let at = |rounding| resize([1, 4], [1, 8], [1.0, 2.0], Nearest(rounding), Asymmetric);
        assert_resizes(&at(RoundPreferFloor), &x, &[0., 0., 1., 1., 2., 2., 3., 3.]);
        assert_resizes(&at(RoundPreferCeil), &x, &[0., 1., 1., 2., 2., 3., 3., 3.]);
        assert_resizes(&at(Floor), &x, &[0., 0., 1., 1., 2., 2., 3., 3.]);
        assert_resizes(&at(Ceil), &x, &[0., 1., 1., 2., 2., 3., 3., 3.]);
        // 3 / 0.6 is cell 5, though 0.6 as ONNX stores it is a little more.
        let scale = [1.0, f64::from(0.6f32)];
        let x: Vec<f64> = (0..7).map(f64::from).collect();
        assert_resizes(
            &resize([1, 7], [1, 4], scale, Nearest(Floor), Asymmetric),
            &x,
            &[0., 1., 3., 5.],
        );
    }

    #[test]
    fn malformed_shapes_are_errors() {
        let good = resize([2, 3], [4, 6], [2.0, 2.0], Linear, HalfPixel);
        assert_eq!(good.check(), Ok(()));
        let m = usize::MAX;
        let bad = [
            Resize2d { h: 0, ..good },
            Resize2d { out_w: 0, ..good },
            Resize2d {
                scale: [0.0, 1.0],
                ..good
            },
            Resize2d {
                scale: [1.0, -1.0],
                ..good
            },
            Resize2d {
                scale: [f64::NAN, 1.0],
                ..good
            },
            Resize2d {
                scale: [1.0, f64::INFINITY],
                ..good
            },
            Resize2d { planes: m, ..good },
            Resize2d {
                out_h: m,
                out_w: m,
                ..good
            },
        ];
        for s in bad {
            assert!(s.check().is_err(), "{s:?}");
            let _ = (s.x_len(), s.y_len());
        }
    }

    #[test]
    #[should_panic(expected = "output length")]
    fn a_short_output_panics() {
        let s = resize([2, 3], [4, 6], [2.0, 2.0], Linear, HalfPixel);
        resize2d(&s, &[0.0f32; 6], &mut [0.0; 23]);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn adjoint_and_bounds(
            planes in 0usize..3, h in 1usize..7, w in 1usize..7, out_h in 1usize..12,
            out_w in 1usize..12, mode in 0usize..5, coordinates in 0usize..4,
        ) {
            let modes = [
                Linear, Nearest(RoundPreferFloor), Nearest(RoundPreferCeil), Nearest(Floor),
                Nearest(Ceil),
            ];
            let s = Resize2d {
                planes, h, w, out_h, out_w,
                scale: [out_h as f64 / h as f64, out_w as f64 / w as f64],
                mode: modes[mode],
                coordinates: [HalfPixel, PytorchHalfPixel, AlignCorners, Asymmetric][coordinates],
            };
            let numbers = |len: usize| -> Vec<f64> {
                (0..len).map(|i| ((i * 37 + 11) % 23) as f64 - 9.0).collect()
            };
            let (x, dy) = (numbers(s.x_len()), numbers(s.y_len()));
            let (mut y, mut dx) = (vec![f64::NAN; s.y_len()], vec![f64::NAN; s.x_len()]);
            resize2d(&s, &x, &mut y);
            resize2d_adjoint(&s, &dy, &mut dx);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            prop_assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-9);
            // Weights are convex, so constants stay; single precision agrees with double.
            let mut flat = vec![0.0f32; s.y_len()];
            resize2d(&s, &vec![1.0f32; s.x_len()], &mut flat);
            prop_assert!(flat.iter().all(|v| (v - 1.0).abs() < 1e-6));
            let narrow: Vec<f32> = x.iter().map(|&v| v as f32).collect();
            resize2d(&s, &narrow, &mut flat);
            prop_assert!(flat.iter().zip(&y).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4));
        }
    }
}
