//! Metrics against Quantus and SciPy, on the numbers that `parity/metrics_reference.py` stored.

use fgmf::Result;
use fgmf::explain::{Attribution, Context, Explainer};
use fgmf::explain::{Output, Subject};
use fgmf::measure::{
    entropy, gini, histogram_entropy, hit, mass, paired_t, rank, spearman, ssim, wilcoxon,
};
use fgmf::metric::{
    CurveParams, Deletion, FaithfulnessCorrelationParams, Fill, InfidelityParams, MaxSensitivity,
    Reading, RelativeStability, RoadParams,
};
use fgmf::model::{Gradients, Oracle};
use fgmf::record::MapRecord;
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::head::Logit;
use fgmf_net::{Session, Tensor};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

/// The numbers of a rule that the script shares: the fractional part of (i + offset) times the
/// golden ratio's.
fn wave(i: usize, offset: usize) -> f64 {
    ((i + offset) as f64 * 0.618_033_988_749_894_9).fract()
}

/// Gradient of the logit times the image, channels summed.
struct GradientTimesInput;

impl Explainer for GradientTimesInput {
    fn id(&self) -> &'static str {
        "gradient-times-input"
    }

    fn parameters(&self) -> Value {
        serde_json::json!({})
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        _: &Context,
    ) -> Result<Vec<Attribution>> {
        let [_, h, w] = model.image_shape();
        let gradient = model
            .loss_gradient(x, &Logit::new(targets))?
            .gradient
            .to_f64();
        let product: Vec<f64> = gradient
            .iter()
            .zip(x.to_f64())
            .map(|(g, x)| g * x)
            .collect();
        let map = |(values, &target): (&[f64], &usize)| {
            let sum = |at: usize| {
                (at..values.len())
                    .step_by(h * w)
                    .map(|j| values[j])
                    .sum::<f64>() as f32
            };
            attribution((0..h * w).map(sum).collect(), [h, w], target)
        };
        Ok(product
            .chunks_exact(product.len() / targets.len())
            .zip(targets)
            .map(map)
            .collect())
    }
}

fn attribution(values: Vec<f32>, [height, width]: [usize; 2], target: usize) -> Attribution {
    Attribution {
        values: MapRecord {
            channels: 1,
            height,
            width,
            values,
        },
        target,
        method: "gradient-times-input",
        signed: true,
        completeness_gap: None,
        layer: None,
        layer_reason: None,
        agreement: None,
        disagreement: None,
        note: None,
        withheld: None,
    }
}

struct Case {
    name: &'static str,
    net: Session,
    x: Tensor,
    targets: Vec<usize>,
    maps: Vec<Attribution>,
    expected: Value,
}

const NETS: [&str; 3] = ["cnn_bn", "vit", "resnet"];

fn case(name: &'static str, all: &Value) -> Case {
    let onnx = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fgmf-net/tests/fixtures/onnx");
    let net = Session::new(fgmf_net::onnx::read(&onnx.join(format!("{name}.onnx"))).unwrap());
    let data = read(&onnx.join(format!("{name}.json")));
    let shape: Vec<usize> = numbers(&data["input_shape"])
        .iter()
        .map(|&d| d as usize)
        .collect();
    let x = Tensor::new::<f32>(
        &shape,
        numbers(&data["input"]).iter().map(|&v| v as f32).collect(),
    );
    let expected = all["nets"][name].clone();
    let targets: Vec<usize> = numbers(&expected["targets"])
        .iter()
        .map(|&t| t as usize)
        .collect();
    let values: Vec<f32> = numbers(&expected["maps"])
        .iter()
        .map(|&v| v as f32)
        .collect();
    let maps = values
        .chunks_exact(shape[2] * shape[3])
        .zip(&targets)
        .map(|(m, &t)| attribution(m.to_vec(), [shape[2], shape[3]], t));
    let maps = maps.collect();
    Case {
        name,
        net,
        x,
        targets,
        maps,
        expected,
    }
}

