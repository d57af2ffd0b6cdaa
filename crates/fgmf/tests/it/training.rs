//! The training loop: what it reaches, what it repeats, what it refuses.

use fgmf::data::{Dataset, Split};
use fgmf::defend::SgamParams;
use fgmf::record::MonitorRecord;
use fgmf::train::{
    AugmentParams, MonitorParams, ObjectiveConfig, OnCollapse, Run, SalienceSource, ScorpioParams,
    TrainConfig, ValidationParams, fit,
};
use fgmf_net::zoo::Architecture;
use std::path::Path;

/// Two classes told apart by which half is bright.
pub(crate) fn halves(n: usize) -> Dataset {
    let pixel = |i: usize, p: usize| {
        let bright = (p % 12 < 6) == i.is_multiple_of(2);
        (if bright { 150 } else { 60 }) + ((i * 7 + p * 13) % 40) as u8
    };
    let pixels = (0..n)
        .flat_map(|i| (0..144).map(move |p| pixel(i, p)))
        .collect();
    Dataset::new(
        "halves",
        Split::Train,
        vec!["left".into(), "right".into()],
        [1, 12, 12],
        pixels,
        (0..n).map(|i| i % 2).collect(),
    )
    .unwrap()
}

fn config(objective: ObjectiveConfig) -> TrainConfig {
    let mut c = TrainConfig::new("halves", Architecture::CnnTiny, objective, 0.05);
    c.epochs = 4;
    c.batch = 16;
    c
}

/// A search that hardly leaves the image, so that what it leaves right falls to PGD; the run is to
/// recover.
fn collapsing() -> TrainConfig {
    let still = ScorpioParams {
        gamma: 1e-6,
        recycle: 0.0,
        ..ScorpioParams::default()
    };
    TrainConfig {
        eps: 0.15,
        eps_warmup: 0.0,
        monitor: Some(MonitorParams {
            on_collapse: OnCollapse::Recover,
            ..MonitorParams::default()
        }),
        ..config(ObjectiveConfig::new("scor-pio", &still).unwrap())
    }
}

fn objectives() -> Vec<TrainConfig> {
    let scorpio = |salience| {
        let params = ScorpioParams {
            curvature: 0.5,
            salience,
            ..ScorpioParams::default()
        };
        ObjectiveConfig::new("scor-pio", &params).unwrap()
    };
    let mut masked = config(scorpio(SalienceSource::IntegratedGradients {
        share: 0.2,
        steps: 4,
        refresh: 2,
    }));
    masked.sgam = Some(SgamParams {
        refresh: 2,
        ..SgamParams::default()
    });
    let mut standard = config(ObjectiveConfig::parse("standard").unwrap());
    standard.ema = None;
    let mut moved = config(ObjectiveConfig::parse("pgd-at").unwrap());
    moved.augment = AugmentParams {
        flip: false,
        shift: 1,
    };
    moved.validation = Some(ValidationParams::default());
    let going_on = ScorpioParams {
        steps: 2,
        recycle: 0.25,
        ..ScorpioParams::default()
    };
    let going_on = config(ObjectiveConfig::new("scor-pio", &going_on).unwrap());
    let going_on_moved = TrainConfig {
        augment: AugmentParams {
            flip: false,
            shift: 1,
        },
        ..going_on.clone()
    };
    vec![
        collapsing(),
        going_on,
        going_on_moved,
        config(ObjectiveConfig::new("free-at", &serde_json::json!({ "replays": 2 })).unwrap()),
        config(ObjectiveConfig::parse("sora").unwrap()),
        moved,
        standard,
        config(ObjectiveConfig::parse("pgd-at").unwrap()),
        config(scorpio(SalienceSource::All)),
        config(scorpio(SalienceSource::Random { share: 0.3 })),
        masked,
    ]
}

fn run(config: &TrainConfig, data: &Dataset, folder: &Path) -> (Vec<u8>, Run) {
    let (_, mut run) = fit(config, data, folder, &mut |_| {}).unwrap();
    run.log.iter_mut().for_each(|e| e.seconds = 0.0);
    (std::fs::read(folder.join("model.onnx")).unwrap(), run)
}

