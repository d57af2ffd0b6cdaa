//! Text that is safe in HTML, and the way numbers, lists and norms are written.

use fgmf_record::Norm;

/// Text made safe inside elements and quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A number with at most four significant digits, `−` for minus, words for what is not a number.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "not a number"
        } else {
            "infinite"
        }
        .to_owned();
    }
    let size = value.abs();
    let text = if size > 0.0 && !(1e-3..1e6).contains(&size) {
        format!("{value:.2e}")
    } else {
        let digits = if size < 1.0 {
            4
        } else {
            3_usize.saturating_sub(size.log10() as usize)
        };
        let text = format!("{value:.digits$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    text.replace('-', "\u{2212}")
}

/// A mean: three decimals, so that the columns of a table line up.
pub(crate) fn decimal(value: f64) -> String {
    let usual = value.is_finite() && (value.abs() < 1e-12 || (1e-3..1e3).contains(&value.abs()));
    if usual {
        format!("{value:.3}").replace('-', "\u{2212}")
    } else {
        number(value)
    }
}

/// A share as a percentage with one decimal.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.1}%", 100.0 * share)
    } else {
        number(share)
    }
}

/// A count with a comma every three digits.
pub(crate) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// First letter large.
pub(crate) fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(rest).collect())
}

/// A norm as people write it.
pub(crate) fn norm(norm: Norm) -> &'static str {
    match norm {
        Norm::Linf => "L∞",
        Norm::L2 => "L2",
        Norm::L1 => "L1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_leaves_no_character_that_html_reads() {
        assert_eq!(
            escape("<b a=\"1\" c='2'>&amp;"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;"
        );
        assert_eq!(escape("Zürich ≤ 3"), "Zürich ≤ 3");
    }

    #[test]
    fn numbers_are_short_and_never_break() {
        let cases = [
            (0.0, "0"),
            (0.1, "0.1"),
            (-0.25, "−0.25"),
            (12.3456, "12.35"),
            (1234.5, "1234"),
            (3e-4, "3.00e−4"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(
            (
                number(f64::NAN).as_str(),
                number(f64::NEG_INFINITY).as_str()
            ),
            ("not a number", "infinite")
        );
        assert_eq!(
            (decimal(0.5).as_str(), decimal(-0.0625).as_str()),
            ("0.500", "−0.062")
        );
        assert_eq!(
            (
                percent(0.7345).as_str(),
                count(1_234_567).as_str(),
                count(12).as_str()
            ),
            ("73.5%", "1,234,567", "12")
        );
    }

    #[test]
    fn lists_read_like_sentences() {
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            (listed(&words), listed(&words[..2]), listed(&words[..0])),
            ("a, b and c".into(), "a and b".into(), String::new())
        );
    }
}
