//! A dummy, for tests of the list: the cross-entropy on darkened images.
//!
//! The objective is the mean over the batch of L(s x, y).
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `shade` | 1 | s, above 0, at most 1 |
//!
//! Cost: 3 passes an example. Reference: `goodfellow2015`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::settings::{complete, read};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish, mean, step_on,
};
use fgmf_net::Session;
use fgmf_net::head::CrossEntropy;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "dummy-objective",
    line: "Minimises cross-entropy on darkened images.",
    revision: 1,
    reference: "goodfellow2015",
    example: r#"{"shade": 0.5}"#,
    build: ObjectiveBuild {
        complete: complete::<DummyParams>,
        make: |settings| Ok(Box::new(read::<DummyParams>(settings)?.check()?)),
    },
}];

/// Settings of [`Dummy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DummyParams {
    /// What images are multiplied by.
    shade: f64,
}

impl Default for DummyParams {
    fn default() -> Self {
        Self { shade: 1.0 }
    }
}

impl DummyParams {
    fn check(self) -> Result<Dummy> {
        if !(self.shade > 0.0 && self.shade <= 1.0) {
            return Err(Error::parameter("shade", "above 0, at most 1", self.shade));
        }
        Ok(Dummy { params: self })
    }
}

/// The checked dummy.
struct Dummy {
    params: DummyParams,
}

impl Objective for Dummy {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let head = CrossEntropy::labels(&batch.labels);
        let x = batch.x.affine(self.params.shade, 0.0);
        let run = step_on(net, &x, &head, batch, 1, context)?;
        let loss = mean(&run.losses);
        Ok(finish(run, &batch.labels, vec![("cross-entropy", loss)]))
    }

    fn attacks(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::{Norm, ThreatModel};
    use crate::train::list::ObjectiveConfig;
    use fgmf_net::{Precision, Tensor};
    use fgmf_testkit::toys;

    /// z = (2 x, 0), x = ½ in the shade of ½: the loss is ln(1 + e^(−½)).
    #[test]
    fn one_line_puts_it_into_the_list() {
        let net = toys::linear(&[vec![2.0], vec![0.0]], &[0.0; 2], [1, 1, 1]);
        let net = net.cast(Precision::F32);
        let batch = Batch {
            x: Tensor::new(&[1, 1, 1, 1], vec![0.5f32]),
            labels: vec![0],
            index: vec![0],
        };
        let context = StepContext {
            threat: &ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap(),
            seed: 0,
            epoch: 0,
            salience: None,
            displacement: None,
            carried: &[],
        };
        let method = &METHODS[0];
        let example: serde_json::Value = serde_json::from_str(method.example).unwrap();
        let config = ObjectiveConfig::new(method.id, &example).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(text, r#"{"name":"dummy-objective","shade":0.5}"#);
        let step = config
            .check()
            .unwrap()
            .step(&net, &batch, &context)
            .unwrap();
        assert!((step.parts[0].1 - (-0.5f64).exp().ln_1p()).abs() < 1e-6);
        let wrong = ObjectiveConfig::new(method.id, &serde_json::json!({ "shade": 0 }));
        assert!(wrong.unwrap().check().is_err());
    }
}
