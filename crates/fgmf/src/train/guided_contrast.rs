//! Guided adversarial contrast: features of attacked images are pulled to a teacher's features of
//! the clean ones.
//!
//! For images x with labels y, x′ is the end of a PGD search on the cross-entropy L, φ(x′) the
//! input of the student's last layer with weights, and t the teacher's at x, both cut to length 1.
//! The objective is the mean over the batch of
//!
//! L(x′, y) + λ w C, C_i = −log (exp(⟨φ_i, t_i⟩ / τ) / Σ_j exp(⟨φ_i, t_j⟩ / τ)), w = p_y(x),
//!
//! where j runs over the batch and p is the teacher's softmax, so that an image counts less the
//! less the teacher is right about it. The teacher's features are the anchors: nothing trains
//! through them. Without a teacher's file the network is its own teacher, as it is before the step.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `weight` | 1 | λ, 0 or more |
//! | `temperature` | 0.1 | τ, above 0, at most 100 |
//! | `steps` | 7 | of the search, 1 to 1,000 |
//! | `step_size` | 0.25 | length of a step in radii, above 0 |
//! | `teacher` | none: the network itself | ONNX file for the same images and classes |
//! | `teacher_sha256` | none: any | hash that the file must have |
//!
//! Cost: `2 steps + 3` passes an example, and one or two forward passes of the teacher.
//!
//! Read: the abstract, which has the teacher as an anchor of contrastive learning, and estimates
//! reweighted for the teacher's errors. The full text could not be had. Ours are: (1) the contrast
//! over the batch (InfoNCE) with the other anchors as negatives, without a memory; (2) w; (3) no
//! learned projection, so that both need features of one size; (4) the cross-entropy beside it; (5)
//! the search, which goes for the cross-entropy; (6) the network as its own teacher; (7) anchors
//! see batch normalisation in evaluation mode. Reference: `bai2020`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::settings::{complete, read};
use crate::train::base::{
    Attacked, Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, attacked_step,
    check_weight, finish, mean, step_on,
};
use crate::train::parts::divergence::log_softmax;
use crate::train::parts::search::{Search, starts};
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::op::Op;
use fgmf_net::{Dual, Network, Session, Tensor, ValueId, onnx};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "guided-contrast",
    line: "Pulls features of attacked images to a teacher's features of the clean ones.",
    revision: 1,
    reference: "bai2020",
    example: r#"{"steps": 2}"#,
    build: ObjectiveBuild {
        complete: complete::<GuidedContrastParams>,
        make: |settings| Ok(Box::new(GuidedContrast::new(&read(settings)?)?)),
    },
}];

/// Settings of [`GuidedContrast`]; the table is in the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuidedContrastParams {
    /// Weight of the contrast.
    pub weight: f64,
    /// Divides the cosines.
    pub temperature: f64,
    /// Steps of the search.
    pub steps: usize,
    /// Length of a step as a share of the radius.
    pub step_size: f64,
    /// Network whose features are the anchors.
    pub teacher: Option<String>,
    /// Its hash.
    pub teacher_sha256: Option<String>,
}

impl Default for GuidedContrastParams {
    fn default() -> Self {
        Self {
            weight: 1.0,
            temperature: 0.1,
            steps: 7,
            step_size: 0.25,
            teacher: None,
            teacher_sha256: None,
        }
    }
}

/// Checked guided adversarial contrast; see the module.
#[derive(Debug)]
pub struct GuidedContrast {
    weight: f64,
    temperature: f64,
    search: Search,
    teacher: Option<Session>,
}

impl GuidedContrast {
    /// Checks the settings and reads the teacher.
    pub fn new(params: &GuidedContrastParams) -> Result<Self> {
        check_weight("weight", params.weight, 0.0)?;
        let temperature = params.temperature;
        if !(temperature > 0.0 && temperature <= 100.0) {
            let expected = "above 0, at most 100";
            return Err(Error::parameter("temperature", expected, temperature));
        }
        let search = Search {
            steps: params.steps,
            step_size: params.step_size,
        };
        search.check()?;
        let read = |file: &String| {
            let path = Path::new(file);
            let bytes = std::fs::read(path).map_err(Error::io(path))?;
            let found = crate::hash::sha256(&bytes);
            if let Some(expected) = params.teacher_sha256.as_ref().filter(|h| **h != found) {
                let found = format!("expected the teacher with hash {expected}, found {found}");
                return Err(Error::record(path, found));
            }
            Ok(Session::new(onnx::from_bytes(&bytes)?))
        };
        Ok(Self {
            weight: params.weight,
            temperature,
            search,
            teacher: params.teacher.as_ref().map(read).transpose()?,
        })
    }
}

