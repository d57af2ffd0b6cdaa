//! Closed forms on linear models, what every metric must keep to, and the entry.

use super::*;
use crate::error::Result;
use crate::explain::list::applicable;
use crate::explain::{Attribution, Context, Explainer, explain};
use crate::explain::{Output, Subject};
use crate::model::access::Gradients;
use crate::model::{Oracle, Scores};
use crate::record::MapRecord;
use crate::rng::{Purpose, Stream};
use crate::study::{EvaluationInput, EvaluationJob, evaluate};
use crate::threat::{Norm, ThreatModel};
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Precision, Session, Tensor};
use fgmf_testkit::toys;

fn threat(eps: f64) -> ThreatModel {
    ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap()
}

pub(crate) fn spread(n: usize, seed: u64) -> Vec<f64> {
    let mut stream = Stream::new(seed, Purpose::Evaluation, 9, 0);
    (0..n).map(|_| f64::from(stream.symmetric())).collect()
}

fn pictures(n: usize, image: [usize; 3], seed: u64) -> Tensor {
    let [c, h, w] = image;
    Tensor::new(
        &[n, c, h, w],
        spread(n * c * h * w, seed)
            .iter()
            .map(|v| 0.5 + 0.49 * v)
            .collect::<Vec<f64>>(),
    )
}

fn zoo(architecture: Architecture, image: [usize; 3]) -> Session {
    let (mean, deviation) = (vec![0.3; image[0]], vec![0.4; image[0]]);
    Session::new(
        build(&ZooConfig {
            architecture,
            activation: Activation::Relu,
            image,
            classes: 5,
            mean,
            deviation,
            seed: 3,
        })
        .unwrap(),
    )
}

/// An explainer that knows a linear model: contributions w · (x − x₀) of the target's weights, or
/// noise in their place.
pub(crate) struct Planted {
    pub(crate) weights: Vec<Vec<f64>>,
    pub(crate) noise: bool,
}

impl Explainer for Planted {
    fn id(&self) -> &'static str {
        if self.noise { "noise" } else { "planted" }
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        let [_, h, w] = model.image_shape();
        let values = x.to_f64();
        let size = values.len() / targets.len();
        let one = |(i, &target): (usize, &usize)| {
            let mut map = vec![0.0f32; h * w];
            let mut rng = Stream::new(
                context.seed,
                Purpose::Explanation,
                0,
                context.names_of(x)[i],
            );
            for j in 0..size {
                let exact = self.weights[target][j] * values[i * size + j];
                map[j % (h * w)] += if self.noise {
                    rng.symmetric()
                } else {
                    exact as f32
                };
            }
            attribution(map, [h, w], target)
        };
        Ok(targets.iter().enumerate().map(one).collect())
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
        method: "planted",
        signed: true,
        completeness_gap: None,
        layer: None,
        agreement: None,
        disagreement: None,
        note: None,
        withheld: None,
        layer_reason: None,
    }
}

/// More for the class than against it, so that most images are of it.
fn planted_weights(size: usize) -> Vec<f64> {
    spread(size, 1).iter().map(|w| 0.3 * (w + 0.2)).collect()
}

/// Scores of a metric for maps that are exact and for maps that are noise, on a linear model of two
/// classes, the second with a fixed logit.
pub(crate) fn exact_and_noise(
    metric: &dyn Metric,
    image: [usize; 3],
    n: usize,
) -> (MetricValues, MetricValues) {
    let size = image.iter().product();
    let weights = vec![planted_weights(size), vec![0.0; size]];
    // The other class lies a little below the score of a grey image: few removals decide.
    let grey: f64 = weights[0].iter().map(|w| 0.5 * w).sum();
    let net = toys::linear(&weights, &[0.0, grey - 0.3], image);
    let oracle = Oracle::new(&net);
    let x = pictures(n, image, 2);
    let targets = vec![0; n];
    let context = Context::default();
    let threat = threat(0.1);
    let run = |noise| {
        let explainer = Planted {
            weights: weights.clone(),
            noise,
        };
        let maps = explain(&explainer, &oracle, &x, &targets, &context).unwrap();
        metric
            .score(&Subject {
                oracle: &oracle,
                explainer: &explainer,
                x: &x,
                targets: &targets,
                maps: &maps,
                threat: &threat,
                context,
            })
            .unwrap()
    };
    (run(false), run(true))
}

fn mean(values: &[Option<f64>]) -> f64 {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    known.iter().sum::<f64>() / known.len() as f64
}

