//! Searches by scores that see maps beside the scores, against the same searches that do not.

use crate::attacks::cnn;
use fgmf::attack::{AttackOutcome, BlackBox, run_black_box, run_black_box_within};
use fgmf::data::{Batch, Dataset, Split};
use fgmf::explain::ServedFormParams;
use fgmf::model::{Counted, MapsBeside, Oracle, Scores, ServedMaps, predictions};
use fgmf::study::{LeakageJob, ServedKind, leakage, leakage_attacks, leakage_forms};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::{Precision, Session, Tensor};
use fgmf_testkit::toys;

const ATTACKS: [&str; 4] = ["square", "nes", "spsa", "evolution"];

/// Images that the model classifies as labelled.
fn batch(model: &Session, n: usize) -> Batch {
    let [c, h, w] = model.image_shape();
    let pixel = |i: usize| ((i * 7919 + i / 13) % 200 + 28) as f32 / 255.0;
    let x = Tensor::new::<f32>(&[n, c, h, w], (0..n * c * h * w).map(pixel).collect());
    Batch {
        labels: predictions(&model.logits(&x).unwrap()),
        index: (100..100 + n as u64).collect(),
        x,
    }
}

fn threat(norm: Norm, eps: f64) -> ThreatModel {
    ThreatModel::new(norm, eps, [0.0, 1.0]).unwrap()
}

/// The same map for all images of a class.
struct ByClass(Vec<Vec<f32>>);

impl MapsBeside for ByClass {
    fn maps(&self, _: &Tensor, classes: &[usize]) -> fgmf::Result<Vec<Vec<f32>>> {
        Ok(classes.iter().map(|&y| self.0[y].clone()).collect())
    }
}

/// Values of the image as a map.
struct Pixels;

impl MapsBeside for Pixels {
    fn maps(&self, x: &Tensor, classes: &[usize]) -> fgmf::Result<Vec<Vec<f32>>> {
        let values = x.to_f32();
        let size = values.len() / classes.len();
        let map = |v: &[f32]| v.iter().map(|v| v - 0.5).collect();
        Ok(values.chunks_exact(size).map(map).collect())
    }
}

fn bits(outcome: &AttackOutcome) -> Vec<u32> {
    let values = outcome.adversarial.to_f32();
    values.into_iter().map(f32::to_bits).collect()
}

/// A map that is the same everywhere changes no byte of a search, and costs the one question in
/// which it was seen. What the server counts is what the entry counts, and its own two questions.
#[test]
fn a_uniform_map_guides_nothing_and_queries_are_counted() {
    let net = cnn();
    let (oracle, batch) = (Oracle::new(&net), batch(&net, 5));
    let flat = ByClass(vec![vec![0.25; 144]; 4]);
    for norm in [Norm::Linf, Norm::L2, Norm::L1] {
        // A radius at which nothing falls: every search makes all its queries.
        let threat = threat(norm, 1e-4);
        for attack in leakage_attacks(&ATTACKS, 110).unwrap() {
            let blind = run_black_box(attack.as_ref(), &oracle, &batch, &threat, 3).unwrap();
            let served = ServedMaps::new(&oracle, &flat);
            let counted = Counted::new(&served);
            let seen = run_black_box(attack.as_ref(), &counted, &batch, &threat, 3).unwrap();
            assert_eq!(bits(&blind), bits(&seen), "{} {norm}", attack.id());
            let asks_first = ["square", "evolution"].contains(&attack.id());
            let more = if asks_first { 5 } else { 0 };
            assert_eq!(
                seen.passes.forward,
                blind.passes.forward + more,
                "{}",
                attack.id()
            );
            assert_eq!(
                served.queries(),
                seen.passes.forward + 10,
                "{}",
                attack.id()
            );
            assert_eq!(
                counted.passes().forward,
                served.queries(),
                "{}",
                attack.id()
            );
        }
    }
}