/// The value that the last layer with weights reads.
fn features(net: &Network) -> Result<ValueId> {
    let mut value = net.output();
    loop {
        let node = net.producer(value).map(|i| &net.nodes()[i]);
        let made = node.map(|node| {
            let made = node
                .inputs
                .iter()
                .filter(|id| net.parameter(**id).is_none());
            (node, made.copied().collect::<Vec<_>>())
        });
        match made {
            Some((node, made)) if made.len() == 1 => {
                if matches!(node.op, Op::Conv(_) | Op::Gemm(_) | Op::MatMul(_)) {
                    return Ok(made[0]);
                }
                value = made[0];
            }
            _ => {
                let expected = "a network whose scores come from one layer with weights";
                let found = "several paths to its scores, or none";
                return Err(Error::mismatch("guided-contrast", expected, found));
            }
        }
    }
}

/// Rows of `values` cut to length 1, with their lengths; a row of zeros stays as it is.
fn directions(values: &Tensor) -> Vec<(Vec<f64>, f64)> {
    let size = (values.len() / values.shape()[0].max(1)).max(1);
    let all = values.to_f64();
    let cut = |row: &[f64]| {
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
        (row.iter().map(|v| v / length).collect(), length)
    };
    all.chunks_exact(size).map(cut).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What the teacher says of a batch.
struct Anchors {
    /// Its features, of length 1.
    directions: Vec<Vec<f64>>,
    /// Its probability of each label.
    weights: Vec<f64>,
}

impl Anchors {
    fn of(teacher: &Session, batch: &Batch) -> Result<Self> {
        let at = features(teacher)?;
        let found = teacher.values_at(&batch.x, &[at])?;
        let logits = teacher.logits(&batch.x)?;
        let (z, k) = (logits.to_f64(), teacher.classes());
        let rows = z.chunks_exact(k).zip(&batch.labels);
        let cut = found.iter().flat_map(directions);
        Ok(Self {
            directions: cut.map(|(direction, _)| direction).collect(),
            weights: rows.map(|(z, &y)| log_softmax(z)[y].exp()).collect(),
        })
    }

    /// C of the image `i`, whose features are `direction` times `length`, and its gradient in them.
    fn contrast(
        &self,
        i: usize,
        (direction, length): (&[f64], f64),
        temperature: f64,
    ) -> (f64, Vec<f64>) {
        let cosines = self
            .directions
            .iter()
            .map(|t| dot(direction, t) / temperature);
        let log = log_softmax(&cosines.collect::<Vec<_>>());
        let mut slope = vec![0.0; direction.len()];
        for (j, (anchor, log)) in self.directions.iter().zip(&log).enumerate() {
            let share = (log.exp() - f64::from(u8::from(j == i))) / temperature;
            slope
                .iter_mut()
                .zip(anchor)
                .for_each(|(s, t)| *s += share * t);
        }
        // Along the features themselves the direction does not change.
        let along = dot(&slope, direction);
        let across = slope
            .iter()
            .zip(direction)
            .map(|(s, d)| (s - along * d) / length);
        (-log[i], across.collect())
    }
}

/// The cross-entropy, with λ w C on the features.
struct ContrastHead<'a> {
    entropy: CrossEntropy,
    at: ValueId,
    anchors: &'a Anchors,
    weight: f64,
    temperature: f64,
    /// w C of each image.
    contrasts: Mutex<Vec<f64>>,
}

impl Head for ContrastHead<'_> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        self.entropy.evaluate(logits, examples)
    }

    fn auxiliary_values(&self) -> Vec<ValueId> {
        vec![self.at]
    }

    fn auxiliary(&self, values: &[Tensor], examples: Range<usize>) -> Vec<Tensor> {
        let mut slopes = Vec::with_capacity(values[0].len());
        for (i, (direction, length)) in examples.zip(directions(&values[0])) {
            let row = (direction.as_slice(), length);
            let (contrast, slope) = self.anchors.contrast(i, row, self.temperature);
            let counts = self.anchors.weights[i];
            if let Ok(mut all) = self.contrasts.lock() {
                all[i] = counts * contrast;
            }
            slopes.extend(slope.iter().map(|s| self.weight * counts * s));
        }
        vec![Tensor::new(values[0].shape(), slopes).cast(values[0].precision())]
    }
}

impl Attacked for GuidedContrast {
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor> {
        let threat = context.threat;
        let start = starts(batch, context, |x, rng| threat.random_start(x, rng));
        let head = CrossEntropy::labels(&batch.labels);
        self.search.ascend(net, &batch.x, start, &head, threat)
    }