/// Runs `f` on every network with a subject made of the stored maps.
fn each(mut f: impl FnMut(&Case, &Subject<'_>, &Value)) {
    let all = read(&fixtures().join("metrics.json"));
    for name in NETS {
        let case = case(name, &all);
        let oracle = Oracle::new(&case.net);
        let threat = ThreatModel::new(Norm::Linf, 0.1, [-100.0, 100.0]).unwrap();
        let subject = Subject {
            oracle: &oracle,
            explainer: &GradientTimesInput,
            x: &case.x,
            targets: &case.targets,
            maps: &case.maps,
            threat: &threat,
            context: Context::default(),
        };
        f(&case, &subject, &all);
    }
}

/// Within 1e-3 of the value, or for values below a hundredth of the largest 1e-5 of that: single
/// precision leaves no more near 0.
fn close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!(
            (a - b).abs() <= 1e-3 * b.abs().max(1e-2 * largest),
            "{what}: {a} against {b}"
        );
    }
}

fn some(scores: &[Option<f64>]) -> Vec<f64> {
    scores.iter().map(|v| v.unwrap()).collect()
}

fn map_of(case: &Case, i: usize) -> Vec<f32> {
    case.maps[i].values.values.clone()
}

#[test]
fn pure_figures() {
    each(|case, _, _| {
        let expected = |key: &str| numbers(&case.expected[key]);
        let [_, _, h, w] = [0, 1, 2, 3].map(|i| case.x.shape()[i]);
        let n = case.maps.len();
        let maps: Vec<Vec<f32>> = (0..n).map(|i| map_of(case, i)).collect();
        let sizes: Vec<Vec<f32>> = maps
            .iter()
            .map(|m| m.iter().map(|v| v.abs()).collect())
            .collect();
        let inside: Vec<bool> = (0..h * w)
            .map(|at| at / w < h / 2 && at % w < w / 2)
            .collect();
        let of = |f: &dyn Fn(usize) -> f64| (0..n).map(f).collect::<Vec<f64>>();
        // Quantus adds 1e-7 to each value before it sorts.
        close(
            "sparseness",
            &of(&|i| gini(&maps[i]).unwrap()),
            &expected("sparseness"),
        );
        close(
            "complexity",
            &of(&|i| entropy(&maps[i]).unwrap()),
            &expected("complexity"),
        );
        close(
            "pointing",
            &of(&|i| hit(&sizes[i], &inside).unwrap()),
            &expected("pointing"),
        );
        close(
            "mass",
            &of(&|i| mass(&sizes[i], &inside).unwrap()),
            &expected("mass"),
        );
        close(
            "rank",
            &of(&|i| rank(&sizes[i], &inside).unwrap()),
            &expected("rank"),
        );
        close(
            "spearman",
            &of(&|i| spearman(&maps[i], &maps[(i + 1) % n]).unwrap()),
            &expected("spearman"),
        );
        close(
            "ssim",
            &of(&|i| ssim(&maps[i], &maps[(i + 1) % n], [h, w]).unwrap()),
            &expected("ssim"),
        );
        close(
            "histogram",
            &of(&|i| histogram_entropy(&maps[i], 100).unwrap()),
            &expected("histogram_entropy"),
        );
    });
}

/// Curves of logits as the most relevant pixels turn black; with one channel only, as Quantus
/// removes single values.
#[test]
fn pixel_flipping() {
    each(|case, subject, _| {
        let Some(rows) = case.expected["pixel_flipping"].as_array() else {
            return;
        };
        let params = CurveParams {
            steps: case.x.shape()[2],
            fill: Fill::Value(0.0),
            output: Output::Logit,
        };
        for (ours, theirs) in Deletion::new(params)
            .unwrap()
            .curves(subject)
            .unwrap()
            .iter()
            .zip(rows)
        {
            close(case.name, &ours[1..], &numbers(theirs));
        }
    });
}

