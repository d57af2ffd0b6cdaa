//! A given model goes on training: what changes in its file, what stays, and which epoch is kept.

use crate::training::halves;
use fgmf::data::{Dataset, class_names};
use fgmf::defend::{SgamParams, has_mask};
use fgmf::input::{Preprocessing, find_beside, preprocessed};
use fgmf::record::ModelFile;
use fgmf::store::{read_model, write_model};
use fgmf::train::{
    AugmentParams, GivenModel, ObjectiveConfig, Run, TrainConfig, ValidationParams, find_rate, fit,
    fit_from,
};
use fgmf_net::op::{Op, Softmax};
use fgmf_net::zoo::Architecture;
use fgmf_net::{Builder, Network, Session, onnx};
use std::path::{Path, PathBuf};

/// How images are prepared for the given model.
fn prepared() -> Preprocessing {
    Preprocessing {
        scale: 2.0,
        mean: vec![0.5],
        std: vec![0.8],
        bgr: false,
    }
}

/// A file that a user might bring: trained without attacks, ends in a softmax, says nothing of how
/// it came to be.
pub(crate) fn given(folder: &Path) -> (PathBuf, ModelFile) {
    let objective = ObjectiveConfig::parse("standard").unwrap();
    let mut config = TrainConfig::new("halves", Architecture::CnnTiny, objective, 0.05);
    (config.epochs, config.batch) = (2, 16);
    let net = fit(&config, &halves(48), &folder.join("given"), &mut |_| {}).unwrap();
    let net = net.0;
    let mut b = Builder::new("user's", "pixels", net.image_shape()).unwrap();
    let image = b.input();
    let z = net.graft(&mut b, image).unwrap();
    let softmax = Softmax {
        axis: 1,
        log: false,
    };
    let p = b.node("p", Op::Softmax(softmax), &[z]).unwrap();
    let mut net = b.finish(p).unwrap();
    net.metadata.insert("author".into(), "somebody".into());
    let path = folder.join("given.onnx");
    let file = ModelFile {
        file: "given.onnx".into(),
        sha256: write_model(&path, &net).unwrap(),
        preprocessing: Some(prepared()),
        output: None,
        input_size: None,
    };
    (path, file)
}

pub(crate) fn settings(file: &ModelFile) -> TrainConfig {
    let objective = ObjectiveConfig::parse("pgd-at").unwrap();
    let mut config = TrainConfig::going_on("halves", file.clone(), objective, 0.1);
    (config.epochs, config.batch, config.learning_rate) = (3, 16, 1e-2);
    config.validation = Some(ValidationParams {
        share: 0.25,
        ..ValidationParams::default()
    });
    config
}

fn names() -> Option<Vec<String>> {
    Some(vec!["left".into(), "right".into()])
}

pub(crate) fn hardened(
    config: &TrainConfig,
    path: &Path,
    data: &Dataset,
    to: &Path,
) -> (Network, Run) {
    let start = GivenModel::read(config, path, names()).unwrap();
    let (net, mut run) = fit_from(config, Some(&start), data, to, &mut |_| {}).unwrap();
    run.log.iter_mut().for_each(|e| e.seconds = 0.0);
    (net, run)
}

fn numbers(net: &Network, name: &str) -> Vec<f32> {
    let id = net.find(name).unwrap();
    net.parameter(id).unwrap().to_f32()
}

#[test]
fn the_file_is_the_given_one_with_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let data = halves(64);
    let out = folder.path().join("out");
    let (net, run) = hardened(&settings(&file), &path, &data, &out);
    let (own, _) = read_model(&path).unwrap();
    let (new, _) = read_model(&out.join("model.onnx")).unwrap();
    let shown = |net: &Network| {
        let nodes = net.nodes().iter().map(|n| format!("{} {:?}", n.name, n.op));
        let values = net.values().iter().map(|v| v.name.clone());
        (nodes.collect::<Vec<_>>(), values.collect::<Vec<_>>())
    };
    assert_eq!(shown(&own), shown(&new));
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    let trained = own.trainable();
    assert!(trained.iter().all(|&id| {
        let name = &own.value(id).name;
        numbers(&own, name) != numbers(&new, name)
    }));
    assert_eq!(new.metadata["author"], "somebody");
    assert_eq!(class_names(&new), names());
    // The file itself says how its images are prepared.
    let beside = find_beside(&out.join("model.onnx"), &new).unwrap();
    assert_eq!(beside.preprocessing.unwrap().0, prepared());
    // What came back is what a reader of the file gets: the same answers, before the softmax.
    let x = fgmf::data::batch_of(&data, &[0, 1, 2, 3]).unwrap().x;
    let of = |net: Network| Session::new(net).logits(&x).unwrap();
    let (z, p) = (of(net), of(preprocessed(&new, &prepared()).unwrap()));
    for (z, p) in z.to_f32().chunks(2).zip(p.to_f32().chunks(2)) {
        let expected = 1.0 / (1.0 + (z[1] - z[0]).exp());
        assert!((p[0] - expected).abs() < 1e-5);
    }
    let kept = run.kept.unwrap();
    let best = run.log.iter().map(|e| e.validation.unwrap().rank()).max();
    assert_eq!(
        best.max(Some(kept.before.rank())),
        Some(kept.validation.rank())
    );
    assert!(
        kept.validation.robust.count > kept.before.robust.count,
        "{kept:?}"
    );
    assert_eq!((run.n, kept.validation.robust.n), (48, 16));
}

