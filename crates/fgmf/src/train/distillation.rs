//! Defensive distillation (Papernot et al. 2016): trained at a temperature, used without it. A
//! masking control, never a defence.
//!
//! L = −Σₖ tₖ log softmax(z / T)ₖ. For the teacher t is the label; for the student t =
//! softmax(z_teacher / T), from a teacher of the same kind trained at the same T. Both are used at
//! T = 1, with logits about T times as large as those of ordinary training: cross-entropy
//! saturates, and its gradient underflows.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `temperature` | 20 | T, 1 to 1,000 |
//! | `teacher` | none: labels, which makes it | ONNX file for the same images and classes |
//! | `teacher_sha256` | none: any | hash that the file must have |
//!
//! Cost: 3 passes an example, and one forward pass of the teacher.
//!
//! Goes around it: any loss that does not saturate (Carlini & Wagner 2017): margin, DLR.
//!
//! Reference: `papernot2016`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::settings::{complete, read};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish, mean, step_on,
};
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::op::{Op, Softmax};
use fgmf_net::{Builder, Dual, Network, Session, Tensor, onnx};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "distillation",
    line: "Learns the softened answers of a teacher, a control that masks gradients.",
    revision: 1,
    reference: "papernot2016",
    example: r#"{"temperature": 5.0}"#,
    build: ObjectiveBuild {
        complete: complete::<DistillationParams>,
        make: |settings| Ok(Box::new(Distillation::new(&read(settings)?)?)),
    },
}];

/// Settings of [`Distillation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillationParams {
    /// Divides the logits in training.
    pub temperature: f64,
    /// Network whose answers are learned.
    pub teacher: Option<String>,
    /// Its hash.
    pub teacher_sha256: Option<String>,
}

impl Default for DistillationParams {
    fn default() -> Self {
        Self {
            temperature: 20.0,
            teacher: None,
            teacher_sha256: None,
        }
    }
}

/// Checked defensive distillation.
#[derive(Debug)]
pub struct Distillation {
    temperature: f64,
    teacher: Option<Session>,
}

impl Distillation {
    /// Checks the settings and reads the teacher, whose softmax(z / T) is made a network of its
    /// own.
    pub fn new(params: &DistillationParams) -> Result<Self> {
        let DistillationParams {
            temperature,
            teacher,
            teacher_sha256,
        } = params;
        if !(1.0..=1000.0).contains(temperature) {
            return Err(Error::parameter("temperature", "1 to 1000", temperature));
        }
        let read = |file: &String| {
            let path = Path::new(file);
            let bytes = std::fs::read(path).map_err(Error::io(path))?;
            let found = crate::hash::sha256(&bytes);
            if let Some(expected) = teacher_sha256.as_ref().filter(|h| **h != found) {
                return Err(Error::record(
                    path,
                    format!("expected the teacher with hash {expected}, found {found}"),
                ));
            }
            softened(&onnx::from_bytes(&bytes)?, *temperature).map(Session::new)
        };
        Ok(Self {
            temperature: *temperature,
            teacher: teacher.as_ref().map(read).transpose()?,
        })
    }
}

/// softmax(z / T) of a network.
fn softened(net: &Network, temperature: f64) -> Result<Network> {
    let mut b = Builder::new(&net.name, &net.value(net.input()).name, net.image_shape())?;
    let image = b.input();
    let logits = net.graft(&mut b, image)?;
    let name = b.fresh("distillation.share");
    let share = b.parameter(
        &name,
        Tensor::full(&[1], 1.0 / temperature, fgmf_net::Precision::F32),
        false,
    )?;
    let scaled = b.node(
        "distillation.scaled",
        Op::Binary(fgmf_net::op::Binary::Mul),
        &[logits, share],
    )?;
    let p = b.node(
        "distillation.probabilities",
        Op::Softmax(Softmax {
            axis: 1,
            log: false,
        }),
        &[scaled],
    )?;
    Ok(b.finish(p)?)
}

/// A head on z / T.
struct Tempered {
    inner: CrossEntropy,
    temperature: f64,
}

impl Head for Tempered {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let share = 1.0 / self.temperature;
        let (losses, cotangent) = self.inner.evaluate(&logits.affine(share, 0.0), examples);
        (losses, cotangent.affine(share, 0.0))
    }
}

impl Objective for Distillation {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let inner = match &self.teacher {
            None => CrossEntropy::labels(&batch.labels),
            Some(t) if t.image_shape() == net.image_shape() && t.classes() == net.classes() => {
                CrossEntropy::soft(t.logits(&batch.x)?)
            }
            Some(t) => {
                let of = |n: &Network| {
                    format!("images {:?} and {} classes", n.image_shape(), n.classes())
                };
                return Err(Error::mismatch(
                    "distillation",
                    format!("a teacher for {}", of(net)),
                    of(t),
                ));
            }
        };
        let run = step_on(
            net,
            &batch.x,
            &Tempered {
                inner,
                temperature: self.temperature,
            },
            batch,
            1,
            context,
        )?;
        let loss = mean(&run.losses);
        Ok(finish(
            run,
            &batch.labels,
            vec![("cross-entropy at temperature", loss)],
        ))
    }

    fn attacks(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_testkit::toys;

    /// Loss and cotangent by hand for two classes, logits 4 and 0 at T = 2: softmax(2, 0).
    #[test]
    fn the_head_is_cross_entropy_of_cooled_logits() {
        let z: Dual = Tensor::new(&[1, 2], vec![4.0f64, 0.0]).into();
        let head = Tempered {
            inner: CrossEntropy::labels(&[0]),
            temperature: 2.0,
        };
        let (loss, cotangent) = head.evaluate(&z, 0..1);
        let p = 1.0 / (1.0 + (-2.0f64).exp());
        assert!((loss[0] + p.ln()).abs() < 1e-12);
        assert!((cotangent.value.to_f64()[0] - (p - 1.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn teachers_are_softened_and_checked() {
        let net = toys::linear(&[vec![6.0], vec![0.0]], &[0.0, 0.0], [1, 1, 1])
            .cast(fgmf_net::Precision::F32);
        let p = Session::new(softened(&net, 3.0).unwrap())
            .logits(&Tensor::new(&[1, 1, 1, 1], vec![0.5f32]))
            .unwrap()
            .to_f64();
        assert!(
            (p[0] - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-6 && (p[0] + p[1] - 1.0).abs() < 1e-6
        );
        for temperature in [0.5, f64::NAN, 1e4] {
            assert!(
                Distillation::new(&DistillationParams {
                    temperature,
                    ..DistillationParams::default()
                })
                .is_err()
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("teacher.onnx");
        std::fs::write(&file, onnx::to_bytes(&net).unwrap()).unwrap();
        let teacher = Some(file.to_str().unwrap().to_owned());
        let params = DistillationParams {
            teacher,
            ..DistillationParams::default()
        };
        assert!(Distillation::new(&params).is_ok());
        assert!(
            Distillation::new(&DistillationParams {
                teacher_sha256: Some("0".into()),
                ..params.clone()
            })
            .is_err()
        );
        assert!(
            Distillation::new(&DistillationParams {
                teacher: Some("nowhere.onnx".into()),
                ..params
            })
            .is_err()
        );
    }
}
