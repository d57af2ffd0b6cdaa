//! Proofs against patches: against exhaustive search on toys, and against answers that a script of
//! its own made from the paper's definitions.

use fgmf::attack::patch::{PatchAttack, patch_attack, patch_attacks, run_patch_attack};
use fgmf::certify::{BlindFill, MaskSet, Masked, certify_image, defended_answer};
use fgmf::data::{Batch, Dataset, Split};
use fgmf::model::{Oracle, Scores as _, predictions, undecided};
use fgmf::rng::{Purpose, Stream};
use fgmf::study::{CertifyJob, CertifyOutcome, certify};
use fgmf::threat::PatchThreat;
use fgmf_net::op::{Flatten, Gemm, Op, Unary};
use fgmf_net::{Builder, Session, Tensor};
use fgmf_record::{Proof, Rectangle};
use serde::Deserialize;
use serde_json::json;

/// A perceptron with one hidden layer, rows of weights over flattened images.
fn perceptron(layers: &[(Vec<Vec<f32>>, Vec<f32>); 2], image: [usize; 3]) -> Session {
    let mut b = Builder::new("perceptron", "input", image).unwrap();
    let mut x = b.input();
    let flatten = Op::Flatten(Flatten { axis: 1 });
    x = b.node("flat", flatten, &[x]).unwrap();
    for (i, (weights, bias)) in layers.iter().enumerate() {
        let shape = [weights.len(), weights[0].len()];
        let w = Tensor::new(&shape, weights.concat());
        let w = b.parameter(&format!("w{i}"), w, true).unwrap();
        let c = Tensor::new(&[bias.len()], bias.clone());
        let c = b.parameter(&format!("b{i}"), c, true).unwrap();
        x = b
            .node(&format!("gemm{i}"), Op::Gemm(Gemm::DENSE), &[x, w, c])
            .unwrap();
        if i == 0 {
            x = b.node("relu", Op::Unary(Unary::Relu), &[x]).unwrap();
        }
    }
    Session::new(b.finish(x).unwrap())
}

fn random_perceptron(seed: u64, image: [usize; 3], classes: usize) -> Session {
    let mut draws = Stream::new(seed, Purpose::Training, 0, 0);
    let mut layer = |rows: usize, columns: usize| {
        let mut row = |n: usize| (0..n).map(|_| draws.symmetric()).collect::<Vec<f32>>();
        ((0..rows).map(|_| row(columns)).collect(), row(rows))
    };
    let inputs = image.iter().product();
    perceptron(&[layer(12, inputs), layer(classes, 12)], image)
}

/// The class of an image, if the bare model names one.
fn bare(oracle: &Oracle<'_>, x: &[f32], [c, h, w]: [usize; 3]) -> Option<usize> {
    let logits = oracle
        .logits(&Tensor::new(&[1, c, h, w], x.to_vec()))
        .unwrap();
    (!undecided(&logits)[0]).then(|| predictions(&logits)[0])
}

/// Every image that patches of zeros and ones can make of this one.
fn patched(x: &[f32], threat: &PatchThreat, [h, w]: [usize; 2]) -> Vec<Vec<f32>> {
    let mut all = vec![x.to_vec()];
    for _ in 0..threat.count() {
        let mut more = Vec::new();
        for x in &all {
            for at in 0..threat.places([h, w]) {
                let place = threat.place([h, w], at);
                let pixels: Vec<usize> = place
                    .rows()
                    .flat_map(|r| place.columns().map(move |c| r * w + c))
                    .collect();
                for content in 0..1u32 << pixels.len() {
                    let mut x = x.clone();
                    for (bit, &i) in pixels.iter().enumerate() {
                        x[i] = (content >> bit & 1) as f32;
                    }
                    more.push(x);
                }
            }
        }
        all = more;
    }
    all
}

