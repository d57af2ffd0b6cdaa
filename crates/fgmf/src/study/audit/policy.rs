//! What an audit measures, and what must hold: stated in a file before anything runs.
//!
//! ```toml
//! title = "Door camera, model 4"
//! suite = "adaptive"            # as for `fgmf attack`
//! norm = "linf"
//! eps = ["4/255", "8/255"]      # radii, in pixel units of 0 to 1
//! images = 1000                 # the first images of the test part; all if left out
//! seed = 0
//! worst_verdict = "suspicious"  # a verdict that is worse fails
//! calibration_bins = 15
//! resilience = ["noise-0.05", "blur-1", "float16"]   # all if left out
//!
//! [explanations]
//! images = 100
//! explainers = ["pgca"]
//! metrics = ["lerf-minus-morf", "sparseness"]
//!
//! [[threshold]]
//! figure = "robust-accuracy@4/255"
//! least = 0.6
//! ```

use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::record::{Level, Norm, ThresholdRecord};
use serde::Deserialize;
use std::path::Path;

/// A radius as it is written: a number, or a fraction.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Radius {
    Number(f64),
    Text(String),
}

impl Radius {
    fn text(&self) -> String {
        match self {
            Self::Number(v) => v.to_string(),
            Self::Text(text) => text.trim().to_owned(),
        }
    }

