//! What every method must keep to, and planted truths.

use super::*;
use crate::oracle::Oracle;
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Network, Precision};

fn zoo(architecture: Architecture, image: [usize; 3]) -> Network {
    let (mean, deviation) = (vec![0.3; image[0]], vec![0.4; image[0]]);
    build(&ZooConfig { architecture, activation: Activation::Relu, image, classes: 5, mean, deviation, seed: 3 }).unwrap()
}

fn bits(maps: &[Attribution]) -> Vec<(Vec<u32>, Option<u64>, Option<u64>)> {
    let of = |a: &Attribution| {
        let values = a.values.values.iter().map(|v| v.to_bits()).collect();
        (values, a.agreement.map(f64::to_bits), a.completeness_gap.map(f64::to_bits))
    };
    maps.iter().map(of).collect()
}

#[test]
fn batch_equals_singles_and_the_cap_changes_nothing() {
    for (architecture, image) in [(Architecture::CnnTiny, [1, 28, 28]), (Architecture::ConvvitTiny, [3, 16, 16])] {
        let net = zoo(architecture, image);
        let oracle = Oracle::new(&net);
        let [c, h, w] = image;
        let x = toy::images([3, c, h, w], 5).cast(Precision::F32);
        let targets = [1, 4, 0];
        for method in IDS.iter().map(|id| by_id(id).unwrap()) {
            let run = |x: &Tensor, targets: &[usize], first_index, cap| {
                bits(&explain(method.as_ref(), &oracle, x, targets, &Context { seed: 9, first_index, cap }).unwrap())
            };
            let whole = run(&x, &targets, 100, 256);
            assert_eq!(whole, run(&x, &targets, 100, 256), "{}: same seed", method.id());
            assert_eq!(whole, run(&x, &targets, 100, 7), "{}: cap 7", method.id());
            assert_eq!(whole, run(&x, &targets, 100, 1), "{}: cap 1", method.id());
            let singles: Vec<_> = (0..3).flat_map(|i| run(&x.rows(i, 1), &targets[i..=i], 100 + i as u64, 64)).collect();
            assert_eq!(whole, singles, "{}: singles", method.id());
        }
    }
}

#[test]
fn maps_keep_their_promises() {
    let net = zoo(Architecture::VitTiny, [1, 8, 8]);
    let oracle = Oracle::new(&net);
    let x = toy::images([2, 1, 8, 8], 2).cast(Precision::F32);
    for method in IDS.iter().map(|id| by_id(id).unwrap()) {
        let maps = explain(method.as_ref(), &oracle, &x, &[0, 1], &Context::default()).unwrap();
        for (map, target) in maps.iter().zip([0, 1]) {
            assert!(map.method == method.id() && map.target == target && map.values.values.len() == 64);
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
    for method in IDS.iter().map(|id| by_id(id).unwrap()) {
        let run = |x: &Tensor, targets: &[usize], context: &Context| explain(method.as_ref(), &oracle, x, targets, context);
        assert!(run(&x, &[0], &context).is_err() && run(&x, &[0, 5], &context).is_err() && run(&x, &[], &context).is_err());
        assert!(run(&holed, &[0, 1], &context).is_err() && run(&wide, &[0, 1], &context).is_err());
        assert!(run(&x.cast(Precision::F64), &[0, 1], &context).is_err());
        assert!(run(&x.reshape(&[2, 28, 28]), &[0, 1], &context).is_err());
        assert!(run(&x, &[0, 1], &Context { cap: 0, ..context }).is_err());
        assert!(run(&x, &[0, 1], &context).is_ok());
    }
    let unknown = GradCamPpParams { layer: Some("nowhere".into()) }.check().unwrap();
    let told = explain(&unknown, &oracle, &x, &[0, 1], &context).unwrap_err().to_string();
    assert!(told.contains("layer") && told.contains("nowhere"), "{told}");
}

#[test]
fn a_planted_quarter_is_found() {
    let net = toy::quadrant([2, 16, 16]);
    let oracle = Oracle::new(&net);
    let x = toy::images([2, 2, 16, 16], 8);
    for id in ["integrated-gradients", "pgca"] {
        for map in explain(by_id(id).unwrap().as_ref(), &oracle, &x, &[0, 0], &Context::default()).unwrap() {
            let size = |inside: bool| -> f32 {
                let here = |i: &usize| (i / 16 < 8 && i % 16 < 8) == inside;
                (0..256).filter(here).map(|i| map.values.values[i].abs()).sum()
            };
            let share = size(true) / (size(true) + size(false));
            assert!(share > 0.8 && map.withheld.is_none(), "{id}: {share}, {:?}", map.withheld);
        }
    }
}

#[test]
fn a_model_is_unchanged_by_an_explanation_that_fails() {
    let net = zoo(Architecture::CnnTiny, [1, 28, 28]);
    let oracle = Oracle::new(&net).budget(40);
    let x = toy::images([2, 1, 28, 28], 1).cast(Precision::F32);
    let before = net.logits(&x).unwrap().to_f32();
    let pgca = by_id("pgca").unwrap();
    assert!(matches!(explain(pgca.as_ref(), &oracle, &x, &[0, 1], &Context { cap: 10, ..Context::default() }), Err(Error::Budget { .. })));
    assert_eq!(before, net.logits(&x).unwrap().to_f32());
}