/// No proved image falls to any place and binary content, one patch and two, and the search does
/// break images of which nothing is proved.
#[test]
fn exhaustive_search_breaks_no_proved_image() {
    let size = [4, 5];
    let image = [1, 4, 5];
    let mut proofs = [0; 3];
    let mut fallen = [0; 2];
    for (seed, patch, count, per_axis, fill) in [
        (1, [2, 2], 1, 2, "0.5"),
        (2, [2, 2], 1, 3, "0"),
        (3, [1, 3], 1, 2, "outside"),
        (4, [1, 1], 2, 2, "0.5"),
    ] {
        let net = random_perceptron(seed, image, 3);
        let oracle = Oracle::new(&net);
        let threat = PatchThreat::new(patch, count, [0.0, 1.0], size).unwrap();
        let masks = MaskSet::covering(size, &threat, per_axis).unwrap();
        let fill: BlindFill = fill.parse().unwrap();
        let masked = Masked::new(&oracle, &masks, fill).unwrap();
        let mut draws = Stream::new(seed, Purpose::Evaluation, 0, 0);
        for _ in 0..6 {
            let x: Vec<f32> = (0..20).map(|_| draws.below(2) as f32).collect();
            let Some(label) = bare(&oracle, &x, image) else {
                continue;
            };
            let found = certify_image(masked, &x, label).unwrap();
            let clean = defended_answer(masked, &x).unwrap();
            assert_eq!((found.defended, found.alarm), (clean.answer, clean.alarm));
            proofs[found.proof as usize] += 1;
            let (mut wrong, mut slipped) = (false, false);
            for z in patched(&x, &threat, size) {
                assert!(threat.contains(&x, &z, size));
                let said = defended_answer(masked, &z).unwrap();
                wrong |= said.answer != Some(label);
                slipped |= !said.alarm && said.answer != Some(label);
            }
            assert!(found.proof != Proof::Right || !wrong, "{found:?}");
            assert!(found.proof == Proof::Open || !slipped, "{found:?}");
            fallen[0] += usize::from(wrong);
            fallen[1] += usize::from(slipped);
        }
    }
    assert!(proofs.iter().all(|n| *n > 0), "{proofs:?}");
    assert!(fallen.iter().all(|n| *n > 0), "{fallen:?}");
}

#[derive(Deserialize)]
struct Fixture {
    side: usize,
    network: Weights,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Weights {
    first: Vec<Vec<f32>>,
    first_bias: Vec<f32>,
    second: Vec<Vec<f32>>,
    second_bias: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    patch: [usize; 2],
    patches: usize,
    masks_per_axis: usize,
    fill: f64,
    masks: Vec<Vec<[usize; 4]>>,
    images: Vec<ImageCase>,
}

#[derive(Deserialize)]
struct ImageCase {
    pixels: Vec<f32>,
    label: usize,
    proof: Proof,
    defended: Option<usize>,
    alarm: bool,
    patched: Vec<PatchedCase>,
}

#[derive(Deserialize)]
struct PatchedCase {
    pixels: Vec<f32>,
    defended: Option<usize>,
    alarm: bool,
}

/// Masks, proofs and defended answers of `parity/patch_proofs.py` (standard library of Python),
/// which asks about every pair of masks.
#[test]
fn proofs_and_defended_answers_are_those_of_the_definitions() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../fixtures/patch_proofs.json")).unwrap();
    let (side, n) = (fixture.side, fixture.network);
    let layers = [(n.first, n.first_bias), (n.second, n.second_bias)];
    let net = perceptron(&layers, [1, side, side]);
    let oracle = Oracle::new(&net);
    let mut proved = 0;
    for case in fixture.cases {
        let threat = PatchThreat::new(case.patch, case.patches, [0.0, 1.0], [side, side]).unwrap();
        let masks = MaskSet::covering([side, side], &threat, case.masks_per_axis).unwrap();
        let rectangle = |[top, left, height, width]: [usize; 4]| Rectangle {
            top,
            left,
            height,
            width,
        };
        let expected: Vec<Vec<Rectangle>> = case
            .masks
            .into_iter()
            .map(|m| m.into_iter().map(rectangle).collect())
            .collect();
        assert_eq!(masks.masks(), expected);
        let fill = BlindFill::constant(case.fill).unwrap();
        let masked = Masked::new(&oracle, &masks, fill).unwrap();
        for image in case.images {
            let found = certify_image(masked, &image.pixels, image.label).unwrap();
            assert_eq!(found.proof, image.proof);
            assert_eq!((found.defended, found.alarm), (image.defended, image.alarm));
            assert_eq!(found.refuted.is_none(), found.proof == Proof::Right);
            assert!(found.passes <= masks.pairs() as u64);
            proved += usize::from(found.proof == Proof::Right);
            for z in image.patched {
                let said = defended_answer(masked, &z.pixels).unwrap();
                assert_eq!((said.answer, said.alarm), (z.defended, z.alarm));
            }
        }
    }
    assert!(proved > 10);
}

/// A data set of binary images with the bare model's answers as labels.
fn toy_data(net: &Session, n: usize) -> Dataset {
    let oracle = Oracle::new(net);
    let mut draws = Stream::new(9, Purpose::Evaluation, 0, 0);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    while labels.len() < n {
        let x: Vec<f32> = (0..20).map(|_| draws.below(2) as f32).collect();
        if let Some(label) = bare(&oracle, &x, [1, 4, 5]) {
            pixels.extend(x.iter().map(|v| (255.0 * v) as u8));
            labels.push(label);
        }
    }
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    Dataset::new("toy", Split::Test, classes, [1, 4, 5], pixels, labels).unwrap()
}

