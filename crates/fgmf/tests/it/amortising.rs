//! A given model learns to draw its own maps: its answers stay, its file says what taught it, and
//! what is taught of other weights is refused.

use crate::hardening::{given, hardened, settings};
use crate::training::halves;
use fgmf::data::Dataset;
use fgmf::explain::{Context, MAP_KEY, SgamMapParams, explain, with_parameters};
use fgmf::model::Oracle;
use fgmf::record::ModelFile;
use fgmf::store::read_model;
use fgmf::train::{GivenModel, ObjectiveConfig, TrainConfig, fit_from};
use fgmf_net::{Network, Session, Tensor, onnx};
use std::path::{Path, PathBuf};

fn amortising(file: &ModelFile) -> TrainConfig {
    let teacher = serde_json::json!({ "id": "gradient-x-input", "parameters": {} });
    let objective = ObjectiveConfig::parse("amortised-explanation").unwrap();
    let objective = objective.with("teacher", teacher).unwrap();
    TrainConfig {
        objective,
        sgam_map: Some(SgamMapParams {
            cells: Some(4),
            width: 8,
        }),
        validation: None,
        epochs: 6,
        ..settings(file)
    }
}

fn images(data: &Dataset) -> Tensor {
    let [c, h, w] = data.shape();
    let values = (0..data.len() * c * h * w).map(|i| (i * 29 % 97) as f32 / 97.0);
    Tensor::new(&[data.len(), c, h, w], values.collect::<Vec<f32>>())
}

fn bits(net: &Network, x: &Tensor) -> Vec<u32> {
    let logits = Session::new(net.clone()).logits(x).unwrap();
    logits.to_f32().iter().map(|v| v.to_bits()).collect()
}

fn file_of(path: &Path, like: &ModelFile) -> ModelFile {
    ModelFile {
        file: "model.onnx".into(),
        sha256: read_model(path).unwrap().1,
        ..like.clone()
    }
}

#[test]
fn maps_are_learned_and_answers_keep_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let data = halves(48);
    let config = amortising(&file);
    let out = folder.path().join("drawing");
    let (_, run) = hardened(&config, &path, &data, &out);
    let part = |epoch: usize| run.log[epoch].parts[0].1;
    assert_eq!(run.log[0].parts[0].0, "map error");
    // 1 is a map of zeros.
    assert!(
        part(5) < 0.8 && part(5) < part(0),
        "{} to {}",
        part(0),
        part(5)
    );

    let drawn = out.join("model.onnx");
    let (own, _) = read_model(&path).unwrap();
    let (net, _) = read_model(&drawn).unwrap();
    assert_eq!(bits(&own, &images(&data)), bits(&net, &images(&data)));
    assert!(net.metadata[MAP_KEY].contains("gradient-x-input"));
    assert_eq!(net.metadata["author"], "somebody");
    // What trained before trains still, and the maps do not.
    assert_eq!(own.trainable().len(), net.trainable().len());

    let session = Session::new(net);
    let sgam = with_parameters("sgam", serde_json::json!({})).unwrap();
    let x = images(&data).rows(0, 3);
    let maps = |net: &Session| {
        let oracle = Oracle::new(net);
        explain(sgam.as_ref(), &oracle, &x, &[0, 1, 0], &Context::default())
    };
    let first = maps(&session).unwrap();
    assert!(first.iter().all(|m| m.withheld.is_none()));

    // Hardened, the model is another one, whose maps nobody was taught.
    let again = TrainConfig {
        epochs: 1,
        ..settings(&file_of(&drawn, &file))
    };
    let further = folder.path().join("hardened");
    hardened(&again, &drawn, &data, &further);
    let (net, _) = read_model(&further.join("model.onnx")).unwrap();
    let refused = maps(&Session::new(net)).unwrap_err().to_string();
    assert!(refused.contains("of other weights"), "{refused}");

    // And may be taught anew, in the place of the old maps.
    let anew = amortising(&file_of(&further.join("model.onnx"), &file));
    hardened(
        &anew,
        &further.join("model.onnx"),
        &data,
        &folder.path().join("anew"),
    );
    let (net, _) = read_model(&folder.path().join("anew/model.onnx")).unwrap();
    let second = maps(&Session::new(net)).unwrap();
    assert_ne!(first[0].values, second[0].values);
}

/// Stopped after each epoch and begun again, on one thread and two: the same bytes.
#[test]
fn a_stopped_run_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = given(folder.path());
    let config = TrainConfig {
        epochs: 3,
        ..amortising(&file)
    };
    let whole = folder.path().join("whole");
    hardened(&config, &path, &halves(48), &whole);
    let model = |folder: &PathBuf| std::fs::read(folder.join("model.onnx")).unwrap();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let out = folder.path().join(format!("stopped-{threads}"));
        pool.unwrap().install(|| {
            for epoch in 1..=3 {
                let stopped = std::panic::catch_unwind(|| {
                    let start = GivenModel::read(&config, &path, None).unwrap();
                    let mut watch = |p: &fgmf::train::Progress<'_>| {
                        assert!(p.epoch <= epoch, "stopped");
                    };
                    fit_from(&config, Some(&start), &halves(48), &out, &mut watch).unwrap();
                });
                assert_eq!(stopped.is_ok(), epoch == 3);
            }
        });
        assert!(onnx::from_bytes(&model(&out)).is_ok());
        assert_eq!(
            numbers(&model(&whole)),
            numbers(&model(&out)),
            "{threads} threads"
        );
    }
}

/// All stored arrays of a file, by name; class names are the caller's.
fn numbers(bytes: &[u8]) -> Vec<(String, Vec<u32>)> {
    let net = onnx::from_bytes(bytes).unwrap();
    let of = |v: &fgmf_net::Value| {
        let array = net.parameter(net.find(&v.name)?)?;
        let bits = array.to_f32().iter().map(|v| v.to_bits()).collect();
        Some((v.name.clone(), bits))
    };
    net.values().iter().filter_map(of).collect()
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let file = ModelFile {
        file: "given.onnx".into(),
        sha256: String::new(),
        preprocessing: None,
        output: None,
        input_size: None,
    };
    let good = amortising(&file);
    let refused = |config: &TrainConfig| config.check().map(|_| ()).unwrap_err().to_string();
    assert!(good.check().is_ok());
    for bad in [
        TrainConfig {
            sgam_map: None,
            ..good.clone()
        },
        TrainConfig {
            objective: ObjectiveConfig::parse("pgd-at").unwrap(),
            ..good.clone()
        },
    ] {
        assert!(refused(&bad).contains("sgam_map"), "{}", refused(&bad));
    }
    for bad in [
        TrainConfig {
            validation: settings(&file).validation,
            ..good.clone()
        },
        TrainConfig {
            sgam: Some(fgmf::defend::SgamParams::default()),
            ..good.clone()
        },
    ] {
        assert!(refused(&bad).contains("teach maps"), "{}", refused(&bad));
    }
}
