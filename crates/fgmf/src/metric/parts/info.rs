//! What is known of a metric before it is run.

use serde::Serialize;

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Whether what the map marks is what the model uses.
    Faithfulness,
    /// Whether the map stays as it is when the image hardly changes.
    Stability,
    /// Whether the map is short enough to read.
    Complexity,
    /// Whether the map lies where the evidence is known to lie.
    Localisation,
    /// Whether the map depends on what the model has learnt.
    Randomisation,
    /// Several of these at once.
    Composite,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What a metric asks for besides images, maps and scores of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Explains further images.
    Explainer,
    /// Gradients or Hessian-vector products of the model.
    Gradients,
    /// Changes the model's parameters (a copy of them).
    Parameters,
    /// Other images of the batch.
    Batch,
}

/// One number a metric gives for an example.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Id in kebab case, unique among all figures.
    pub id: &'static str,
    /// Which way is better.
    pub better: Direction,
    /// Least and largest value.
    pub range: [f64; 2],
}

/// A metric as data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Info {
    /// Id in kebab case.
    pub id: &'static str,
    /// What it is about.
    pub family: Family,
    /// What it gives.
    pub figures: &'static [Figure],
    /// What it asks for.
    pub needs: &'static [Need],
    /// Key in `REFERENCES.bib`.
    pub reference: &'static str,
}

pub(crate) const fn higher(id: &'static str, range: [f64; 2]) -> Figure {
    Figure {
        id,
        better: Direction::Higher,
        range,
    }
}

pub(crate) const fn lower(id: &'static str, range: [f64; 2]) -> Figure {
    Figure {
        id,
        better: Direction::Lower,
        range,
    }
}

/// 0 or more.
pub(crate) const POSITIVE: [f64; 2] = [0.0, f64::INFINITY];
/// A share.
pub(crate) const SHARE: [f64; 2] = [0.0, 1.0];
/// A correlation, or the difference of two shares.
pub(crate) const CORRELATION: [f64; 2] = [-1.0, 1.0];
