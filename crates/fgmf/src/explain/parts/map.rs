//! Arithmetic on maps: row-major `f64`, size `[rows, columns]`.

/// Bilinear resampling with half-pixel centres: pixel centre (i + ½) maps to (i + ½) · from / to −
/// ½, held inside the map.
pub(crate) fn upsample(values: &[f64], from: [usize; 2], to: [usize; 2]) -> Vec<f64> {
    let taps = |axis: usize| -> Vec<(usize, usize, f64)> {
        let last = from[axis].saturating_sub(1);
        let tap = |i: usize| {
            let at = ((i as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5)
                .clamp(0.0, last as f64);
            let low = (at.floor() as usize).min(last);
            (low, (low + 1).min(last), at - low as f64)
        };
        (0..to[axis]).map(tap).collect()
    };
    let columns = taps(1);
    let mut out = Vec::with_capacity(to[0] * to[1]);
    for (top, bottom, v) in taps(0) {
        for &(left, right, u) in &columns {
            let at = |r: usize, c: usize| values[r * from[1] + c];
            let line = |r: usize| at(r, left) * (1.0 - u) + at(r, right) * u;
            out.push(line(top) * (1.0 - v) + line(bottom) * v);
        }
    }
    out
}

/// Means over `to` cells of equal area; a pixel on a border counts for both sides with its share.
pub(crate) fn area_means(map: &[f64], from: [usize; 2], to: [usize; 2]) -> Vec<f64> {
    if from == to {
        return map.to_vec();
    }
    // Pixels that a cell covers, with the share of the cell that each is.
    let covered = |axis: usize| -> Vec<Vec<(usize, f64)>> {
        let length = from[axis] as f64 / to[axis] as f64;
        let cell = |i: usize| {
            let (lo, hi) = (i as f64 * length, (i + 1) as f64 * length);
            let pixels = lo.floor() as usize..(hi.ceil() as usize).min(from[axis]);
            let share = |p: usize| (hi.min((p + 1) as f64) - lo.max(p as f64)) / length;
            pixels.map(|p| (p, share(p))).collect()
        };
        (0..to[axis]).map(cell).collect()
    };
    let columns = covered(1);
    let mut out = Vec::with_capacity(to[0] * to[1]);
    for rows in covered(0) {
        for columns in &columns {
            let line = |r: usize| -> f64 {
                let values = columns
                    .iter()
                    .map(|&(c, share)| map[r * from[1] + c] * share);
                values.sum()
            };
            out.push(rows.iter().map(|&(r, share)| line(r) * share).sum());
        }
    }
    out
}

/// (v − min) / (max − min); a constant map becomes zeros.
pub(crate) fn min_max(values: &[f64]) -> Vec<f64> {
    let (lo, hi) = bounds(values);
    stretch(values, lo, hi)
}

/// (v − q_low) / (q_high − q_low) held in `[0, 1]`, quantiles in percent; min-max where the two are
/// equal.
pub(crate) fn percentile_normalised(values: &[f64], [low, high]: [f64; 2]) -> Vec<f64> {
    let (lo, hi) = (
        quantile(values, low / 100.0),
        quantile(values, high / 100.0),
    );
    if hi > lo {
        stretch(values, lo, hi)
    } else {
        min_max(values)
    }
}

/// v / max, for maps that are 0 or more; a map of zeros stays one.
pub(crate) fn by_largest(values: &[f64]) -> Vec<f64> {
    stretch(values, 0.0, bounds(values).1)
}

/// Sum over channels of `[c, pixels]`.
pub(crate) fn channel_sum(values: &[f64], pixels: usize) -> Vec<f64> {
    let mut out = vec![0.0; pixels];
    values
        .iter()
        .enumerate()
        .for_each(|(i, v)| out[i % pixels] += v);
    out
}

fn stretch(values: &[f64], lo: f64, hi: f64) -> Vec<f64> {
    // A value that is not finite stays so: the entry refuses it.
    let to = |v: &f64| {
        if hi > lo {
            ((v - lo) / (hi - lo)).clamp(0.0, 1.0)
        } else {
            v * 0.0 + 0.0
        }
    };
    values.iter().map(to).collect()
}

/// Least and largest value.
pub(crate) fn bounds(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &v| {
            (lo.min(v), hi.max(v))
        })
}

/// Quantile `q` in `[0, 1]`, linear between the order statistics (position q (n − 1)); 0 of
/// nothing.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let at = q * last as f64;
    let low = (at.floor() as usize).min(last);
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// Standard deviation over all values.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean stays, whatever the sizes; a whole number of pixels gives plain means.
    #[test]
    fn means_of_cells_keep_the_mean() {
        let values: Vec<f64> = (0..35).map(|i| f64::from(i * 13 % 17)).collect();
        let plain = area_means(&[1.0, 3.0, 5.0, 7.0, 0.0, 2.0, 4.0, 6.0], [2, 4], [1, 2]);
        close(&plain, &[1.5, 5.5]);
        let mean = values.iter().sum::<f64>() / 35.0;
        for to in [[1, 1], [2, 3], [5, 7], [4, 4], [9, 10]] {
            let cells = area_means(&values, [5, 7], to);
            let found = cells.iter().sum::<f64>() / cells.len() as f64;
            assert!((found - mean).abs() < 1e-12, "{to:?}: {found} {mean}");
        }
        // 3 pixels in 2 cells: one and a half each.
        close(&area_means(&[3.0, 6.0, 9.0], [1, 3], [1, 2]), &[4.0, 8.0]);
    }

    fn close(a: &[f64], b: &[f64]) {
        assert!(
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12),
            "{a:?} against {b:?}"
        );
    }

    #[test]
    fn upsampling_uses_half_pixel_centres() {
        close(
            &upsample(&[0.0, 4.0], [1, 2], [1, 4]),
            &[0.0, 1.0, 3.0, 4.0],
        );
        close(
            &upsample(&[0.0, 4.0], [2, 1], [4, 2]),
            &[0.0, 0.0, 1.0, 1.0, 3.0, 3.0, 4.0, 4.0],
        );
        close(&upsample(&[7.0], [1, 1], [2, 2]), &[7.0; 4]);
        close(
            &upsample(&[1.0, 2.0, 3.0, 4.0], [2, 2], [2, 2]),
            &[1.0, 2.0, 3.0, 4.0],
        );
    }

    #[test]
    fn quantiles_and_normalisation_match_hand_values() {
        let v = [4.0, 1.0, 3.0, 2.0];
        assert!(
            (quantile(&v, 0.5) - 2.5).abs() < 1e-12
                && (quantile(&v, 0.8) - 3.4).abs() < 1e-12
                && (quantile(&v, 1.0) - 4.0).abs() < 1e-12
        );
        close(&min_max(&[2.0, 4.0, 3.0]), &[0.0, 1.0, 0.5]);
        close(&min_max(&[2.0, 2.0]), &[0.0, 0.0]);
        close(
            &percentile_normalised(&[0.0, 1.0, 2.0, 3.0, 100.0], [0.0, 75.0]),
            &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0],
        );
        let mut lone = vec![0.0; 200];
        lone[7] = 5.0;
        assert!((percentile_normalised(&lone, [1.0, 99.0])[7] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn channels_are_summed_and_maps_divided_by_their_largest() {
        close(&channel_sum(&[1.0, 2.0, 3.0, -5.0], 2), &[4.0, -3.0]);
        close(&by_largest(&[0.0, 2.0, 4.0]), &[0.0, 0.5, 1.0]);
        close(&by_largest(&[0.0, 0.0]), &[0.0, 0.0]);
    }
}
