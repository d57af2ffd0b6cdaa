//! Pictures that are decoded whenever they are asked for, beside the same held in memory.

use crate::hardening::{given, hardened, settings};
use crate::training::halves;
use fgmf::data::{DataRequest, Dataset, Fit, load_part};
use fgmf::record::{Norm, Split};
use fgmf::store::read_model;
use fgmf::study::{SuiteJob, run_suite, suite};
use fgmf::threat::ThreatModel;
use fgmf::train::{AugmentParams, find_rate};
use fgmf_net::Session;
use std::fs;
use std::path::Path;

/// The images of a data set as PNG files, in a folder for each class, by number.
fn written(data: &Dataset, folder: &Path) {
    let [_, h, w] = data.shape();
    for i in 0..data.len() {
        let bytes = data.image(i).unwrap();
        let bytes = bytes.iter().map(|v| (v * 255.0).round() as u8).collect();
        let image = image::GrayImage::from_raw(w as u32, h as u32, bytes).unwrap();
        let class = folder.join("train").join(&data.classes()[data.label(i)]);
        fs::create_dir_all(&class).unwrap();
        image.save(class.join(format!("{i:03}.png"))).unwrap();
    }
}

/// The data set of a folder, of which so many bytes may be held.
fn opened(folder: &Path, wanted: DataRequest, held: u64) -> Dataset {
    let wanted = wanted.holding(held);
    load_part(folder.to_str().unwrap(), Split::Train, &wanted).unwrap()
}

/// In memory, and on the disk.
fn both(folder: &Path, wanted: DataRequest) -> [Dataset; 2] {
    [1 << 20, 100].map(|held| opened(folder, wanted, held))
}

fn same(held: &Dataset, stored: &Dataset) {
    assert!(held != stored, "both are held, or both are not");
    assert_eq!(held.sha256(), stored.sha256());
    assert_eq!(held.labels(), stored.labels());
    assert_eq!(
        (held.notes(), held.left_out()),
        (stored.notes(), stored.left_out())
    );
    let rows: Vec<usize> = (0..held.len()).rev().collect();
    assert_eq!(held.images(&rows).unwrap(), stored.images(&rows).unwrap());
    for i in rows {
        assert_eq!(held.image_sha256(i), stored.image_sha256(i));
    }
}

#[test]
fn a_folder_is_the_same_data_on_the_disk_as_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    written(&halves(40), folder.path());
    let [mut held, mut stored] = both(folder.path(), DataRequest::default());
    same(&held, &stored);
    for data in [&mut held, &mut stored] {
        data.truncate(7).unwrap();
    }
    same(&held, &stored);
    let [held, stored] = both(folder.path(), DataRequest::new(Some(11), None));
    assert_eq!((held.len(), held.chosen()), (11, stored.chosen()));
    same(&held, &stored);
    let [held, stored] = both(
        folder.path(),
        DataRequest::new(None, Some([3, 5, 5])).fitted(Fit::Middle),
    );
    assert_eq!(held.shape(), [3, 5, 5]);
    same(&held, &stored);
    // The number of images stands at the beginning of what is hashed.
    let class = &halves(1).classes()[halves(1).label(0)].clone();
    fs::write(
        folder.path().join("train").join(class).join("000.png"),
        "none",
    )
    .unwrap();
    let [held, stored] = both(folder.path(), DataRequest::default());
    assert_eq!((held.len(), held.left_out().len()), (39, 1));
    same(&held, &stored);
}

/// The record of an attack and the file of its images, without the seconds.
fn attacked(net: &Session, data: &Dataset, folder: &Path) -> (String, Vec<u8>) {
    let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
    let job = SuiteJob {
        net,
        model_sha256: "of the net",
        data,
        threat: &threat,
        seed: 3,
        cap: usize::MAX,
    };
    let entries = suite("quick", net, Norm::Linf).unwrap();
    let state = folder.join("state.jsonl");
    let mut outcome = run_suite(&entries, &job, Some(&state), &mut |_, _, _| {}).unwrap();
    outcome.rows.iter_mut().for_each(|row| row.seconds = 0.0);
    let path = folder.join("adversarial.safetensors");
    outcome.save_adversarial(&job, &path).unwrap();
    let all = (&outcome.rows, &outcome.examples, &outcome.verdict);
    let record = serde_json::to_string(&(all, outcome.in_8_bits(&job).unwrap())).unwrap();
    fgmf::study::remove_state(&state).unwrap();
    (record, fs::read(path).unwrap())
}

#[test]
fn attacks_and_hardening_give_the_same_bytes_from_the_disk_as_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    written(&halves(300), &pictures);
    let [held, stored] = both(&pictures, DataRequest::default());
    assert!(held != stored);
    let (path, file) = given(folder.path());
    let net = Session::new(read_model(&path).unwrap().0);
    let [a, b] = [&held, &stored].map(|data| attacked(&net, data, folder.path()));
    assert!(a.0.contains("\"robust\":false") && a.0.contains("\"robust\":true"));
    assert_eq!(a, b);
    let mut config = settings(&file);
    (config.epochs, config.batch) = (2, 64);
    config.augment = AugmentParams {
        flip: true,
        shift: 1,
    };
    let [a, b] = [(&held, "a"), (&stored, "b")].map(|(data, name)| {
        let out = folder.path().join(name);
        let run = hardened(&config, &path, data, &out).1;
        (run, fs::read(out.join("model.onnx")).unwrap())
    });
    assert!(a.0.kept.is_some());
    assert_eq!(a, b);
    let start = fgmf::train::GivenModel::read(&config, &path, None).unwrap();
    let [a, b] = [&held, &stored].map(|d| find_rate(&config, &start, d, &mut |_, _, _| {}));
    assert_eq!(a.unwrap(), b.unwrap());
}

#[test]
fn a_file_that_changes_is_an_error_and_no_other_image() {
    let folder = tempfile::tempdir().unwrap();
    let data = halves(40);
    written(&data, folder.path());
    let stored = opened(folder.path(), DataRequest::default(), 0);
    let class = folder
        .path()
        .join("train")
        .join(&data.classes()[data.label(0)]);
    let path = class.join("000.png");
    let row = (0..40).find(|&i| stored.image_sha256(i) == data.image_sha256(0));
    let row = row.unwrap();
    let refused = || {
        let message = stored.images(&[row]).unwrap_err().to_string();
        assert!(message.contains("000.png"), "{message}");
        message
    };
    let bytes = fs::read(&path).unwrap();
    let [_, h, w] = data.shape();
    let (w, h) = (w as u32, h as u32);
    image::GrayImage::new(w, h).save(&path).unwrap();
    let expected = "expected the picture that was here when the run began, found another one";
    assert!(refused().contains(expected));
    image::GrayImage::new(w + 1, h).save(&path).unwrap();
    assert!(refused().contains("as when the run began"));
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused().contains("a whole"));
    fs::remove_file(&path).unwrap();
    refused();
    // A run ends with the error, too.
    let (model, _) = given(folder.path());
    let net = Session::new(read_model(&model).unwrap().0);
    let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
    let job = SuiteJob {
        net: &net,
        model_sha256: "of the net",
        data: &stored,
        threat: &threat,
        seed: 3,
        cap: usize::MAX,
    };
    let entries = suite("quick", &net, Norm::Linf).unwrap();
    assert!(run_suite(&entries, &job, None, &mut |_, _, _| {}).is_err());
    fs::write(&path, bytes).unwrap();
    assert!(run_suite(&entries, &job, None, &mut |_, _, _| {}).is_ok());
}
