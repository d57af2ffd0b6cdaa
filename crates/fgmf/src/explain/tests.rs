//! What every method must keep to, and planted truths.

use super::*;
use crate::error::{Error, Result};
use crate::model::Gradients;
use crate::model::access::{FeatureGradient, Scores};
use crate::model::counted::Counted;
use crate::model::oracle::Oracle;
use fgmf_net::head::Head;
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Network, Precision, Session, Tensor, ValueId};

fn zoo(architecture: Architecture, image: [usize; 3]) -> Session {
    let (mean, deviation) = (vec![0.3; image[0]], vec![0.4; image[0]]);
    let net = build(&ZooConfig {
        architecture,
        activation: Activation::Relu,
        image,
        classes: 5,
        mean,
        deviation,
        seed: 3,
    })
    .unwrap();
    // With maps of its own, so that `sgam` applies, too.
    let mut net = with_map(&net, &SgamMapParams::default(), 3).unwrap();
    let teacher = Inner {
        id: "gradient-shap".into(),
        parameters: serde_json::json!({}),
    };
    sgam::branch::drawn_at_random(&mut net);
    sgam::branch::taught_by(&mut net, &teacher);
    Session::new(net)
}

/// The method with few samples, so that tests are quick.
fn quick(id: &str) -> Box<dyn Explainer> {
    let parameters = match id {
        "rise" => serde_json::json!({ "masks": 40 }),
        "kernel-shap" => serde_json::json!({ "samples": 60 }),
        "gradient-shap" => serde_json::json!({ "samples": 5, "sigma": 0.1 }),
        "integrated-gradients" => serde_json::json!({ "steps": 6 }),
        "smooth-grad" | "square-grad" | "var-grad" => serde_json::json!({ "samples": 4 }),
        _ => serde_json::json!({}),
    };
    with_parameters(id, parameters).unwrap()
}

/// Whether the method refuses networks without attention.
fn wants_attention(id: &str) -> bool {
    ["attention-rollout", "transformer-attribution"].contains(&id)
}

fn bits(maps: &[Attribution]) -> Vec<(Vec<u32>, Option<u64>, Option<u64>)> {
    let of = |a: &Attribution| {
        let values = a.values.values.iter().map(|v| v.to_bits()).collect();
        (
            values,
            a.agreement.map(f64::to_bits),
            a.completeness_gap.map(f64::to_bits),
        )
    };
    maps.iter().map(of).collect()
}

#[test]
fn methods_that_apply_are_found() {
    for (architecture, image) in [
        (Architecture::CnnTiny, [1, 12, 12]),
        (Architecture::ConvvitTiny, [3, 16, 16]),
    ] {
        let net = zoo(architecture, image);
        let expected: Vec<&str> = ids()
            .into_iter()
            .filter(|id| architecture == Architecture::ConvvitTiny || !wants_attention(id))
            .collect();
        let defaults = |id: &str| with_parameters(id, serde_json::json!({}));
        assert_eq!(applicable(&Oracle::new(&net), 64, &defaults), expected);
    }
}

#[test]
fn batch_equals_singles_and_the_cap_changes_nothing() {
    for (architecture, image) in [
        (Architecture::CnnTiny, [1, 28, 28]),
        (Architecture::ConvvitTiny, [3, 16, 16]),
    ] {
        let net = zoo(architecture, image);
        let oracle = Oracle::new(&net);
        let [c, h, w] = image;
        let x = toy::images([3, c, h, w], 5).cast(Precision::F32);
        let targets = [1, 4, 0];
        let transformer = architecture == Architecture::ConvvitTiny;
        for method in ids()
            .into_iter()
            .filter(|id| transformer || !wants_attention(id))
            .map(quick)
        {
            let run = |x: &Tensor, targets: &[usize], cap| {
                bits(
                    &explain(
                        method.as_ref(),
                        &oracle,
                        x,
                        targets,
                        &Context {
                            seed: 9,
                            names: None,
                            cap,
                        },
                    )
                    .unwrap(),
                )
            };
            let whole = run(&x, &targets, 256);
            assert_eq!(whole, run(&x, &targets, 256), "{}: same seed", method.id());
            assert_eq!(whole, run(&x, &targets, 7), "{}: cap 7", method.id());
            assert_eq!(whole, run(&x, &targets, 1), "{}: cap 1", method.id());
            let singles: Vec<_> = (0..3)
                .flat_map(|i| run(&x.rows(i, 1), &targets[i..=i], 64))
                .collect();
            assert_eq!(whole, singles, "{}: singles", method.id());
            let turned = [2, 0, 1].map(|i| x.rows(i, 1));
            let elsewhere = run(&Tensor::concat(&turned, 0), &[0, 1, 4], 64);
            let of = |i: usize| elsewhere[i].clone();
            assert_eq!(whole, [of(1), of(2), of(0)], "{}: place", method.id());
        }
    }
}

