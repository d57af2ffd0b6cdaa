//! The masking verdict on trained models: planted defences are seen for what they are, honest
//! training is believed.

use fgmf::attack::{AttackLoss, PgdParams, WhiteBox, run_white_box};
use fgmf::data::Batch;
use fgmf::data::{Split, load};
use fgmf::defend::{
    AdditiveNoiseParams, BitDepthParams, JpegParams, KWtaParams, LogitScalingParams,
    LyingGateParams, RateEncodingParams, ThermometerParams, bypass_rules, served_rules,
    with_bit_depth, with_jpeg, with_logit_scaling, with_lying_gate, with_thermometer,
};
use fgmf::model::{Averaged, Gradients, Oracle, Served, Transform};
use fgmf::study::suite;
use fgmf::threat::{Norm, ThreatModel};
use fgmf::train::{DistillationParams, ObjectiveConfig, TrainConfig, fit};
use fgmf::verdict::probes::{ProbeParams, Target, gather};
use fgmf::verdict::{Level, Sign, Verdict, judge};
use fgmf_net::zoo::Architecture;
use fgmf_net::{Precision, Session, Tensor, onnx};
use std::path::Path;

fn model(name: &str) -> Session {
    let net = onnx::read(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/autoattack")
            .join(name),
    )
    .unwrap();
    Session::new(net)
}

fn batch() -> Batch {
    let data = load("fashion-mnist-mini", Split::Test).unwrap();
    let rows: Vec<usize> = (0..64).collect();
    let x = Tensor::new::<f32>(&[64, 1, 28, 28], data.images(&rows).unwrap());
    Batch {
        x,
        labels: rows.iter().map(|&i| data.label(i)).collect(),
        index: (0..64).collect(),
    }
}

fn verdict(target: &Target<'_>) -> Verdict {
    let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
    let params = ProbeParams {
        directions: 20,
        ..ProbeParams::default()
    };
    judge(
        &gather(target, &batch(), &threat, &params, 0)
            .unwrap()
            .evidence,
    )
}

fn of_network(net: &Session) -> Verdict {
    let model = Oracle::with_rules(net, served_rules(net).unwrap());
    let cast = net.cast(Precision::F64);
    let double = Oracle::with_rules(&cast, served_rules(&cast).unwrap());
    let around = bypass_rules(net).map(|rules| Oracle::with_rules(net, rules));
    verdict(&Target {
        bypass: around.as_ref().map(|o| o as &dyn Gradients),
        double: Some(&double),
        ..Target::new(&model)
    })
}

#[test]
fn planted_defences_are_masked_by_the_right_flag() {
    let net = model("standard.onnx");
    assert_eq!(
        of_network(&net).level,
        Level::Trustworthy,
        "without a defence: {:?}",
        of_network(&net).flags
    );
    let rounding: &[Sign] = &[
        Sign::ZeroGradient,
        Sign::LargerEpsDoesNotHelp,
        Sign::UnboundedAttackFails,
        Sign::BypassBeatsPlain,
    ];
    let planted = [
        (with_bit_depth(&net, &BitDepthParams::default()), rounding),
        (with_jpeg(&net, &JpegParams::default()), rounding),
        (
            with_thermometer(&net, &ThermometerParams::default()),
            rounding,
        ),
        (
            with_logit_scaling(&net, &LogitScalingParams::default()),
            &[
                Sign::ZeroGradient,
                Sign::Saturation,
                Sign::UnboundedAttackFails,
            ],
        ),
        (
            with_lying_gate(&net, &LyingGateParams::default()),
            &[Sign::GradientContradicted, Sign::BypassBeatsPlain],
        ),
    ];
    for (defended, expected) in planted {
        let defended = Session::new(defended.unwrap());
        let v = of_network(&defended);
        assert_eq!(v.level, Level::Masked, "{:?}", defended.metadata);
        assert!(
            expected.iter().all(|s| v.has(*s)),
            "{:?}: expected {expected:?}, found {:?}",
            defended.metadata,
            v.flags
        );
    }
}