#[test]
fn an_interrupted_hardening_ends_like_an_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let mut config = settings(&file);
    config.augment = AugmentParams {
        flip: false,
        shift: 1,
    };
    let data = halves(64);
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let want = hardened(&config, &path, &data, &whole).1;
    let start = GivenModel::read(&config, &path, names()).unwrap();
    for epoch in 1..=config.epochs {
        let stop = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            fit_from(&config, Some(&start), &data, &broken, &mut |p| {
                assert!(p.epoch != epoch || p.step < 2, "stopped on purpose")
            })
        }));
        assert!(stop.is_err());
    }
    // Once to the end, and once more, which returns what is done.
    for _ in 0..2 {
        assert!(hardened(&config, &path, &data, &broken).1 == want);
    }
    let bytes = |to: &Path| std::fs::read(to.join("model.onnx")).unwrap();
    assert_eq!(bytes(&whole), bytes(&broken));
}

#[test]
fn frozen_arrays_stay_and_patterns_that_name_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let mut config = settings(&file);
    let (own, _) = read_model(&path).unwrap();
    let all: Vec<String> = own
        .trainable()
        .iter()
        .map(|&id| own.value(id).name.clone())
        .collect();
    let (frozen, free) = (&all[0], all.last().unwrap());
    config.freeze = vec![frozen.clone()];
    config.validation = None;
    let out = folder.path().join("out");
    hardened(&config, &path, &halves(32), &out);
    let (new, _) = read_model(&out.join("model.onnx")).unwrap();
    assert_eq!(numbers(&own, frozen), numbers(&new, frozen));
    assert_ne!(numbers(&own, free), numbers(&new, free));
    let refused = |patterns: &[&str]| {
        config.freeze = patterns.iter().map(|p| (*p).to_owned()).collect();
        GivenModel::read(&config, &path, None)
            .err()
            .unwrap()
            .to_string()
    };
    let mut refused = refused;
    assert!(refused(&["nothing*"]).contains(frozen.as_str()));
    assert!(refused(&["*"]).contains("one in which none does"));
}

#[test]
fn a_mask_layer_stands_behind_the_preprocessing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let mut config = settings(&file);
    config.sgam = Some(SgamParams::default());
    let out = folder.path().join("out");
    let (_, run) = hardened(&config, &path, &halves(32), &out);
    let (new, _) = read_model(&out.join("model.onnx")).unwrap();
    assert!(has_mask(&new) && !new.nodes().iter().any(|n| n.name.contains("fgmf.")));
    assert!(run.notes[0].contains("mask layer"), "{:?}", run.notes);
}

#[test]
fn another_file_in_the_place_of_the_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let config = settings(&file);
    let start = GivenModel::read(&config, &path, None).unwrap();
    let (mut net, _) = read_model(&path).unwrap();
    net.name = "another".into();
    write_model(&path, &net).unwrap();
    assert!(GivenModel::read(&config, &path, None).is_err());
    let out = folder.path().join("out");
    let data = halves(32);
    let error = fit_from(&config, Some(&start), &data, &out, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("put it back"), "{error}");
    // Once it is back, nothing of the run is lost: no epoch is trained again.
    net.name = "user's".into();
    std::fs::write(&path, onnx::to_bytes(&net).unwrap()).unwrap();
    let mut epochs = 0;
    fit_from(&config, Some(&start), &data, &out, &mut |_| epochs += 1).unwrap();
    assert_eq!(epochs, 0);
    // A fresh network is none of its settings.
    assert!(fit(&config, &data, &folder.path().join("fresh"), &mut |_| {}).is_err());
}

#[test]
fn the_rate_with_the_smallest_attacked_loss_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let mut config = settings(&file);
    let start = GivenModel::read(&config, &path, None).unwrap();
    let data = halves(64);
    for first in [1e-5, 1e-2, 10.0] {
        config.learning_rate = first;
        let mut heard = Vec::new();
        let mut watch = |trial: usize, rate: f64, loss| {
            assert_eq!(trial, heard.len() + 1);
            heard.push((rate, loss));
        };
        let found = find_rate(&config, &start, &data, &mut watch).unwrap();
        assert_eq!(found.trials, heard);
        assert!((2..=5).contains(&heard.len()) && heard[0].0.to_bits() == first.to_bits());
        let smallest = heard
            .iter()
            .filter_map(|t| t.1)
            .fold(f64::INFINITY, f64::min);
        let chosen = heard
            .iter()
            .find(|t| t.0.to_bits() == found.chosen.to_bits());
        assert_eq!(chosen.unwrap().1, Some(smallest), "{heard:?}");
    }
}
