//! JSON with one spelling (RFC 8785): what is hashed or signed is the same bytes everywhere.
//!
//! Members are sorted by the UTF-16 units of their names, nothing stands between tokens, strings
//! escape what they must, and numbers are written as ECMAScript writes a double.

use crate::error::{Error, Result};
use serde_json::{Number, Value};

/// Largest whole number that a double holds without gaps.
const EXACT: u64 = 1 << 53;

/// The canonical text of a value.
///
/// # Errors
/// [`Error::Mismatch`] for a whole number beyond 2⁵³, which a double would round.
pub fn canonical_json(value: &Value) -> Result<String> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<()> {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (i, (name, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(value, out)?;
            }
            out.push(']');
        }
        Value::Number(number) => out.push_str(&spelled(number)?),
        // Their spelling is the canonical one: short escapes, else lower-case hexadecimal digits.
        plain => out.push_str(&plain.to_string()),
    }
    Ok(())
}

fn spelled(number: &Number) -> Result<String> {
    let whole = number
        .as_u64()
        .or_else(|| number.as_i64().map(i64::unsigned_abs));
    match (whole, number.as_f64()) {
        (Some(size), _) if size <= EXACT => Ok(number.to_string()),
        (None, Some(value)) if value.is_finite() => Ok(double(value)),
        _ => {
            let expected = "whole numbers up to 2^53 and finite ones";
            Err(Error::mismatch("canonical JSON", expected, number))
        }
    }
}

/// A finite double as ECMAScript's `Number::toString` writes it: the fewest digits that are read
/// back as it.
fn double(value: f64) -> String {
    // Rust's digits are the fewest, too: `d.ddde±x`.
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = even(value.abs(), &digits_of(mantissa), exponent);
    if digits.bytes().all(|b| b == b'0') {
        return "0".into();
    }
    let (k, n) = (
        digits.len() as i32,
        exponent.parse::<i32>().unwrap_or(0) + 1,
    );
    let zeros = |count: i32| "0".repeat(count.max(0) as usize);
    let unsigned = if k <= n && n <= 21 {
        format!("{digits}{}", zeros(n - k))
    } else if 0 < n && n <= 21 {
        let (whole, rest) = digits.split_at(n as usize);
        format!("{whole}.{rest}")
    } else if -6 < n && n <= 0 {
        format!("0.{}{digits}", zeros(-n))
    } else {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{first}{point}{rest}e{:+}", n - 1)
    };
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{unsigned}")
}

fn digits_of(mantissa: &str) -> String {
    mantissa.chars().filter(char::is_ascii_digit).collect()
}

/// Digits of most that a double has.
const LONGEST: usize = 770;

/// The digits, or where the value lies in the middle of two lists of as many digits, those that end
/// evenly: ECMAScript takes these, and Rust the larger ones.
fn even(value: f64, digits: &str, exponent: &str) -> String {
    let exact = format!("{value:.LONGEST$e}");
    let exact = digits_of(exact.split('e').next().unwrap_or_default());
    let below = exact.get(..digits.len()).unwrap_or_default();
    let middle = exact.trim_end_matches('0') == format!("{below}5");
    let ends_even = below.bytes().last().is_some_and(|b| b % 2 == 0);
    let reads_back = |digits: &str| {
        let (first, rest) = digits.split_at(1);
        let read = format!("{first}.{rest}e{exponent}").parse::<f64>();
        read.is_ok_and(|v| v.to_bits() == value.to_bits())
    };
    if middle && ends_even && reads_back(below) {
        below.to_owned()
    } else {
        digits.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8785, section 3.2.2 and 3.2.4.
    #[test]
    fn the_example_of_the_standard() {
        let text = r#"{
          "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
          "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
          "literals": [null, true, false]
        }"#;
        let expected = concat!(
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(canonical_json(&value).unwrap(), expected);
    }

    /// RFC 8785, section 3.2.3: a character above U+FFFF sorts by its surrogates.
    #[test]
    fn names_are_sorted_by_utf16() {
        let names = [
            "\u{20ac}",
            "\r",
            "\u{fb33}",
            "1",
            "\u{1f600}",
            "\u{80}",
            "\u{f6}",
        ];
        let value: serde_json::Map<String, Value> =
            names.iter().map(|n| ((*n).to_owned(), 1.into())).collect();
        let text = canonical_json(&Value::Object(value)).unwrap();
        let order = [
            "\\r",
            "1",
            "\u{80}",
            "\u{f6}",
            "\u{20ac}",
            "\u{1f600}",
            "\u{fb33}",
        ];
        let expected: Vec<String> = order.iter().map(|n| format!("\"{n}\":1")).collect();
        assert_eq!(text, format!("{{{}}}", expected.join(",")));
    }

    /// RFC 8785, appendix B.
    #[test]
    fn numbers_of_the_standard() {
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            assert_eq!(double(f64::from_bits(bits)), expected, "{bits:x}");
        }
    }

    #[test]
    fn a_number_that_a_double_would_round_is_refused() {
        let of = |n: u64| canonical_json(&Value::from(n));
        assert_eq!(of(EXACT).unwrap(), "9007199254740992");
        assert!(of(EXACT + 1).is_err());
        assert_eq!(canonical_json(&Value::from(-7)).unwrap(), "-7");
    }
}
