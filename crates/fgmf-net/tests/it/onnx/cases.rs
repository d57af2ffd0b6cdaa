//! Small files that strangers brought, each with its right value or its right error.

use fgmf_net::{Session, Tensor, onnx};
use std::path::PathBuf;

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/cases")
        .join(file)
}

/// Logits of two images whose values are `(i mod 7) / 7`.
fn logits(file: &str) -> Vec<f32> {
    let net = Session::new(onnx::read(&path(file)).unwrap());
    let [c, h, w] = net.image_shape();
    let x = (0..2 * c * h * w).map(|i| (i % 7) as f32 / 7.0).collect();
    net.logits(&Tensor::new::<f32>(&[2, c, h, w], x))
        .unwrap()
        .to_f32()
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{what}: {a}, {b}");
    }
}

/// Values of ONNX Runtime 1.32.
#[test]
fn logits_are_those_of_onnx_runtime() {
    let lin = "../../../../fgmf/tests/fixtures/tokens";
    let all: [(String, &[f32]); 5] = [
        (
            "neg.onnx".into(),
            &[0.893_416_4, -1.571_335, 0.890_631_9, -1.578_07],
        ),
        (
            "shared.onnx".into(),
            &[
                0.141_396_6,
                0.089_203_37,
                -0.061_322_03,
                0.119_724_8,
                0.147_541_5,
                0.082_402_17,
                -0.062_065_84,
                0.118_184_5,
            ],
        ),
        (
            format!("{lin}/lin2x5.onnx"),
            &[
                0.801_468_6,
                -0.694_494_5,
                -0.408_506_9,
                0.801_186_9,
                -0.757_367_1,
                -0.467_524_1,
            ],
        ),
        (
            format!("{lin}/lin2x8.onnx"),
            &[
                1.415_197,
                0.504_684,
                -1.314_543,
                1.402_49,
                0.523_969_4,
                -1.299_249,
            ],
        ),
        (
            format!("{lin}/vit_reg.onnx"),
            &[
                -1.019_233,
                1.293_973,
                -0.350_781,
                -1.018_883,
                1.248_866,
                -0.308_563_6,
            ],
        ),
    ];
    for (file, expected) in all {
        assert_near(&logits(&file), expected, &file);
    }
}

/// A softmax at the end gives probabilities, as in ONNX Runtime 1.32.
#[test]
fn a_softmax_at_the_end_gives_its_probabilities() {
    assert_near(
        &logits("soft.onnx"),
        &[
            0.001_875_034,
            0.997_664_2,
            0.000_281_995_2,
            0.000_178_784_8,
            0.000_660_609_5,
            0.999_233_5,
            7.909_993e-7,
            0.000_105_062_4,
        ],
        "soft",
    );
}

/// One score z stands for two classes, of which the second has the probability σ(z); a sigmoid's
/// output is that probability. z and σ(z) of ONNX Runtime 1.32.
#[test]
fn one_score_stands_for_two_classes() {
    for (image, two) in logits("onelogit.onnx").chunks_exact(2).enumerate() {
        assert_near(
            &[two[1] - two[0]],
            &[[-0.203_613_3, -0.246_372_5][image]],
            "onelogit",
        );
    }
    for (image, two) in logits("sigmoid.onnx").chunks_exact(2).enumerate() {
        let second = 1.0 / (1.0 + (two[0] - two[1]).exp());
        assert_near(&[second], &[[0.449_271_8, 0.438_716_5][image]], "sigmoid");
    }
}

/// Its answers would depend on the other images of a batch.
#[test]
fn batch_normalisation_in_training_mode_is_refused_by_name() {
    let error = onnx::read(&path("bn_train.onnx")).unwrap_err().to_string();
    assert!(
        error.contains("/b/BatchNormalization") && error.contains("training mode"),
        "{error}"
    );
}