/// With black for a fill the score after k removals is z minus the k largest contributions: the
/// area in closed form, on the logit.
#[test]
fn removal_curves_match_the_closed_form_on_linear_models() {
    let image = [2, 4, 5];
    let weights = planted_weights(40);
    let x = pictures(3, image, 2).to_f64();
    let logit = |fill| (fill, Output::Logit);
    let (fill, output) = logit(Fill::Value(0.0));
    let params = CurveParams {
        steps: 20,
        fill,
        output,
    };
    let (deletion, insertion, both) = (
        Deletion::new(params).unwrap(),
        Insertion::new(params).unwrap(),
        LerfMinusMorf::new(params).unwrap(),
    );
    let got = [
        exact_and_noise(&deletion, image, 3),
        exact_and_noise(&insertion, image, 3),
        exact_and_noise(&both, image, 3),
    ];
    for i in 0..3 {
        let mut shares: Vec<f64> = (0..20)
            .map(|p| {
                [p, p + 20]
                    .iter()
                    .map(|&j| weights[j] * x[i * 40 + j])
                    .sum::<f64>()
            })
            .collect();
        shares.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = shares.iter().sum();
        let after = |k: usize| total - shares[..k].iter().sum::<f64>();
        let kept = |k: usize| shares[..20 - k].iter().sum::<f64>();
        let area =
            |f: &dyn Fn(usize) -> f64| ((1..20).map(f).sum::<f64>() + 0.5 * (f(0) + f(20))) / 20.0;
        let expected = [
            area(&after),
            area(&|k| total - after(k)),
            area(&kept) - area(&after),
        ];
        for ((exact, noise), expected) in got.iter().zip(expected) {
            let (exact, noise) = (exact[0][i].unwrap(), noise[0][i].unwrap());
            assert!(
                (exact - expected).abs() < 1e-6,
                "{exact} against {expected}"
            );
            assert!((noise - expected).abs() > 1e-3);
        }
        // Nothing falls faster, rises faster, or lies further apart.
        assert!(
            got[0].1[0][i] > got[0].0[0][i]
                && got[1].1[0][i] < got[1].0[0][i]
                && got[2].1[0][i] < got[2].0[0][i]
        );
    }
}

/// With its default parameters each faithfulness metric prefers exact maps to noise, on average
/// over examples.
#[test]
fn exact_maps_beat_noise() {
    for info in infos()
        .into_iter()
        .filter(|i| i.family == Family::Faithfulness)
    {
        let (exact, noise) = exact_and_noise(by_id(info.id).unwrap().as_ref(), [1, 8, 8], 24);
        for (figure, (exact, noise)) in info.figures.iter().zip(exact.iter().zip(&noise)) {
            let gain = mean(exact) - mean(noise);
            let better = if figure.better == Direction::Higher {
                gain
            } else {
                -gain
            };
            assert!(
                better > 0.0,
                "{}: {} against {}",
                figure.id,
                mean(exact),
                mean(noise)
            );
        }
    }
}

fn job<'a>(
    oracle: &'a Oracle<'a>,
    explainers: &'a [Box<dyn Explainer>],
    metrics: &'a [Box<dyn Metric>],
    inputs: &'a [EvaluationInput],
    threat: &'a ThreatModel,
) -> EvaluationJob<'a> {
    EvaluationJob {
        oracle,
        explainers,
        metrics,
        inputs,
        threat,
        context: Context {
            seed: 5,
            ..Context::default()
        },
    }
}

fn two_inputs(n: usize, image: [usize; 3]) -> [EvaluationInput; 2] {
    let x = pictures(n, image, 7).cast(Precision::F32);
    let moved = x
        .to_f32()
        .iter()
        .enumerate()
        .map(|(i, v)| (v + if i % 3 == 0 { 0.1 } else { -0.05 }).clamp(0.0, 1.0))
        .collect();
    let moved = Tensor::new::<f32>(x.shape(), moved);
    let targets: Vec<usize> = (0..n).map(|i| i % 5).collect();
    let input = |name: &str, x| EvaluationInput {
        name: name.into(),
        parameters: serde_json::json!({}),
        x,
        targets: targets.clone(),
    };
    [input("clean", x), input("moved", moved)]
}

/// Every metric, with small numbers of draws where the defaults cost much.
fn all_metrics() -> Vec<Box<dyn Metric>> {
    let small = |id: &str| -> Box<dyn Metric> {
        match id {
            "certified-top-k" => Box::new(
                CertifiedTopKParams {
                    samples: 20,
                    ..CertifiedTopKParams::default()
                }
                .check()
                .unwrap(),
            ),
            "smooth-mprt" => Box::new(
                SmoothMprtParams {
                    samples: 2,
                    ..SmoothMprtParams::default()
                }
                .check()
                .unwrap(),
            ),
            id => by_id(id).unwrap(),
        }
    };
    ids().into_iter().map(small).collect()
}

