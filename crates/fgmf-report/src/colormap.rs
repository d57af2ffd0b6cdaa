//! Numbers to colours: one sequential and one diverging map, both readable with any common colour
//! vision.

/// A colour, 8 bits a channel.
pub(crate) type Rgb = [u8; 3];

/// Viridis (van der Walt and Smith 2015) at 0, 0.1, ..., 1: perceptually uniform, dark purple to
/// yellow.
const VIRIDIS: [Rgb; 11] = [
    [68, 1, 84],
    [72, 36, 117],
    [65, 68, 135],
    [53, 95, 141],
    [42, 120, 142],
    [33, 145, 140],
    [34, 168, 132],
    [68, 191, 112],
    [122, 209, 81],
    [189, 223, 38],
    [253, 231, 37],
];

/// Blue to white to orange at -1, -0.8, ..., 1: the blue arm of ColorBrewer's RdBu and the orange
/// arm of its PuOr, the two hues that red-green colour blindness leaves apart.
const BLUE_ORANGE: [Rgb; 11] = [
    [5, 48, 97],
    [33, 102, 172],
    [67, 147, 195],
    [146, 197, 222],
    [209, 229, 240],
    [247, 247, 247],
    [254, 224, 182],
    [253, 184, 99],
    [224, 130, 20],
    [179, 88, 6],
    [127, 59, 8],
];

/// Share of the absolute values that the scale of a signed map spans; the rest is drawn in the end
/// colour.
const SIGNED_PERCENTILE: f64 = 0.995;

fn interpolate(anchors: &[Rgb; 11], position: f32) -> Rgb {
    let at = if position.is_finite() {
        position.clamp(0.0, 1.0)
    } else {
        0.0
    } * 10.0;
    let low = (at.floor() as usize).min(9);
    let share = at - low as f32;
    let (a, b) = (anchors[low], anchors[low + 1]);
    std::array::from_fn(|i| {
        (f32::from(a[i]) + share * (f32::from(b[i]) - f32::from(a[i]))).round() as u8
    })
}

/// Colour of a value in `[0, 1]`, clamped; dark purple is low, yellow is high.
pub(crate) fn sequential(value: f32) -> Rgb {
    interpolate(&VIRIDIS, value)
}

/// Colour of a value in `[-1, 1]`, clamped; blue is negative, near white is 0, orange is positive.
pub(crate) fn diverging(value: f32) -> Rgb {
    interpolate(
        &BLUE_ORANGE,
        if value.is_finite() {
            0.5 + 0.5 * value
        } else {
            0.5
        },
    )
}

/// The value that [`diverging`] draws as +1: the 99.5th percentile of `|v|`, between two ranks by
/// linear interpolation. 0 when there is no finite value or all are 0.
pub(crate) fn signed_scale(values: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = values
        .iter()
        .map(|v| v.abs())
        .filter(|v| v.is_finite())
        .collect();
    sizes.sort_by(f32::total_cmp);
    let Some(last) = sizes.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = last as f64 * SIGNED_PERCENTILE;
    let low = rank.floor() as usize;
    let (a, b) = (sizes[low], sizes[(low + 1).min(last)]);
    let scale = a + (rank - low as f64) as f32 * (b - a);
    // A map with a few non-zero values among hundreds would otherwise have no scale at all.
    if scale > 0.0 { scale } else { sizes[last] }
}

/// Colours at `0, 1/10, ..., 1` of a map, as `#rrggbb`, for a gradient.
pub(crate) fn stops(colour: impl Fn(f32) -> Rgb, range: [f32; 2]) -> Vec<String> {
    (0..=10)
        .map(|i| {
            let [r, g, b] = colour(range[0] + (range[1] - range[0]) * i as f32 / 10.0);
            format!("#{r:02x}{g:02x}{b:02x}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE lightness of an sRGB colour.
    fn lightness(colour: Rgb) -> f64 {
        let linear = colour.map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.040_45 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        });
        let y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        116.0 * y.cbrt() - 16.0
    }

    #[test]
    fn sequential_lightness_rises_evenly_between_the_published_ends() {
        assert_eq!(
            (sequential(0.0), sequential(1.0)),
            ([68, 1, 84], [253, 231, 37])
        );
        let steps: Vec<f64> = (0..=20)
            .map(|i| lightness(sequential(i as f32 / 20.0)))
            .collect();
        for pair in steps.windows(2) {
            let rise = pair[1] - pair[0];
            assert!(
                (1.0..8.0).contains(&rise),
                "uneven step {rise} in {steps:?}"
            );
        }
    }

    #[test]
    fn diverging_lightness_falls_on_both_sides_of_zero() {
        assert_eq!(
            (diverging(-1.0), diverging(0.0), diverging(1.0)),
            ([5, 48, 97], [247, 247, 247], [127, 59, 8])
        );
        for sign in [-1.0, 1.0] {
            let arm: Vec<f64> = (0..=20)
                .map(|i| lightness(diverging(sign * i as f32 / 20.0)))
                .collect();
            assert!(
                arm.windows(2).all(|pair| pair[1] < pair[0]),
                "{sign}: {arm:?}"
            );
        }
    }

    #[test]
    fn values_outside_the_range_take_the_end_colours() {
        assert_eq!(
            (sequential(-3.0), sequential(7.0)),
            (sequential(0.0), sequential(1.0))
        );
        assert_eq!(
            (diverging(-9.0), diverging(9.0)),
            (diverging(-1.0), diverging(1.0))
        );
        assert_eq!(
            (sequential(f32::NAN), diverging(f32::NAN)),
            (sequential(0.0), diverging(0.0))
        );
    }

    /// 201 values 0, 1, ..., 200 have their 99.5th percentile at rank 199 exactly.
    #[test]
    fn signed_scale_is_the_percentile_of_the_sizes() {
        let values: Vec<f32> = (0..=200)
            .map(|v| if v % 2 == 0 { v as f32 } else { -(v as f32) })
            .collect();
        assert!((signed_scale(&values) - 199.0).abs() < 1e-3);
        let mut sparse = vec![0.0; 1000];
        sparse[3] = -2.0;
        assert!((signed_scale(&sparse) - 2.0).abs() < 1e-6);
        assert!(signed_scale(&[]).abs() < 1e-9 && signed_scale(&[f32::NAN]).abs() < 1e-9);
    }

    #[test]
    fn stops_are_eleven_colours_from_end_to_end() {
        let colours = stops(diverging, [-1.0, 1.0]);
        assert_eq!(
            (colours.len(), colours[0].as_str(), colours[10].as_str()),
            (11, "#053061", "#7f3b08")
        );
    }
}