/// Each attack stays in the threat, is the same in any batch where it searches one by one, and
/// breaks a bare model. None breaks what is proved.
#[test]
fn attacks_stay_in_the_threat_and_break_bare_models() {
    let net = random_perceptron(5, [1, 4, 5], 3);
    let data = toy_data(&net, 12);
    let oracle = Oracle::new(&net);
    for count in [1, 2] {
        let threat = PatchThreat::new([2, 2], count, [0.0, 1.0], [4, 5]).unwrap();
        let rows: Vec<usize> = (0..12).collect();
        let batch = Batch {
            x: Tensor::new(&[12, 1, 4, 5], data.images(&rows).unwrap()),
            labels: data.labels().to_vec(),
            index: rows.iter().map(|&i| i as u64).collect(),
        };
        let clean = batch.x.to_f32();
        for id in patch_attacks() {
            let attack = patch_attack(id, json!({})).unwrap();
            let run = |batch: &Batch| {
                run_patch_attack(attack.as_ref(), &oracle, batch, &threat, 3).unwrap()
            };
            let found = run(&batch);
            let points = found.adversarial.to_f32();
            for (x, origin) in points.chunks_exact(20).zip(clean.chunks_exact(20)) {
                assert!(threat.contains(origin, x, [4, 5]), "{id}");
            }
            let broken = found.success.iter().filter(|s| **s).count();
            let least = if id == "patch-universal" { 1 } else { 6 };
            assert!(broken >= least, "{id}: {broken}");
            assert!(found.passes.forward > 0);
            if !attack.together() {
                let alone = run(&batch.select(&[7]));
                assert_eq!(alone.adversarial.to_f32(), points[140..160], "{id}");
            }
        }
    }
}

#[test]
fn settings_of_attacks_are_checked() {
    for (id, settings) in [
        ("patch-pgd", json!({"steps": 0})),
        ("patch-pgd", json!({"places": 0})),
        ("patch-pgd", json!({"loss": "targeted-margin"})),
        ("patch-search", json!({"queries": 0})),
        ("patch-universal", json!({"places": 0})),
        ("patch-universal", json!({"step": 1})),
        ("pgd", json!({})),
    ] {
        assert!(
            patch_attack(id, settings.clone()).is_err(),
            "{id} {settings}"
        );
    }
}

fn study(net: &Session, data: &Dataset, state: Option<&std::path::Path>) -> CertifyOutcome {
    let threat = PatchThreat::new([2, 2], 1, [0.0, 1.0], [4, 5]).unwrap();
    let masks = MaskSet::covering([4, 5], &threat, 2).unwrap();
    let attacks: Vec<Box<dyn PatchAttack>> = ["patch-pgd", "patch-search"]
        .map(|id| patch_attack(id, json!({})).unwrap())
        .into();
    let job = CertifyJob {
        net,
        model_sha256: "of the net",
        data,
        threat: &threat,
        masks: &masks,
        fill: BlindFill::outside(),
        attacks: &attacks,
        seed: 1,
    };
    let found = certify(&job, state, &mut |_, _| ()).unwrap();
    let pictures = found.pictures(&job).unwrap();
    assert!(!pictures.is_empty() && pictures.iter().all(|p| p.at < found.images.len()));
    found
}

/// Proofs, defended answers and attacks agree over a data set; a run that was killed goes on to the
/// same record.
#[test]
fn a_study_contradicts_nothing_and_survives_a_kill() {
    let net = random_perceptron(5, [1, 4, 5], 3);
    let data = toy_data(&net, 130);
    let whole = study(&net, &data, None);
    assert_eq!(whole.contradictions(), Vec::<usize>::new());
    let share = |proof| whole.share(|i| i.proof == proof).count;
    assert!(
        Proof::ALL.iter().all(|p| share(*p) > 0),
        "no image of a kind"
    );
    let attack = whole.attack.as_ref().unwrap();
    let right = whole.share(|i| i.proof == Proof::Right).count;
    let detected = whole.share(|i| i.proof != Proof::Open).count;
    assert!(attack.defended.count >= right && attack.detected.count >= detected);
    assert!(attack.bare.count < whole.share(|i| i.prediction == Some(i.label)).count);
    assert!(
        attack.defended.count < 130,
        "nothing fell: the attacks test nothing"
    );
    let broken = whole.images.iter().find(|i| i.is_broken()).unwrap();
    let (place, content) = &broken.patched.as_ref().unwrap().patches[0];
    assert_eq!((place.height, place.width, content.len()), (2, 2, 4));

    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.jsonl");
    assert_eq!(study(&net, &data, Some(&state)).images, whole.images);
    let text = std::fs::read_to_string(&state).unwrap();
    assert_eq!(text.lines().count(), 4);
    let cut: usize = text.lines().take(2).map(|l| l.len() + 1).sum();
    std::fs::write(&state, &text[..cut + 40]).unwrap();
    assert_eq!(study(&net, &data, Some(&state)).images, whole.images);
}