    fn value(&self) -> Option<f64> {
        let number = |part: &str| part.trim().parse::<f64>().ok();
        match self {
            Self::Number(v) => Some(*v),
            Self::Text(text) => match text.split_once('/') {
                None => number(text),
                Some((above, below)) => number(above).zip(number(below)).map(|(a, b)| a / b),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: String,
    #[serde(default = "usual_suite")]
    suite: String,
    #[serde(default = "usual_norm")]
    norm: Norm,
    eps: Vec<Radius>,
    images: Option<usize>,
    #[serde(default)]
    seed: u64,
    #[serde(default = "usual_verdict")]
    worst_verdict: Level,
    #[serde(default = "usual_bins")]
    calibration_bins: usize,
    resilience: Option<Vec<String>>,
    explanations: Option<ExplanationPolicy>,
    #[serde(default)]
    threshold: Vec<ThresholdRecord>,
}

fn usual_suite() -> String {
    "adaptive".into()
}

fn usual_norm() -> Norm {
    Norm::Linf
}

fn usual_verdict() -> Level {
    Level::Suspicious
}

fn usual_bins() -> usize {
    15
}

fn usual_images() -> usize {
    100
}

/// What is measured of explanations.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplanationPolicy {
    /// Images that are explained, and images that broke the model.
    #[serde(default = "usual_images")]
    pub images: usize,
    /// Ids of explainers.
    pub explainers: Vec<String>,
    /// Ids of metrics.
    pub metrics: Vec<String>,
}

/// A policy that was read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Title.
    pub title: String,
    /// Suite of attacks.
    pub suite: String,
    /// Norm of the attacker.
    pub norm: Norm,
    /// Radii in rising order, each as it is written.
    pub eps: Vec<(String, f64)>,
    /// Images used; all if none are named.
    pub images: Option<usize>,
    /// Seed of everything drawn.
    pub seed: u64,
    /// Worst masking verdict that is allowed.
    pub worst_verdict: Level,
    /// Bins of the calibration error.
    pub bins: usize,
    /// Ids of changes that are not an attacker's; all if none are named.
    pub resilience: Option<Vec<String>>,
    /// What is measured of explanations, if anything.
    pub explanations: Option<ExplanationPolicy>,
    /// What must hold.
    pub thresholds: Vec<ThresholdRecord>,
}

impl Policy {
    /// Reads a policy from its bytes; `path` is for errors.
    ///
    /// # Errors
    /// [`Error::Record`] when it is no TOML, a field is unknown or missing, a radius is no positive
    /// number or stands twice, a count is 0, or a threshold has no bound or the same figure twice.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = |what: String| Error::record(path, what);
        let text = std::str::from_utf8(bytes).map_err(|e| wrong(format!("no text: {e}")))?;
        let text = text.trim_start_matches('\u{feff}');
        let written: Written = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let mut eps = Vec::with_capacity(written.eps.len());
        for radius in &written.eps {
            let value = radius.value().filter(|v| v.is_finite() && *v > 0.0);
            let value = value.ok_or_else(|| {
                let found = radius.text();
                wrong(format!("`eps`: expected radii above 0, found `{found}`"))
            })?;
            eps.push((radius.text(), value));
        }
        eps.sort_by(|a, b| a.1.total_cmp(&b.1));
        if eps.is_empty() || eps.windows(2).any(|w| w[1].1 <= w[0].1) {
            let found = format!("{:?}", eps.iter().map(|e| &e.0).collect::<Vec<_>>());
            return Err(wrong(format!(
                "`eps`: expected radii that differ, found {found}"
            )));
        }
        let counts = [
            ("images", written.images),
            ("calibration_bins", Some(written.calibration_bins)),
            (
                "explanations.images",
                written.explanations.as_ref().map(|e| e.images),
            ),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Err(wrong(format!("`{name}`: expected 1 or more, found 0")));
        }
        for (i, t) in written.threshold.iter().enumerate() {
            let bounds = [t.least, t.most];
            if bounds.iter().flatten().count() == 0
                || !bounds.iter().flatten().all(|b| b.is_finite())
            {
                let found = format!("`{}` without", t.figure);
                return Err(wrong(format!("expected `least` or `most`, found {found}")));
            }
            if written.threshold[..i].iter().any(|o| o.figure == t.figure) {
                let found = format!("`{}` twice", t.figure);
                return Err(wrong(format!(
                    "expected a threshold a figure, found {found}"
                )));
            }
        }
        Ok(Self {
            sha256: sha256(bytes),
            title: written.title,
            suite: written.suite,
            norm: written.norm,
            eps,
            images: written.images,
            seed: written.seed,
            worst_verdict: written.worst_verdict,
            bins: written.calibration_bins,
            resilience: written.resilience,
            explanations: written.explanations,
            thresholds: written.threshold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy> {
        Policy::read(Path::new("policy.toml"), text.as_bytes())
    }

    #[test]
    fn radii_rise_and_keep_their_words() {
        let text = "title = 't'\neps = ['8/255', 0.01]\n[[threshold]]\nfigure = 'a'\nleast = 0.5";
        let policy = read(text).unwrap();
        let words: Vec<&str> = policy.eps.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(words, ["0.01", "8/255"]);
        assert!((policy.eps[1].1 - 8.0 / 255.0).abs() < 1e-15);
        assert_eq!(policy.sha256, sha256(text.as_bytes()));
        assert_eq!((policy.suite.as_str(), policy.bins), ("adaptive", 15));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("eps = [0.1]", "title"),
            ("title = 't'\neps = [0.1]\nepss = 1", "epss"),
            ("title = 't'\neps = []", "`eps`"),
            ("title = 't'\neps = ['8/0']", "8/0"),
            ("title = 't'\neps = [-1]", "-1"),
            ("title = 't'\neps = [0.1, '0.1']", "differ"),
            ("title = 't'\neps = [0.1]\nimages = 0", "`images`"),
            ("title = 't'\neps = [0.1]\nnorm = 'l3'", "l3"),
            (
                "title = 't'\neps = [0.1]\n[[threshold]]\nfigure = 'a'",
                "`least` or `most`",
            ),
            (
                "title = 't'\neps = [0.1]\n[[threshold]]\nfigure = 'a'\nleast = 0\n\
                 [[threshold]]\nfigure = 'a'\nmost = 1",
                "twice",
            ),
            ("no toml", "policy.toml"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