/// Every metric on two explainers and two inputs: in range, aligned, the same again, and the same
/// after going on from a state cut in the middle of a line.
#[test]
fn every_metric_keeps_its_promises() {
    let image = [1, 12, 12];
    let net = zoo(Architecture::CnnTiny, image);
    let oracle = Oracle::new(&net);
    let few = ["grad-cam-pp", "integrated-gradients"];
    let explainers: Vec<Box<dyn Explainer>> = few
        .iter()
        .map(|id| crate::explain::list::by_id(id).unwrap())
        .collect();
    let metrics = all_metrics();
    let (inputs, threat) = (two_inputs(4, image), threat(0.05));
    let job = job(&oracle, &explainers, &metrics, &inputs, &threat);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.jsonl");
    let mut steps = Vec::new();
    let before = net.logits(&inputs[0].x).unwrap().to_f32();
    let whole = evaluate(&job, Some(&path), &mut |done, all| steps.push((done, all))).unwrap();
    assert_eq!(
        before,
        net.logits(&inputs[0].x).unwrap().to_f32(),
        "an evaluation changed the model"
    );
    assert_eq!(steps, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    let figures: Vec<(&str, &Figure)> = infos()
        .into_iter()
        .flat_map(|i| i.figures.iter().map(|f| (i.id, f)))
        .collect();
    for row in &whole.rows {
        let (_, figure) = figures
            .iter()
            .find(|(id, f)| *id == row.metric && f.id == row.figure)
            .unwrap();
        assert_eq!(row.values.len(), 4);
        let [low, high] = figure.range;
        assert!(
            row.values
                .iter()
                .flatten()
                .all(|v| *v >= low - 1e-9 && *v <= high + 1e-9),
            "{row:?} outside {:?}",
            figure.range
        );
    }
    let shifts = map_shift::INFO.figures.len();
    assert_eq!(
        (whole.rows.len(), whole.input_tests.len()),
        (
            2 * (2 * figures.len() - shifts),
            2 * (figures.len() - shifts)
        )
    );
    assert_eq!(whole.explainer_tests.len(), 2 * figures.len() - shifts);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() * 2 / 3]).unwrap();
    assert_eq!(
        evaluate(&job, Some(&path), &mut |_, _| {}).unwrap(),
        whole,
        "going on"
    );
    assert_eq!(
        evaluate(&job, Some(&path), &mut |_, _| {}).unwrap(),
        whole,
        "from a whole state"
    );
}

/// A batch gives what its examples give, whatever the cap, but for metrics that look at the rest of
/// the batch.
#[test]
fn batch_equals_singles() {
    let image = [1, 12, 12];
    let net = zoo(Architecture::CnnTiny, image);
    let oracle = Oracle::new(&net);
    let explainer = crate::explain::list::by_id("integrated-gradients").unwrap();
    let (inputs, threat) = (two_inputs(3, image), threat(0.05));
    for metric in all_metrics()
        .iter()
        .filter(|m| !m.info().needs.contains(&Need::Batch))
    {
        let run = |start: usize, len: usize, cap: usize| {
            let context = Context {
                seed: 2,
                names: None,
                cap,
            };
            let (x, targets) = (
                inputs[0].x.rows(start, len),
                &inputs[0].targets[start..start + len],
            );
            let maps = explain(explainer.as_ref(), &oracle, &x, targets, &context).unwrap();
            let subject = Subject {
                oracle: &oracle,
                explainer: explainer.as_ref(),
                x: &x,
                targets,
                maps: &maps,
                threat: &threat,
                context,
            };
            metric.score(&subject).unwrap()
        };
        let whole = run(0, 3, 256);
        assert_eq!(whole, run(0, 3, 5), "{}: cap", metric.info().id);
        for i in 0..3 {
            let single = run(i, 1, 256);
            assert!(
                whole.iter().zip(&single).all(|(w, s)| w[i] == s[0]),
                "{}: example {i}",
                metric.info().id
            );
        }
    }
}

