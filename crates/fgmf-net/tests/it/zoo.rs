//! The zoo against ONNX Runtime (fixtures made by `examples/export_zoo.rs` and
//! `parity/zoo_onnxruntime.py`), and through its own files.

use fgmf_net::{Session, onnx};
use fgmf_testkit::zoo::{CASES, case};
use std::path::Path;

#[test]
fn logits_equal_onnx_runtime_and_survive_the_file() {
    for (architecture, activation) in CASES {
        let c = case(architecture, activation).unwrap();
        let ours = c.net.logits(&c.x).unwrap().to_f32();
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/fixtures/zoo/{}.json", c.name));
        let fixture: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let theirs: Vec<f64> = fixture["logits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        assert_eq!(ours.len(), theirs.len(), "{}", c.name);
        let gap = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (f64::from(*a) - b).abs())
            .fold(0.0, f64::max);
        // Fresh networks have small logits: the bound is relative where that is stricter.
        let largest = theirs.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(
            gap <= 1e-4 * largest.min(1.0),
            "{}: {gap} of {largest}",
            c.name
        );
        let bytes = onnx::to_bytes(&c.net).unwrap();
        let again = Session::new(onnx::from_bytes(&bytes).unwrap());
        assert!(
            again.logits(&c.x).unwrap().to_f32() == ours,
            "{}: other logits after a round trip",
            c.name
        );
        assert_eq!(
            again.trainable().len(),
            c.net.trainable().len(),
            "{}",
            c.name
        );
    }
}