/// A network trained for a moment on the first images of the slice.
fn trained(edit: impl Fn(&mut TrainConfig)) -> (tempfile::TempDir, Session) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = TrainConfig::new(
        "fashion-mnist-mini",
        Architecture::CnnTiny,
        ObjectiveConfig::parse("standard").unwrap(),
        0.1,
    );
    (config.epochs, config.limit) = (6, Some(2000));
    edit(&mut config);
    let mut data = load("fashion-mnist-mini", Split::Train).unwrap();
    data.truncate(2000).unwrap();
    let (net, _) = fit(&config, &data, folder.path(), &mut |_| {}).unwrap();
    (folder, Session::new(net))
}

fn broken(net: &Session, attack: &dyn WhiteBox, eps: f64) -> usize {
    let threat = ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap();
    let batch = batch();
    let found = run_white_box(attack, &Oracle::new(net), &batch, &threat, 0).unwrap();
    found.success.iter().filter(|won| **won).count()
}

/// Distillation hides the gradient of cross-entropy from PGD, and is named; the margin does not
/// care.
#[test]
fn defensive_distillation_is_masked_and_falls_to_the_margin() {
    let distilled = |teacher: Option<String>| {
        trained(|c| {
            let params = DistillationParams {
                temperature: 50.0,
                teacher: teacher.clone(),
                teacher_sha256: None,
            };
            c.objective = ObjectiveConfig::new("distillation", &params).unwrap();
        })
    };
    let (folder, _) = distilled(None);
    let (_student, net) = distilled(Some(
        folder
            .path()
            .join("model.onnx")
            .to_str()
            .unwrap()
            .to_owned(),
    ));
    let v = of_network(&net);
    assert_eq!(v.level, Level::Masked, "{:?}", v.flags);
    assert!(
        v.has(Sign::ZeroGradient) || v.has(Sign::Saturation),
        "{:?}",
        v.flags
    );
    let pgd = |loss| {
        PgdParams {
            steps: 50,
            loss,
            ..PgdParams::default()
        }
        .check()
        .unwrap()
    };
    let (plain, margin) = (
        broken(&net, &pgd(AttackLoss::CrossEntropy), 0.1),
        broken(&net, &pgd(AttackLoss::Margin), 0.1),
    );
    assert!(
        margin > plain + 8,
        "cross-entropy breaks {plain} of 64, the margin {margin}"
    );
}

/// k-winners-take-all is named, and the adaptive suite looks at it with smoothed gradients.
#[test]
fn k_winners_take_all_is_masked_and_gets_smoothed_gradients() {
    let (_folder, net) = trained(|c| c.k_wta = Some(KWtaParams { share: 0.1 }));
    let v = of_network(&net);
    assert!(
        v.has(Sign::GradientContradicted) && v.level != Level::Trustworthy,
        "{:?}",
        v.flags
    );
    let names: Vec<String> = suite("adaptive", &net, Norm::Linf)
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert!(names.contains(&"apgd-ce-smooth".to_owned()), "{names:?}");
}

#[test]
fn random_answers_are_suspicious_and_adversarial_training_is_believed() {
    let net = model("standard.onnx");
    let oracle = Oracle::new(&net);
    let noise = AdditiveNoiseParams::default().check().unwrap();
    let spikes = RateEncodingParams { steps: 8 }.check().unwrap();
    let transforms: [&dyn Transform; 2] = [&noise, &spikes];
    for transform in transforms {
        let served = Served::new(&oracle, transform, 1);
        let mean = Averaged::new(&served, 3).unwrap();
        let v = verdict(&Target {
            bypass: Some(&mean),
            ..Target::new(&served)
        });
        assert!(
            v.has(Sign::RandomisedOutput) && v.level != Level::Trustworthy,
            "{}: {:?}",
            transform.id(),
            v.flags
        );
    }
    let v = of_network(&model("adversarial.onnx"));
    assert_eq!(v.level, Level::Trustworthy, "{:?}", v.flags);
}