/// Every explainer that applies to the network goes through the entry: all but two that want
/// attention and one that wants maps of the network's own.
#[test]
fn every_explainer_can_be_judged() {
    let image = [1, 12, 12];
    let net = zoo(Architecture::CnnTiny, image);
    let oracle = Oracle::new(&net);
    let make = |id: &str| crate::explain::with_parameters(id, serde_json::json!({}));
    let explainers: Vec<Box<dyn Explainer>> = applicable(&oracle, 256, &make)
        .into_iter()
        .map(|id| make(id).unwrap())
        .collect();
    let metrics: Vec<Box<dyn Metric>> =
        vec![Box::new(Sparseness), by_id("lerf-minus-morf").unwrap()];
    let (inputs, threat) = (two_inputs(2, image), threat(0.05));
    let found = evaluate(
        &job(&oracle, &explainers, &metrics, &inputs, &threat),
        None,
        &mut |_, _| {},
    )
    .unwrap();
    assert_eq!(
        found.rows.len(),
        (crate::explain::ids().len() - 3) * (2 * 2 + 4)
    );
}

/// What an attacked map is compared with is the image itself; nothing left to move scores 1, and a
/// larger ball cannot protect.
#[test]
fn attacked_stability_of_a_map_that_cannot_move_is_one() {
    struct Still;
    impl Explainer for Still {
        fn id(&self) -> &'static str {
            "still"
        }
        fn parameters(&self) -> serde_json::Value {
            serde_json::json!({})
        }
        fn attribute(
            &self,
            _: &dyn Gradients,
            _: &Tensor,
            targets: &[usize],
            _: &Context,
        ) -> Result<Vec<Attribution>> {
            let map: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
            Ok(targets
                .iter()
                .map(|&t| attribution(map.clone(), [8, 8], t))
                .collect())
        }
    }
    let metric = AttackedStabilityParams {
        steps: 2,
        queries: 3,
        ..AttackedStabilityParams::default()
    }
    .check()
    .unwrap();
    let net = zoo(Architecture::CnnTiny, [1, 8, 8]);
    let oracle = Oracle::new(&net);
    let x = pictures(2, [1, 8, 8], 3).cast(Precision::F32);
    let (targets, context, threat) = ([0, 1], Context::default(), threat(0.1));
    let maps = explain(&Still, &oracle, &x, &targets, &context).unwrap();
    let subject = Subject {
        oracle: &oracle,
        explainer: &Still,
        x: &x,
        targets: &targets,
        maps: &maps,
        threat: &threat,
        context,
    };
    for figure in metric.score(&subject).unwrap() {
        assert!(
            figure.iter().all(|v| (v.unwrap() - 1.0).abs() < 1e-9),
            "{figure:?}"
        );
    }
}

/// The attacked image stays in the threat and keeps its class; second derivatives find more than
/// random windows of the same number of explanations, and both more than nothing.
#[test]
fn the_map_attack_keeps_the_class_and_moves_the_map() {
    let image = [1, 16, 16];
    let net = zoo(Architecture::CnnTiny, image);
    let oracle = Oracle::new(&net);
    let x = pictures(6, image, 4).cast(Precision::F32);
    let logits = oracle.logits(&x).unwrap().to_f64();
    let targets: Vec<usize> = logits
        .chunks_exact(5)
        .map(crate::model::answer::argmax)
        .collect();
    let (context, threat) = (Context::default(), threat(0.05));
    let explainer = crate::explain::list::by_id("integrated-gradients").unwrap();
    let maps = explain(explainer.as_ref(), &oracle, &x, &targets, &context).unwrap();
    let subject = Subject {
        oracle: &oracle,
        explainer: explainer.as_ref(),
        x: &x,
        targets: &targets,
        maps: &maps,
        threat: &threat,
        context,
    };
    let overlap = |steps, queries| {
        let moved = crate::attack::map::walk::MapAttack {
            steps,
            path: 4,
            beta: 30.0,
            queries,
            top: 0.1,
        }
        .run(&subject)
        .unwrap();
        let mut sum = 0.0;
        for (i, (image, map)) in moved.images.iter().zip(&moved.maps).enumerate() {
            let [was, is] = [subject.image(i), image.clone()]
                .map(|v| v.iter().map(|&v| v as f32).collect::<Vec<f32>>());
            assert!(threat.contains(&was, &is));
            let z = oracle
                .logits(&subject.images(image.clone()))
                .unwrap()
                .to_f64();
            assert_eq!(crate::model::answer::argmax(&z), targets[i]);
            sum +=
                crate::measure::similarity::top_k_overlap(&subject.map(i), map, 0.1).unwrap() / 6.0;
        }
        sum
    };
    let (slopes, windows) = (overlap(8, 0), overlap(0, 8));
    assert!(
        slopes < windows && windows < 1.0 && slopes < 0.8,
        "{slopes} by second derivatives, {windows} by windows"
    );
}