#[test]
fn maps_keep_their_promises() {
    let net = zoo(Architecture::VitTiny, [1, 8, 8]);
    let oracle = Oracle::new(&net);
    let x = toy::images([2, 1, 8, 8], 2).cast(Precision::F32);
    for method in ids().into_iter().map(quick) {
        let maps = explain(method.as_ref(), &oracle, &x, &[0, 1], &Context::default()).unwrap();
        for (map, target) in maps.iter().zip([0, 1]) {
            assert!(
                map.method == method.id() && map.target == target && map.values.values.len() == 64
            );
            assert!(map.signed || map.values.values.iter().all(|v| (0.0..=1.0).contains(v)));
        }
        assert!(method.parameters().is_object());
    }
    assert!(by_id("nothing").is_none());
}

#[test]
fn what_does_not_fit_is_an_error() {
    let net = zoo(Architecture::CnnTiny, [1, 28, 28]);
    let oracle = Oracle::new(&net);
    let x = toy::images([2, 1, 28, 28], 1).cast(Precision::F32);
    let mut holed = x.to_f32();
    holed[5] = f32::NAN;
    let holed = Tensor::new(x.shape(), holed);
    let context = Context::default();
    let wide = toy::images([2, 1, 28, 29], 1).cast(Precision::F32);
    for method in ids().into_iter().map(quick) {
        let run = |x: &Tensor, targets: &[usize], context: &Context| {
            explain(method.as_ref(), &oracle, x, targets, context)
        };
        assert!(
            run(&x, &[0], &context).is_err()
                && run(&x, &[0, 5], &context).is_err()
                && run(&x, &[], &context).is_err()
        );
        assert!(run(&holed, &[0, 1], &context).is_err() && run(&wide, &[0, 1], &context).is_err());
        assert!(run(&x.cast(Precision::F64), &[0, 1], &context).is_err());
        assert!(run(&x.reshape(&[2, 28, 28]), &[0, 1], &context).is_err());
        assert!(run(&x, &[0, 1], &Context { cap: 0, ..context }).is_err());
        match run(&x, &[0, 1], &context) {
            Ok(_) => assert!(!wants_attention(method.id())),
            Err(e) => assert!(
                wants_attention(method.id()) && e.to_string().contains("a network with attention"),
                "{e}"
            ),
        }
    }
    let unknown = grad_cam_pp(CamParams {
        layer: Some("nowhere".into()),
        ..CamParams::default()
    })
    .unwrap();
    let told = explain(&unknown, &oracle, &x, &[0, 1], &context)
        .unwrap_err()
        .to_string();
    assert!(told.contains("layer") && told.contains("nowhere"), "{told}");
}

#[test]
fn a_planted_quarter_is_found() {
    let net = toy::quadrant([2, 16, 16]);
    let oracle = Oracle::new(&net);
    let x = toy::images([2, 2, 16, 16], 8);
    for id in ids().into_iter().filter(|id| !wants_attention(id)) {
        // Masks of RISE are as wide as half the quarter; contrast and variance are about other
        // things. PGCA by percentiles puts what has no effect at the middle of its scale.
        // The network has no maps of its own.
        if ["rise", "var-grad", "pgca", "sgam"].contains(&id) {
            continue;
        }
        for map in explain(
            by_id(id).unwrap().as_ref(),
            &oracle,
            &x,
            &[0, 0],
            &Context::default(),
        )
        .unwrap()
        {
            let size = |inside: bool| -> f32 {
                let here = |i: &usize| (i / 16 < 8 && i % 16 < 8) == inside;
                (0..256)
                    .filter(here)
                    .map(|i| map.values.values[i].abs())
                    .sum()
            };
            let share = size(true) / (size(true) + size(false));
            assert!(
                share > 0.8 && map.withheld.is_none(),
                "{id}: {share}, {:?}",
                map.withheld
            );
        }
    }
}

#[test]
fn a_model_is_unchanged_by_an_explanation_that_fails() {
    let net = zoo(Architecture::CnnTiny, [1, 28, 28]);
    let oracle = Oracle::new(&net);
    let limited = Counted::new(&oracle).budget(40);
    let x = toy::images([2, 1, 28, 28], 1).cast(Precision::F32);
    let before = net.logits(&x).unwrap().to_f32();
    let pgca = by_id("pgca").unwrap();
    assert!(matches!(
        explain(
            pgca.as_ref(),
            &limited,
            &x,
            &[0, 1],
            &Context {
                cap: 10,
                ..Context::default()
            }
        ),
        Err(Error::Budget { .. })
    ));
    assert_eq!(before, net.logits(&x).unwrap().to_f32());
}

/// Every method on every network of the zoo: a map, or a refusal that says why.
#[test]
fn every_zoo_network_is_explained() {
    for architecture in Architecture::ALL {
        let net = zoo(architecture, [1, 8, 8]);
        let oracle = Oracle::new(&net);
        let x = toy::images([1, 1, 8, 8], 5).cast(Precision::F32);
        let transformer =
            [Architecture::VitTiny, Architecture::ConvvitTiny].contains(&architecture);
        // Methods that only ask for many logits learn nothing from a network of 10 GFLOP.
        let dear = |id: &str| {
            architecture == Architecture::Wrn28x10
                && [
                    "score-cam",
                    "pgca",
                    "pgca-published",
                    "occlusion",
                    "rise",
                    "kernel-shap",
                ]
                .contains(&id)
        };
        for id in ids().into_iter().filter(|id| !dear(id)) {
            match explain(quick(id).as_ref(), &oracle, &x, &[2], &Context::default()) {
                // Class activation maps may be cut to zeros.
                Ok(maps) => {
                    let shown = maps[0].values.values.iter().any(|v| v.abs() > 0.0)
                        || maps[0].layer.is_some();
                    assert!(shown, "{id} on {}: nothing", architecture.name());
                }
                Err(e) => assert!(
                    wants_attention(id) && !transformer && e.to_string().contains("attention"),
                    "{id}: {e}"
                ),
            }
        }
    }
}