/// Behind the budget of maps there are none, and a budget of none is no map at all.
#[test]
fn a_search_goes_on_without_maps() {
    let net = cnn();
    let (oracle, batch) = (Oracle::new(&net), batch(&net, 1));
    let threat = threat(Norm::Linf, 1e-4);
    for attack in leakage_attacks(&ATTACKS, 110).unwrap() {
        let run = |most: u64| {
            let served = ServedMaps::new(&oracle, &Pixels).at_most(most);
            run_black_box(attack.as_ref(), &served, &batch, &threat, 3).unwrap()
        };
        let blind = run_black_box(attack.as_ref(), &oracle, &batch, &threat, 3).unwrap();
        assert_eq!(bits(&run(0)), bits(&blind), "{}", attack.id());
        assert_ne!(bits(&run(1000)), bits(&blind), "{}", attack.id());
        assert_ne!(bits(&run(3)), bits(&blind), "{}", attack.id());
    }
}

/// With maps, too, an example is searched alike alone and among others.
#[test]
fn a_batch_is_searched_like_its_examples() {
    let net = cnn();
    let (oracle, batch) = (Oracle::new(&net), batch(&net, 6));
    for (norm, eps) in [(Norm::Linf, 0.2), (Norm::L2, 2.0)] {
        let threat = threat(norm, eps);
        for attack in leakage_attacks(&ATTACKS, 110).unwrap() {
            let run = |batch: &Batch| {
                let served = ServedMaps::new(&oracle, &Pixels);
                run_black_box(attack.as_ref(), &served, batch, &threat, 3).unwrap()
            };
            let singles: Vec<u32> = (0..6)
                .flat_map(|i| bits(&run(&batch.select(&[i]))))
                .collect();
            assert_eq!(bits(&run(&batch)), singles, "{} {norm}", attack.id());
        }
    }
}

/// Queries of an attack, summed over images of a linear model of two classes, with the gradient of
/// the named class times `factor` as its map, or without; the budget where it fails.
fn queries_on_linear(attack: &dyn BlackBox, factor: Option<f32>) -> u64 {
    // The same inside a tile, so that `evolution` can follow it; one tile is nothing to the model.
    let of_tile = |i: usize| (i / 12 / 4 * 3 + i % 12 / 4) * 5 % 9;
    let w: Vec<f64> = (0..144).map(|i| (of_tile(i) as f64 - 4.0) / 4.0).collect();
    let minus: Vec<f64> = w.iter().map(|v| -v).collect();
    let net = toys::linear(&[w.clone(), minus], &[0.0; 2], [1, 12, 12]).cast(Precision::F32);
    let (oracle, batch, budget) = (Oracle::new(&net), batch(&net, 24), 1000);
    let map = |s: f32| w.iter().map(|&v| s * v as f32).collect::<Vec<f32>>();
    let maps = factor.map(|s| ByClass(vec![map(s), map(-s)]));
    let one = |i: usize| {
        let image = batch.select(&[i]);
        // A fifth more than the radius at which the best point of the ball is on the boundary.
        let z = oracle.logits(&image.x).unwrap().to_f32();
        let sum: f64 = w.iter().map(|v| v.abs()).sum();
        let threat = threat(
            Norm::Linf,
            1.2 * f64::from((z[0] - z[1]).abs()) / (2.0 * sum),
        );
        let served = maps.as_ref().map(|maps| ServedMaps::new(&oracle, maps));
        let model: &dyn Scores = match &served {
            Some(served) => served,
            None => &oracle,
        };
        let found = run_black_box_within(attack, model, &image, &threat, 5, budget).unwrap();
        if found.success[0] {
            found.passes.forward
        } else {
            budget
        }
    };
    (0..24).map(one).sum()
}

/// Where the map is the gradient, searches need less than half of the queries. Estimates try which
/// way a map points, so that its sign is nothing to them.
#[test]
fn the_gradient_as_a_map_saves_queries() {
    for attack in leakage_attacks(&["square", "nes", "evolution"], 1000).unwrap() {
        let blind = queries_on_linear(attack.as_ref(), None);
        let guided = queries_on_linear(attack.as_ref(), Some(1.0));
        assert!(2 * guided < blind, "{}: {guided} for {blind}", attack.id());
        if attack.id() == "nes" {
            assert_eq!(queries_on_linear(attack.as_ref(), Some(-1.0)), guided);
        }
    }
}

