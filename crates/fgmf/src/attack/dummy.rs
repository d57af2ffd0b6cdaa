//! A dummy, for tests of the list: it makes the whole image brighter.
//!
//! x' = x + s eps. The sealed entry projects x' onto the ball.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `share` | 1 | s, 0 to 1 |
//!
//! Cost: no pass. Reference: `goodfellow2015`.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Ending, Seed, SuiteName,
};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::settings::read;
use crate::threat::ThreatModel;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "dummy-attack",
    line: "Makes the whole image brighter.",
    revision: 1,
    reference: "goodfellow2015",
    example: r#"{"share": 0.5}"#,
    build: AttackBuild {
        make: |settings, _| {
            let attack = read::<DummyParams>(settings)?.check()?;
            Ok(Attack::Black(Box::new(attack)))
        },
        names: &[SuiteName {
            name: "dummy-attack",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`Dummy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DummyParams {
    /// Step as a share of the radius.
    share: f64,
}

impl Default for DummyParams {
    fn default() -> Self {
        Self { share: 1.0 }
    }
}

impl DummyParams {
    fn check(self) -> Result<Dummy> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(Error::parameter("share", "0 to 1", self.share));
        }
        Ok(Dummy { params: self })
    }
}

/// The checked dummy.
struct Dummy {
    params: DummyParams,
}

impl BlackBox for Dummy {
    fn id(&self) -> &'static str {
        METHODS[0].id
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        _: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        _: Seed,
    ) -> Result<Candidate> {
        Ok(Candidate {
            x: batch.x.affine(1.0, self.params.share * threat.eps()),
            endings: vec![Ending::StepsExhausted; batch.len()],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::list::{by_name, with_parameters};
    use crate::attack::sealed::run_attack;
    use crate::model::oracle::Oracle;
    use crate::threat::Norm;
    use fgmf_net::Tensor;
    use fgmf_testkit::toys;

    /// The class turns at 0.5: from 0.35 the whole radius of 0.2 gets across, half of it does not.
    #[test]
    fn one_line_puts_it_into_the_list_and_the_suites() {
        let net = toys::linear(&[vec![-1.0], vec![1.0]], &[0.5, -0.5], [1, 1, 1]);
        let net = net.cast(fgmf_net::Precision::F32);
        let batch = Batch {
            x: Tensor::new(&[1, 1, 1, 1], vec![0.35f32]),
            labels: vec![0],
            index: vec![0],
        };
        let threat = ThreatModel::new(Norm::Linf, 0.2, [0.0, 1.0]).unwrap();
        let run = |attack: &Attack| {
            let found = run_attack(attack, &Oracle::new(&net), &batch, &threat, 0);
            found.unwrap().success
        };
        let method = &METHODS[0];
        let example = serde_json::from_str(method.example).unwrap();
        assert_eq!(run(&with_parameters(method.id, example).unwrap()), [false]);
        assert_eq!(
            run(&by_name(method.id, Norm::Linf, 2).unwrap().unwrap()),
            [true]
        );
        assert!(with_parameters(method.id, serde_json::json!({ "share": 2 })).is_err());
    }
}