/// What sums to a difference of logits does so on every network of the zoo, attention, gates and
/// normalisations included.
#[test]
fn complete_methods_are_complete_on_every_zoo_network() {
    for architecture in Architecture::ALL {
        let net = zoo(architecture, [1, 8, 8]);
        let oracle = Oracle::new(&net);
        let x = toy::images([2, 1, 8, 8], 5).cast(Precision::F32);
        for id in ["deep-lift", "deep-shap"] {
            for map in explain(
                quick(id).as_ref(),
                &oracle,
                &x,
                &[2, 0],
                &Context::default(),
            )
            .unwrap()
            {
                assert!(
                    map.completeness_gap.unwrap() < 0.01,
                    "{id} on {}: {:?}",
                    architecture.name(),
                    map.completeness_gap
                );
            }
        }
    }
}

/// Single against double precision: the slow walk is the twin of the fast plan.
#[test]
fn double_precision_agrees() {
    for (architecture, image) in [
        (Architecture::CnnTiny, [1, 16, 16]),
        (Architecture::ConvvitTiny, [1, 16, 16]),
    ] {
        let net = zoo(architecture, image);
        let exact = net.cast(Precision::F64);
        let x = toy::images([2, 1, 16, 16], 5).cast(Precision::F32);
        for id in ids()
            .iter()
            .copied()
            .filter(|id| architecture == Architecture::ConvvitTiny || !wants_attention(id))
        {
            let run = |net: &Session, x: &Tensor| {
                explain(
                    quick(id).as_ref(),
                    &Oracle::new(net),
                    x,
                    &[1, 3],
                    &Context::default(),
                )
                .unwrap()
            };
            for (a, b) in run(&net, &x)
                .iter()
                .zip(&run(&exact, &x.cast(Precision::F64)))
            {
                let largest = b.values.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                // Class activation maps may be cut to zeros, by both.
                let scale = if largest > 0.0 { largest } else { 1.0 };
                let gap = a
                    .values
                    .values
                    .iter()
                    .zip(&b.values.values)
                    .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()))
                    / scale;
                assert!(gap < 2e-3, "{id} on {}: {gap}", architecture.name());
            }
        }
    }
}

/// A model seen through nothing but losses and gradients.
struct Wrapped<'a>(&'a Oracle<'a>);

impl Scores for Wrapped<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.0.image_shape()
    }

    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.0.logits(x)
    }
}

impl Gradients for Wrapped<'_> {
    fn network(&self) -> &Network {
        self.0.network()
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> Result<FeatureGradient> {
        self.0.feature_gradient(x, head, at)
    }
}

/// A model that is more than one network has no nodes to look at; methods that need them say so,
/// the others work.
#[test]
fn wrapped_models_are_refused_where_nodes_are_needed() {
    let net = zoo(Architecture::CnnTiny, [1, 16, 16]);
    let oracle = Oracle::new(&net);
    let wrapped = Wrapped(&oracle);
    let x = toy::images([1, 1, 16, 16], 5).cast(Precision::F32);
    for id in ids().into_iter().filter(|id| !wants_attention(id)) {
        let inside = [
            "guided-backprop",
            "deep-lift",
            "deep-shap",
            "lrp-epsilon",
            "lrp-alpha-beta",
            "sgam",
        ]
        .contains(&id);
        match explain(quick(id).as_ref(), &wrapped, &x, &[1], &Context::default()) {
            Ok(_) => assert!(!inside, "{id}"),
            Err(e) => assert!(
                inside && e.to_string().contains("a model that is one network"),
                "{id}: {e}"
            ),
        }
    }
}

#[test]
fn parameters_come_by_name() {
    for id in ids() {
        let method = by_id(id).unwrap();
        assert_eq!(method.id(), id);
        // What a method reports makes the same method again.
        assert_eq!(
            with_parameters(id, method.parameters())
                .unwrap()
                .parameters(),
            method.parameters(),
            "{id}"
        );
        assert!(
            with_parameters(id, serde_json::json!({ "no such thing": 1 })).is_err(),
            "{id}"
        );
        assert!(with_parameters(id, serde_json::json!([1])).is_err(), "{id}");
    }
    assert!(
        with_parameters("nothing", serde_json::json!({}))
            .err()
            .unwrap()
            .to_string()
            .contains("saliency")
    );
    assert!(with_parameters("smooth-grad", serde_json::json!({ "moment": "square" })).is_ok());
}