fn dataset(n: usize) -> Dataset {
    let net = cnn();
    let pixels: Vec<u8> = (0..n * 144)
        .map(|i| ((i * 31 + i / 7) % 256) as u8)
        .collect();
    let x: Vec<f32> = pixels.iter().map(|&v| f32::from(v) / 255.0).collect();
    let x = Tensor::new::<f32>(&[n, 1, 12, 12], x);
    // One in five is labelled wrongly, so that it is left out.
    let named = predictions(&net.logits(&x).unwrap())
        .into_iter()
        .enumerate();
    let labels = named.map(|(i, y)| if i % 5 == 0 { (y + 1) % 4 } else { y });
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let labels = labels.collect();
    Dataset::new("toy", Split::Test, classes, [1, 12, 12], pixels, labels).unwrap()
}

/// A study stopped after any line, or inside one, ends like one that was not stopped; what it says
/// of an image is what the attack alone says.
#[test]
fn studies_resume_to_the_same_result() {
    let (net, data) = (cnn(), dataset(40));
    let threat = threat(Norm::Linf, 0.2);
    let attacks = leakage_attacks(&["square", "nes"], 60).unwrap();
    let kind = ServedKind::Maps("saliency".into(), serde_json::json!({}));
    let whole = kind.explainer(&net).unwrap();
    let form = ServedFormParams {
        side: Some(4),
        ..ServedFormParams::default()
    };
    let forms = [kind.form(&net, &form).unwrap().unwrap()];
    let job = LeakageJob {
        net: &net,
        model_sha256: "model",
        data: &data,
        threat: &threat,
        attacks: &attacks,
        budget: 60,
        whole: whole.as_deref(),
        forms: &forms,
        maps: None,
        seed: 7,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.jsonl");
    let found = leakage(&job, Some(&path), &mut |_| ()).unwrap();
    assert_eq!(found.images.len(), 32);
    let first = &found.images[0];
    assert_eq!(first.index, 1);
    let batch = fgmf::data::batch_of(&data, &[1]).unwrap();
    let alone = run_black_box_within(
        attacks[0].as_ref(),
        &Oracle::new(&net),
        &batch,
        &threat,
        7,
        60,
    );
    let alone = alone.unwrap();
    let queries = alone.success[0].then_some(alone.passes.forward);
    assert_eq!(first.blind[0], queries);
    let lines = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..lines.len()).filter(|&i| lines[i] == b'\n').collect();
    assert_eq!(ends.len(), 4, "a header and three blocks");
    for cut in ends.iter().flat_map(|&end| [end + 1, end - 20]) {
        std::fs::write(&path, &lines[..cut]).unwrap();
        let again = leakage(&job, Some(&path), &mut |_| ()).unwrap();
        assert_eq!(again.images, found.images, "cut at {cut}");
        assert_eq!(again.passes, found.passes, "cut at {cut}");
        assert!(std::fs::read(&path).unwrap() == lines, "cut at {cut}");
    }
    let another = LeakageJob { budget: 61, ..job };
    let message = leakage(&another, Some(&path), &mut |_| ()).unwrap_err();
    assert!(message.to_string().contains("another budget"), "{message}");
    let leaks = leakage_forms(&job, &found.images).unwrap();
    assert_eq!((leaks.len(), leaks[0].bits_served), (1, 48));
    assert_eq!(leaks[0].rows[0].success.n, 32);
}

#[test]
fn what_cannot_be_run_is_named() {
    for (names, budget, part) in [
        (&["pgd"][..], 10, "square, nes, spsa, evolution"),
        (&["nes", "nes"], 10, "each once"),
        (&["square"], 0, "queries-per-image"),
    ] {
        let refused = leakage_attacks(names, budget).err();
        let message = refused.map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(part), "{message}");
    }
    let message = ServedKind::Mask
        .explainer(&cnn())
        .err()
        .map(|e| e.to_string());
    assert!(message.is_some_and(|m| m.contains("SGAM mask layer")));
}
