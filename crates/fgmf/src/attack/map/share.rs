//! R, the share of a map that lies on marked pixels, and its slope.

/// R, and ∂R/∂φ; a map without positive values has R = 0: nothing is left on top.
pub(crate) fn share(map: &[f64], top: &[bool]) -> (f64, Vec<f64>) {
    let total: f64 = map.iter().map(|v| v.max(0.0)).sum();
    if total <= 0.0 {
        return (0.0, vec![0.0; map.len()]);
    }
    let kept: f64 = map
        .iter()
        .zip(top)
        .filter(|(_, t)| **t)
        .map(|(v, _)| v.max(0.0))
        .sum();
    let slope = |(v, &t): (&f64, &bool)| {
        if *v > 0.0 {
            (f64::from(u8::from(t)) * total - kept) / (total * total)
        } else {
            0.0
        }
    };
    (kept / total, map.iter().zip(top).map(slope).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ∂R/∂φ against differences.
    #[test]
    fn share_and_its_slope() {
        let (map, top) = ([0.5, -1.0, 2.0, 0.25], [true, false, false, true]);
        let (r, slope) = share(&map, &top);
        assert!((r - 0.75 / 2.75).abs() < 1e-12);
        for (i, slope) in slope.iter().enumerate() {
            let moved = |d: f64| {
                let mut m = map;
                m[i] += d;
                share(&m, &top).0
            };
            assert!((slope - (moved(1e-6) - moved(-1e-6)) / 2e-6).abs() < 1e-8);
        }
        assert!(share(&[-1.0, 0.0], &[true, false]).0.abs() < 1e-12);
    }
}
