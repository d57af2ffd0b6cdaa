//! A dummy, for tests of the list: the share of a map's pixels above a level of its largest value.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `level` | 0.5 | 0 to 1 |
//!
//! Values in `[0, 1]`; lower is simpler. Cost: none. Reference: `chalasani2020`.

use crate::error::{Error, Result};
use crate::explain::subject::Subject;
use crate::metric::base::{Metric, MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{Family, Info, SHARE, lower};
use crate::settings::read;
use serde::{Deserialize, Serialize};

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "dummy-metric",
    family: Family::Complexity,
    figures: &[lower("dummy-share", SHARE)],
    needs: &[],
    reference: "chalasani2020",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Counts the pixels of a map above a level of its largest value.",
    revision: 1,
    reference: INFO.reference,
    example: r#"{"level": 0.25}"#,
    build: MetricBuild {
        info: &INFO,
        make: Some(|settings| Ok(Box::new(read::<DummyParams>(settings)?.check()?))),
    },
}];

/// Settings of [`Dummy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DummyParams {
    /// Share of the largest value.
    level: f64,
}

impl Default for DummyParams {
    fn default() -> Self {
        Self { level: 0.5 }
    }
}

impl DummyParams {
    fn check(self) -> Result<Dummy> {
        if !(0.0..=1.0).contains(&self.level) {
            return Err(Error::parameter("level", "0 to 1", self.level));
        }
        Ok(Dummy { params: self })
    }
}

/// The checked dummy.
struct Dummy {
    params: DummyParams,
}

impl Metric for Dummy {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn score(&self, subject: &Subject<'_>) -> Result<MetricValues> {
        let one = |i: usize| {
            let map = subject.map(i);
            let largest = map.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let above = |v: &&f64| v.abs() > self.params.level * largest;
            Some(map.iter().filter(above).count() as f64 / map.len() as f64)
        };
        Ok(vec![(0..subject.len()).map(one).collect()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::base::Context;
    use crate::metric::list::with_parameters;
    use crate::model::oracle::Oracle;
    use crate::study::{EvaluationInput, EvaluationJob, evaluate};
    use crate::threat::{Norm, ThreatModel};
    use fgmf_net::{Precision, Tensor};
    use fgmf_testkit::toys;

    /// The gradient is (4, 2, 1, 0): two of four pixels are above a quarter of 4.
    #[test]
    fn one_line_puts_it_into_the_list() {
        let net = toys::linear(
            &[vec![4.0, 2.0, 1.0, 0.0], vec![0.0; 4]],
            &[0.0; 2],
            [1, 2, 2],
        );
        let net = net.cast(Precision::F32);
        let method = &METHODS[0];
        let example = serde_json::from_str(method.example).unwrap();
        let inputs = [EvaluationInput {
            name: "clean".into(),
            parameters: serde_json::json!({}),
            x: Tensor::full(&[1, 1, 2, 2], 0.5, Precision::F32),
            targets: vec![0],
        }];
        let job = EvaluationJob {
            oracle: &Oracle::new(&net),
            explainers: &[crate::explain::by_id("saliency").unwrap()],
            metrics: &[with_parameters(method.id, example).unwrap()],
            inputs: &inputs,
            threat: &ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap(),
            context: Context::default(),
        };
        let found = evaluate(&job, None, &mut |_, _| {}).unwrap();
        let row = found.rows.iter().find(|r| r.metric == method.id).unwrap();
        assert_eq!(row.values, [Some(0.5)]);
        assert!(with_parameters(method.id, serde_json::json!({ "level": 2 })).is_err());
    }
}