/// Share of images that keep their class at each percentage, without noise.
#[test]
fn road() {
    each(|case, subject, all| {
        if case.expected["road"].is_null() {
            return;
        }
        let percentages = numbers(&all["percentages"]);
        let survival = RoadParams {
            percentages: percentages.clone(),
            noise: 0.0,
        }
        .check()
        .unwrap()
        .survival(subject)
        .unwrap();
        for (p, percentage) in percentages.iter().enumerate() {
            let ours = survival.iter().filter(|s| s[p]).count() as f64 / survival.len() as f64;
            let theirs = case.expected["road"][&format!("{percentage:.0}")]
                .as_f64()
                .unwrap();
            assert!(
                (ours - theirs).abs() < 1e-9,
                "{} at {percentage}%: {ours} against {theirs}",
                case.name
            );
        }
    });
}

/// Squares of the grid added up from call to call, the map read as slopes, no scale.
#[test]
fn infidelity() {
    each(|case, subject, _| {
        let [h, w] = [case.x.shape()[2], case.x.shape()[3]];
        let patch = case.expected["patch"].as_u64().unwrap() as usize;
        let params = InfidelityParams {
            reading: Reading::Slope,
            scaled: false,
            ..InfidelityParams::default()
        };
        let mask = |_: usize, k: usize| {
            (0..h * w)
                .map(|at| at / w / patch * (w / patch) + at % w / patch <= k)
                .collect::<Vec<bool>>()
        };
        let ours = params
            .check()
            .unwrap()
            .of_sets(subject, h * w / patch / patch, mask)
            .unwrap();
        close(case.name, &ours, &numbers(&case.expected["infidelity"]));
    });
}

#[test]
fn faithfulness_correlation() {
    each(|case, subject, _| {
        let Some(sets) = case.expected["sets"].as_array() else {
            return;
        };
        let mask = |i: usize, k: usize| {
            let mut marks = vec![false; subject.maps[i].values.values.len()];
            numbers(&sets[k][i])
                .iter()
                .for_each(|&at| marks[at as usize] = true);
            marks
        };
        let metric = FaithfulnessCorrelationParams::default().check().unwrap();
        let ours = metric.of_sets(subject, sets.len(), mask).unwrap();
        close(
            case.name,
            &ours,
            &numbers(&case.expected["faithfulness_correlation"]),
        );
    });
}

/// The same noise on both sides, by a rule.
#[test]
fn stability_under_noise() {
    each(|case, subject, all| {
        let (radius, draws) = (
            all["radius"].as_f64().unwrap(),
            all["draws"].as_u64().unwrap() as usize,
        );
        let noisy = |round: usize| {
            let moved =
                case.x.to_f32().into_iter().enumerate().map(|(i, v)| {
                    (f64::from(v) + radius * (2.0 * wave(i, 1000 * round) - 1.0)) as f32
                });
            Tensor::new::<f32>(case.x.shape(), moved.collect())
        };
        let expected = |key: &str| numbers(&case.expected[key]);
        let sensitivity = MaxSensitivity::new(MaxSensitivity::DEFAULT)
            .unwrap()
            .of_images(subject, draws, noisy)
            .unwrap();
        close(
            case.name,
            &some(&sensitivity[0]),
            &expected("max_sensitivity"),
        );
        let relative = RelativeStability::new(RelativeStability::DEFAULT)
            .unwrap()
            .of_images(subject, draws, noisy)
            .unwrap();
        let raised = |scores: &[Option<f64>]| {
            some(scores)
                .iter()
                .map(|v| 10f64.powf(*v))
                .collect::<Vec<f64>>()
        };
        close(case.name, &raised(&relative[0]), &expected("ris"));
        close(case.name, &raised(&relative[1]), &expected("ros"));
    });
}

/// SciPy's p-values, to nine digits.
#[test]
fn paired_tests() {
    for row in read(&fixtures().join("metrics.json"))["tests"]
        .as_array()
        .unwrap()
    {
        let differences = numbers(&row["differences"]);
        for (ours, key) in [
            (paired_t(&differences).unwrap(), "t"),
            (wilcoxon(&differences).unwrap(), "wilcoxon"),
        ] {
            let theirs = numbers(&row[key]);
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1e-12);
            assert!(
                near(ours.statistic, theirs[0]) && near(ours.p, theirs[1]),
                "{key}: {ours:?} against {theirs:?}"
            );
        }
    }
}
