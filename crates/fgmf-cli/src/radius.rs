//! Radii as they are typed.

/// A radius: a number, or a fraction such as 8/255.
pub(crate) fn radius(text: &str) -> Result<f64, String> {
    let number = |part: &str| part.trim().parse::<f64>().ok();
    let value = match text.split_once('/') {
        None => number(text),
        Some((above, below)) => number(above).zip(number(below)).map(|(a, b)| a / b),
    };
    value.ok_or_else(|| "expected a number or a fraction, such as 0.03 or 8/255".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_radius_is_a_number_or_a_fraction() {
        assert_eq!(radius("8/255"), Ok(8.0 / 255.0));
        assert_eq!(radius("0.1"), Ok(0.1));
        for text in ["8/", "/255", "8/255/2", "x", ""] {
            assert!(radius(text).is_err(), "{text}");
        }
    }
}
