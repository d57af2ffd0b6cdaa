//! One step of training objectives beside PyTorch, which `parity/objectives.py` runs in double
//! precision from the papers' formulas, with double backward passes where a paper has them.

use fgmf::data::Batch;
use fgmf::threat::{Norm, ThreatModel};
use fgmf::train::{ObjectiveConfig, Optimiser, OptimiserState, StepContext};
use fgmf_net::{Session, Tensor, onnx};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Deserialize)]
struct Fixture {
    eps: f64,
    rate: f64,
    images: Vec<f32>,
    points: Vec<f32>,
    labels: Vec<usize>,
    steps: Vec<Updated>,
}

/// Weights after one step on an objective.
#[derive(Deserialize)]
struct Updated {
    objective: ObjectiveConfig,
    weights: BTreeMap<String, Vec<f64>>,
}

/// Largest difference that a weight may have after the step. It holds the differences too that
/// stand for second derivatives, at a step of 0.02; their error falls as its square.
const TOLERANCE: f64 = 1e-4;

#[test]
fn one_step_is_that_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/objectives");
    let bytes = std::fs::read(folder.join("network.onnx")).unwrap();
    let net = Session::new(onnx::from_bytes(&bytes).unwrap());
    let text = std::fs::read_to_string(folder.join("steps.json")).unwrap();
    let f: Fixture = serde_json::from_str(&text).unwrap();
    let shape = [f.labels.len(), 2, 6, 6];
    let points = Tensor::new(&shape, f.points);
    let batch = Batch {
        x: Tensor::new(&shape, f.images),
        index: (0..f.labels.len() as u64).collect(),
        labels: f.labels,
    };
    let threat = ThreatModel::new(Norm::Linf, f.eps, [0.0, 1.0]).unwrap();
    let context = StepContext {
        threat: &threat,
        seed: 0,
        epoch: 0,
        salience: None,
        displacement: None,
        carried: &[],
    };
    let plain = Optimiser::Sgd {
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    };
    assert_eq!(f.steps.len(), 8);
    for expected in f.steps {
        let objective = expected.objective.check().unwrap();
        let step = match objective.attacked() {
            Some(attacked) => attacked.step_at(&net, &batch, &points, &context),
            None => objective.step(&net, &batch, &context),
        };
        let mut after = net.clone();
        OptimiserState::new(&net)
            .apply(&mut after, &step.unwrap().gradients, &plain, f.rate)
            .unwrap();
        let (mut error, mut change) = (0.0f64, 0.0f64);
        assert_eq!(expected.weights.len(), net.trainable().len());
        for (name, truth) in &expected.weights {
            let id = net.find(name).unwrap();
            let (old, new) = (net.parameter(id).unwrap(), after.parameter(id).unwrap());
            assert_eq!(new.len(), truth.len(), "{name}");
            for ((old, new), truth) in old.to_f64().iter().zip(new.to_f64()).zip(truth) {
                error = error.max((new - truth).abs());
                change = change.max((truth - old).abs());
            }
        }
        let name = serde_json::to_string(&expected.objective).unwrap();
        assert!(change > 0.05, "{name}: {change}");
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}