    fn step_at(
        &self,
        net: &Session,
        batch: &Batch,
        points: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<Step> {
        let teacher = self.teacher.as_ref().unwrap_or(net);
        let of = |n: &Session| -> Result<String> {
            let (images, classes) = (n.image_shape(), n.classes());
            let shape = n
                .value(features(n)?)
                .shape
                .get(1..)
                .map(|s| format!("{s:?}"));
            let shape = shape.unwrap_or_default();
            Ok(format!(
                "images {images:?}, {classes} classes and features {shape}"
            ))
        };
        let (wanted, found) = (of(net)?, of(teacher)?);
        if wanted != found {
            let expected = format!("a teacher for {wanted}");
            return Err(Error::mismatch("guided-contrast", expected, found));
        }
        let anchors = Anchors::of(teacher, batch)?;
        let head = ContrastHead {
            entropy: CrossEntropy::labels(&batch.labels),
            at: features(net)?,
            anchors: &anchors,
            weight: self.weight,
            temperature: self.temperature,
            contrasts: Mutex::new(vec![0.0; batch.len()]),
        };
        let run = step_on(net, points, &head, batch, 1, context)?;
        let contrasts = head.contrasts.into_inner().unwrap_or_default();
        let parts = vec![
            ("attacked cross-entropy", mean(&run.losses)),
            ("guided contrast", mean(&contrasts)),
        ];
        Ok(finish(run, &batch.labels, parts))
    }
}

impl Objective for GuidedContrast {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        attacked_step(self, net, batch, context)
    }

    fn attacked(&self) -> Option<&dyn Attacked> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parts::checks::{
        attacked_gradient_matches, context, net, points_stay_inside, threat,
    };
    use fgmf_net::Precision;
    use fgmf_testkit::toys;

    fn guided(teacher: Option<Session>) -> GuidedContrast {
        let params = GuidedContrastParams {
            weight: 2.0,
            temperature: 0.5,
            ..GuidedContrastParams::default()
        };
        GuidedContrast {
            teacher,
            ..GuidedContrast::new(&params).unwrap()
        }
    }

    /// Anchors of another network than the one that moves.
    #[test]
    fn points_stay_inside_and_the_gradient_is_the_objectives() {
        let objective = guided(Some(net()));
        points_stay_inside(&objective);
        attacked_gradient_matches(&objective, |p| p[0].1 + 2.0 * p[1].1);
    }

    /// The features of a linear model are the image. Anchors (1, 0) and (0, 1), attacked images
    /// (0.6, 0.8) and (0, 1), τ = ½: C = ln(1 + e^(±(…))) by hand; w = softmax of z = (x₀, x₁).
    #[test]
    fn the_contrast_of_two_images_is_that_of_the_closed_form() {
        let weights = [vec![1.0, 0.0], vec![0.0, 1.0]];
        let net = toys::linear(&weights, &[0.0; 2], [1, 1, 2]).cast(Precision::F32);
        let batch = Batch {
            x: Tensor::new(&[2, 1, 1, 2], vec![1.0f32, 0.0, 0.0, 1.0]),
            labels: vec![0, 0],
            index: vec![0, 1],
        };
        let points = Tensor::new(&[2, 1, 1, 2], vec![0.6f32, 0.8, 0.0, 1.0]);
        let threat = threat();
        let step = guided(None).step_at(&net, &batch, &points, &context(&threat));
        let step = step.unwrap();
        let right = 1.0 / (1.0 + (-1.0f64).exp());
        // Cosines 0.6 and 0.8 with the own anchor first, 1 and 0 with the own anchor last.
        let first = right * (0.4f64).exp().ln_1p();
        let second = (1.0 - right) * (-2.0f64).exp().ln_1p();
        let found = step.parts[1].1;
        assert!((found - 0.5 * (first + second)).abs() < 1e-6, "{found}");
        let entropy = 0.5 * ((0.2f64).exp().ln_1p() + 1f64.exp().ln_1p());
        assert!((step.parts[0].1 - entropy).abs() < 1e-6);
    }

    #[test]
    fn other_teachers_and_settings_out_of_range_are_refused() {
        let threat = threat();
        let small = toys::linear(&[vec![1.0; 64], vec![0.0; 64]], &[0.0; 2], [1, 8, 8]);
        let objective = guided(Some(small.cast(Precision::F32)));
        let batch = crate::train::parts::checks::batch(3);
        let told = objective.step(&net(), &batch, &context(&threat));
        assert!(told.unwrap_err().to_string().contains("a teacher for"));
        let refused = |params: GuidedContrastParams| {
            let refused = GuidedContrast::new(&params).unwrap_err();
            refused.to_string()
        };
        let usual = GuidedContrastParams::default();
        let hot = GuidedContrastParams {
            temperature: 0.0,
            ..usual.clone()
        };
        assert!(refused(hot).contains("`temperature`"));
        let negative = GuidedContrastParams {
            weight: -1.0,
            ..usual.clone()
        };
        assert!(refused(negative).contains("`weight`"));
        let nowhere = GuidedContrastParams {
            teacher: Some("nowhere.onnx".into()),
            ..usual
        };
        assert!(refused(nowhere).contains("nowhere.onnx"));
    }
}
