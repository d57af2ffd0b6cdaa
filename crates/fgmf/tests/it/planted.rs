//! The masking verdict on trained models: planted defences are seen for what they are, honest training is believed.

use fgmf::attack::Batch;
use fgmf::attack::probes::{ProbeParams, Target, gather};
use fgmf::attack::verdict::{Level, Sign, Verdict, judge};
use fgmf::data::{Split, load};
use fgmf::defend::{
    AdditiveNoiseParams, Averaged, BitDepthParams, JpegParams, LogitScalingParams, LyingGateParams, Served, ThermometerParams,
    bypass_rules, served_rules, with_bit_depth, with_jpeg, with_logit_scaling, with_lying_gate, with_thermometer,
};
use fgmf::oracle::{Gradients, Oracle};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::{Network, Precision, Tensor, onnx};
use std::path::Path;

fn model(name: &str) -> Network {
    onnx::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/autoattack").join(name)).unwrap()
}

fn batch() -> Batch {
    let data = load("fashion-mnist-mini", Split::Test).unwrap();
    let rows: Vec<usize> = (0..64).collect();
    let x = Tensor::new::<f32>(&[64, 1, 28, 28], data.images(&rows));
    Batch { x, labels: rows.iter().map(|&i| data.label(i)).collect(), index: (0..64).collect() }
}

fn verdict(target: &Target<'_>) -> Verdict {
    let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
    let params = ProbeParams { directions: 20, ..ProbeParams::default() };
    judge(&gather(target, &batch(), &threat, &params, 0).unwrap().evidence)
}

fn of_network(net: &Network) -> Verdict {
    let model = Oracle::with_rules(net, served_rules(net).unwrap());
    let cast = net.cast(Precision::F64);
    let double = Oracle::with_rules(&cast, served_rules(&cast).unwrap());
    let around = bypass_rules(net).map(|rules| Oracle::with_rules(net, rules));
    verdict(&Target { bypass: around.as_ref().map(|o| o as &dyn Gradients), double: Some(&double), ..Target::new(&model) })
}

#[test]
fn planted_defences_are_masked_by_the_right_flag() {
    let net = model("standard.onnx");
    assert_eq!(of_network(&net).level, Level::Trustworthy, "without a defence: {:?}", of_network(&net).flags);
    let rounding: &[Sign] = &[Sign::ZeroGradient, Sign::LargerEpsDoesNotHelp, Sign::UnboundedAttackFails, Sign::BypassBeatsPlain];
    let planted = [
        (with_bit_depth(&net, &BitDepthParams::default()), rounding),
        (with_jpeg(&net, &JpegParams::default()), rounding),
        (with_thermometer(&net, &ThermometerParams::default()), rounding),
        (with_logit_scaling(&net, &LogitScalingParams::default()), &[Sign::ZeroGradient, Sign::Saturation, Sign::UnboundedAttackFails]),
        (with_lying_gate(&net, &LyingGateParams::default()), &[Sign::GradientContradicted, Sign::BypassBeatsPlain]),
    ];
    for (defended, expected) in planted {
        let defended = defended.unwrap();
        let v = of_network(&defended);
        assert_eq!(v.level, Level::Masked, "{:?}", defended.metadata);
        assert!(expected.iter().all(|s| v.has(*s)), "{:?}: expected {expected:?}, found {:?}", defended.metadata, v.flags);
    }
}

#[test]
fn random_answers_are_suspicious_and_adversarial_training_is_believed() {
    let net = model("standard.onnx");
    let oracle = Oracle::new(&net);
    let noise = AdditiveNoiseParams::default().check().unwrap();
    let served = Served::new(&oracle, &noise, 1);
    let mean = Averaged::new(&served, 3).unwrap();
    let v = verdict(&Target { bypass: Some(&mean), ..Target::new(&served) });
    assert!(v.has(Sign::RandomisedOutput) && v.level != Level::Trustworthy, "{:?}", v.flags);
    let v = of_network(&model("adversarial.onnx"));
    assert_eq!(v.level, Level::Trustworthy, "{:?}", v.flags);
}