#[test]
fn misuse_is_refused() {
    let image = [1, 12, 12];
    let net = zoo(Architecture::CnnTiny, image);
    let oracle = Oracle::new(&net);
    let explainers: Vec<Box<dyn Explainer>> =
        vec![crate::explain::list::by_id("grad-cam-pp").unwrap()];
    let (inputs, threat) = (two_inputs(2, image), threat(0.05));
    let run = |metrics: &[Box<dyn Metric>], inputs: &[EvaluationInput]| {
        evaluate(
            &job(&oracle, &explainers, metrics, inputs, &threat),
            None,
            &mut |_, _| {},
        )
    };
    let twice: Vec<Box<dyn Metric>> = vec![Box::new(Sparseness), Box::new(Sparseness)];
    let told = run(&twice, &inputs).unwrap_err().to_string();
    assert!(told.contains("sparseness"), "{told}");
    assert!(run(&[], &[]).is_err());
    let mut short = inputs.clone();
    short[1].targets.pop();
    assert!(run(&[], &short).is_err());
    assert!(run(&[], &inputs).is_ok() && by_id("map-shift").is_none() && by_id("magic").is_none());
    assert!(
        Deletion::new(CurveParams {
            steps: 0,
            ..Deletion::DEFAULT
        })
        .is_err()
    );
    assert!(
        MaxSensitivity::new(NoiseParams {
            radius: f64::NAN,
            ..MaxSensitivity::DEFAULT
        })
        .is_err()
    );
    let given = with_parameters("insertion", serde_json::json!({ "steps": 5 }))
        .unwrap()
        .parameters();
    assert_eq!(
        given,
        serde_json::json!(CurveParams {
            steps: 5,
            ..Insertion::DEFAULT
        })
    );
    assert!(with_parameters("insertion", serde_json::json!({ "stepz": 5 })).is_err());
    assert!(
        RoadParams {
            percentages: vec![101.0],
            ..RoadParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        AttackedStabilityParams {
            top: f64::NAN,
            ..AttackedStabilityParams::default()
        }
        .check()
        .is_err()
    );
    assert!(serde_json::from_str::<RoadParams>(r#"{"noises": 3}"#).is_err());
}

/// A map that is the same everywhere has no figure and is in no mean; how many there are is said.
#[test]
fn maps_that_found_nothing_are_left_out() {
    struct Half;
    impl Explainer for Half {
        fn id(&self) -> &'static str {
            "half"
        }

        fn parameters(&self) -> serde_json::Value {
            serde_json::json!({})
        }

        fn attribute(
            &self,
            _: &dyn Gradients,
            _: &Tensor,
            targets: &[usize],
            _: &Context<'_>,
        ) -> Result<Vec<Attribution>> {
            let one = |&target: &usize| {
                let value = |i| if target == 1 { 0.0 } else { (i as f32).sin() };
                attribution((0..64).map(value).collect(), [8, 8], target)
            };
            Ok(targets.iter().map(one).collect())
        }
    }
    let net = zoo(Architecture::CnnTiny, [1, 8, 8]);
    let oracle = Oracle::new(&net);
    let explainers: Vec<Box<dyn Explainer>> = vec![Box::new(Half)];
    let metrics: Vec<Box<dyn Metric>> =
        vec![Box::new(Sparseness), by_id("lerf-minus-morf").unwrap()];
    let (inputs, threat) = (two_inputs(2, [1, 8, 8]), threat(0.05));
    let job = job(&oracle, &explainers, &metrics, &inputs, &threat);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let found = evaluate(&job, Some(&state), &mut |_, _| {}).unwrap();
    assert!(found.rows.iter().any(|r| r.metric == "map-shift"));
    for row in &found.rows {
        assert!(
            row.n == 1 && row.values[0].is_some() && row.values[1].is_none(),
            "{row:?}"
        );
    }
    let counts = found
        .nothing_found
        .iter()
        .map(|f| (f.input.as_str(), f.maps));
    assert_eq!(counts.collect::<Vec<_>>(), [("clean", 1), ("moved", 1)]);
    assert_eq!(evaluate(&job, Some(&state), &mut |_, _| {}).unwrap(), found);
    let maps = explain(&Half, &oracle, &inputs[0].x, &[0, 1], &Context::default()).unwrap();
    let withheld = [None, Some("nothing found for this class")];
    assert_eq!([0, 1].map(|i| maps[i].withheld.as_deref()), withheld);
}