#[test]
fn every_objective_learns_and_repeats_to_the_byte_on_any_number_of_threads() {
    let data = halves(64);
    for config in objectives() {
        let on = |threads: usize| {
            let folder = tempfile::tempdir().unwrap();
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| run(&config, &data, folder.path()))
        };
        let (model, record) = on(1);
        assert!(
            record.clean_train_accuracy.value > 0.95,
            "{}: {:?}",
            config.objective.name(),
            record.clean_train_accuracy
        );
        let (other, again) = on(2);
        assert!(
            model == other && record == again,
            "{}: other bytes on two threads",
            config.objective.name()
        );
    }
}

/// A run that panics out of its watcher in the middle of an epoch goes on as if nothing had
/// happened.
#[test]
fn an_interrupted_run_ends_like_an_unbroken_one() {
    let data = halves(64);
    for config in objectives() {
        let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let want = run(&config, &data, whole.path());
        for epoch in 1..=config.epochs {
            let stop = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                fit(&config, &data, broken.path(), &mut |p| {
                    assert!(p.epoch != epoch || p.step < 3, "stopped on purpose")
                })
            }));
            assert!(stop.is_err());
        }
        assert!(
            run(&config, &data, broken.path()) == want,
            "{}",
            config.objective.name()
        );
        assert!(
            run(&config, &data, broken.path()) == want,
            "{}: a finished run is returned as it is",
            config.objective.name()
        );
    }
}

/// A collapsed epoch is taken back and trained again with PGD, log and notes say so, and the
/// network withstands more than the one that only reports.
#[test]
fn a_collapsed_epoch_is_taken_back() {
    let data = halves(64);
    let trained = |on_collapse| {
        let mut config = collapsing();
        config.monitor = Some(MonitorParams {
            on_collapse,
            ..MonitorParams::default()
        });
        let folder = tempfile::tempdir().unwrap();
        run(&config, &data, folder.path()).1
    };
    let (reports, recovers) = (trained(OnCollapse::Report), trained(OnCollapse::Recover));
    let seen =
        |run: &Run| -> Vec<MonitorRecord> { run.log.iter().map(|e| e.monitor.unwrap()).collect() };
    let (reported, recovered) = (seen(&reports), seen(&recovers));
    let first = reported.iter().position(|m| m.collapsed).unwrap();
    assert!(!reported[first].recovered && recovered[first].recovered);
    // Both come from the same state.
    let (before, after) = (reported[first].robust, recovered[first].robust);
    assert!(after > before, "{before} {after}");
    assert!(recovered.iter().all(|m| !m.collapsed), "{recovered:?}");
    let note = format!("taken back in epoch {}", first + 1);
    assert!(
        recovers.notes.iter().any(|n| n.contains(&note)),
        "{:?}",
        recovers.notes
    );
}

#[test]
fn foreign_and_damaged_state_is_refused() {
    let data = halves(32);
    let folder = tempfile::tempdir().unwrap();
    let config = config(ObjectiveConfig::parse("standard").unwrap());
    let stop = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        fit(&config, &data, folder.path(), &mut |p| assert!(p.epoch < 3))
    }));
    assert!(stop.is_err());
    let state = folder.path().join("resume.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    let other = TrainConfig {
        seed: 9,
        ..config.clone()
    };
    assert!(
        fit(&other, &data, folder.path(), &mut |_| {}).is_err(),
        "other settings"
    );
    assert!(
        fit(&config, &halves(34), folder.path(), &mut |_| {}).is_err(),
        "other data"
    );
    for (what, damaged) in fgmf_testkit::corrupt::corruptions(&bytes, 1, 60) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("resume.safetensors"), damaged).unwrap();
        // Damage to the numbers themselves cannot be seen, and may end in a loss that is not
        // finite; nothing may panic.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            fit(&config, &data, folder.path(), &mut |_| {}).map(|_| ())
        }));
        assert!(result.is_ok(), "{what}");
    }
}
