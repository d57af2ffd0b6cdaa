//! Words of records that code compares. In JSON each is the string it always was.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An enum whose variants are words: [`fmt::Display`], serde and `name` give the same string.
macro_rules! word {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$meaning:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            JsonSchema,
        )]
        pub enum $name {
            $($(#[$meaning])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every word, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in records, on the command line and on pages.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The value of a word, if it is one of these.
            pub fn find(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|w| w.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

word! {
    /// Norm of a perturbation.
    Norm {
        /// Largest absolute change of a value.
        Linf = "linf",
        /// Euclidean length.
        L2 = "l2",
        /// Sum of absolute changes.
        L1 = "l1",
    }
}

word! {
    /// Which part of a data set.
    Split {
        /// Images to fit weights on.
        Train = "train",
        /// Images to measure on.
        Test = "test",
    }
}

word! {
    /// What the signs of gradient masking add up to. The order is that of alarm.
    Level {
        /// No flag.
        Trustworthy = "trustworthy",
        /// Flags, none conclusive.
        Suspicious = "suspicious",
        /// A conclusive flag.
        Masked = "masked",
    }
}

word! {
    /// Whether something stated beforehand holds. The order is that of alarm.
    CheckOutcome {
        /// It holds, and so does every value inside the 95% interval.
        Passed = "PASSED",
        /// The measured value holds, and the 95% interval reaches over the threshold; or signs of
        /// masking were seen that the policy allows.
        Warned = "WARNED",
        /// It does not hold, or was not measured.
        Failed = "FAILED",
    }
}

word! {
    /// How an interval was made.
    IntervalKind {
        /// Wilson's score interval of a share.
        Wilson = "wilson",
        /// Normal approximation of a mean.
        Normal = "normal",
        /// Percentiles of resampled images.
        Bootstrap = "bootstrap",
    }
}

word! {
    /// What is proved of an image against patches.
    Proof {
        /// The defended answer is the label, whatever stands in the patches.
        Right = "proved-right",
        /// Whatever stands in the patches, the detector answers with the label or gives the alarm.
        Detected = "proved-detected",
        /// Nothing is proved.
        Open = "not-proved",
    }
}

word! {
    /// Which way is better.
    Direction {
        /// More is better.
        Higher = "higher",
        /// Less is better.
        Lower = "lower",
    }
}

word! {
    /// What a metric is about.
    Family {
        /// Whether what the map marks is what the model uses.
        Faithfulness = "faithfulness",
        /// Whether the map stays as it is when the image hardly changes.
        Stability = "stability",
        /// Whether the map is short enough to read.
        Complexity = "complexity",
        /// Whether the map lies where the evidence is known to lie.
        Localisation = "localisation",
        /// Whether the map depends on what the model has learnt.
        Randomisation = "randomisation",
        /// Several of these at once.
        Composite = "composite",
    }
}

word! {
    /// What a metric asks for besides images, maps and scores of the model.
    Need {
        /// Explains further images.
        Explainer = "explainer",
        /// Gradients or Hessian-vector products of the model.
        Gradients = "gradients",
        /// Changes the model's parameters (a copy of them).
        Parameters = "parameters",
        /// Other images of the batch.
        Batch = "batch",
    }
}

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// Name of the parameter that takes the word.
    pub parameter: &'static str,
    /// The words it takes.
    pub expected: &'static str,
    /// The word given.
    pub found: String,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            parameter,
            expected,
            found,
        } = self;
        write!(
            f,
            "parameter `{parameter}`: expected {expected}, found {found}"
        )
    }
}

impl std::error::Error for UnknownWord {}

impl FromStr for Norm {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::find(text).ok_or_else(|| UnknownWord {
            parameter: "norm",
            expected: "linf, l2 or l1",
            found: text.to_owned(),
        })
    }
}

impl FromStr for Split {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::find(text).ok_or_else(|| UnknownWord {
            parameter: "split",
            expected: "`train` or `test`",
            found: format!("`{text}`"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    fn check<T>(all: &[T], names: &[&str])
    where
        T: Copy + fmt::Debug + fmt::Display + PartialEq + Serialize + DeserializeOwned,
    {
        assert_eq!(all.len(), names.len());
        for (&word, name) in all.iter().zip(names) {
            let json = serde_json::json!(name);
            assert_eq!(serde_json::to_value(word).unwrap(), json);
            assert_eq!(serde_json::from_value::<T>(json).unwrap(), word);
            assert_eq!(format!("{word:<14}|"), format!("{name:<14}|"));
        }
    }

    /// The strings that users' records hold.
    #[test]
    fn words_are_written_as_they_always_were() {
        check(Norm::ALL, &["linf", "l2", "l1"]);
        check(Split::ALL, &["train", "test"]);
        check(Level::ALL, &["trustworthy", "suspicious", "masked"]);
        check(
            Proof::ALL,
            &["proved-right", "proved-detected", "not-proved"],
        );
        check(Direction::ALL, &["higher", "lower"]);
        check(CheckOutcome::ALL, &["PASSED", "WARNED", "FAILED"]);
        check(IntervalKind::ALL, &["wilson", "normal", "bootstrap"]);
        let families = [
            "faithfulness",
            "stability",
            "complexity",
            "localisation",
            "randomisation",
            "composite",
        ];
        check(Family::ALL, &families);
        check(
            Need::ALL,
            &["explainer", "gradients", "parameters", "batch"],
        );
    }

    #[test]
    fn a_word_that_is_none_of_those_expected_is_refused() {
        assert_eq!("l2".parse(), Ok(Norm::L2));
        let message = "L2".parse::<Norm>().unwrap_err().to_string();
        assert_eq!(
            message,
            "parameter `norm`: expected linf, l2 or l1, found L2"
        );
        let message = "Train".parse::<Split>().unwrap_err().to_string();
        assert_eq!(
            message,
            "parameter `split`: expected `train` or `test`, found `Train`"
        );
        assert!(serde_json::from_str::<Level>("\"robust\"").is_err());
    }
}
