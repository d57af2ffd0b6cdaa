//! When a map should not be believed.

/// A rule: figure, whether it is broken, and what that means.
struct Rule {
    figure: &'static str,
    broken: fn(f64) -> bool,
    words: &'static str,
}

/// 0.05 is the gap that the demo calls good; 0 and 0.1 are what maps drawn at random get in the
/// mean.
const RULES: [Rule; 3] = [
    Rule {
        figure: "completeness-gap",
        broken: |v| v > 0.05,
        words: "its values do not add up to the score (completeness gap above 0.05)",
    },
    Rule {
        figure: "lerf-minus-morf",
        broken: |v| v <= 0.0,
        words: "its order of the pixels is no better than a random one (LeRF minus MoRF at or \
            below 0)",
    },
    Rule {
        figure: "shift-top-k",
        broken: |v| v <= 0.1,
        words: "its top tenth has left its place under attack, as if drawn at random (overlap \
            at or below 0.1)",
    },
];

/// What stands against believing a map, by its figures; a figure that is not there breaks no rule.
pub fn doubts(figure: impl Fn(&str) -> Option<f64>) -> Vec<String> {
    RULES
        .iter()
        .filter(|r| figure(r.figure).is_some_and(r.broken))
        .map(|r| r.words.to_owned())
        .collect()
}

/// What each rule says, for legends.
pub fn doubt_rules() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|r| r.words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_starts_where_it_says() {
        let of = |name: &'static str, value: f64| doubts(|f| (f == name).then_some(value)).len();
        assert_eq!(
            (of("completeness-gap", 0.051), of("completeness-gap", 0.05)),
            (1, 0)
        );
        assert_eq!(
            (of("lerf-minus-morf", 0.0), of("lerf-minus-morf", 0.01)),
            (1, 0)
        );
        assert_eq!((of("shift-top-k", 0.1), of("shift-top-k", 0.11)), (1, 0));
        assert_eq!(doubts(|_| None), Vec::<String>::new());
        assert_eq!(
            doubts(|f| Some(if f == "completeness-gap" { 1.0 } else { -1.0 })).len(),
            RULES.len()
        );
    }
}
