//! Planted defences and honest models under the masking verdict:
//! `planted OUT STANDARD.onnx K-WTA.onnx DISTILLED.onnx MOVED.onnx HONEST.onnx…`.
//!
//! For each model: clean accuracy, PGD-50 on served gradients as an unaware evaluator runs it, the
//! suite `adaptive` (for models that answer at random attacks on the expectation, exact where all
//! outcomes can be listed), the undefended twin under the suite `adaptive`, and the verdict. First
//! 200 test images of the embedded slice, Linf, eps 0.1, seed 0. Each model's figures are kept in
//! OUT/rows, so that a run that was killed goes on; OUT/table.md and OUT/flags.txt (what each
//! attack breaks, and the evidence behind each flag) are written from them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "progress, and how to use it"
)]

use fgmf::attack::{ApgdParams, AttackLoss, Eot, PgdParams, WhiteBox, run_white_box};
use fgmf::data::Batch;
use fgmf::data::{Dataset, Split, load};
use fgmf::defend::{
    AdditiveNoiseParams, BitDepthParams, JpegParams, Lie, LogitScalingParams, LyingGateParams,
    RateEncodingParams, ResizePadParams, ThermometerParams, served_rules, with_bit_depth,
    with_jpeg, with_logit_scaling, with_lying_gate, with_thermometer,
};
use fgmf::model::misclassified;
use fgmf::model::{Averaged, Expected, Outcome, Served, Transform};
use fgmf::model::{Gradients, Oracle, Scores};
use fgmf::record::{Proportion, VerdictRecord};
use fgmf::study::{SuiteJob, run_suite, suite};
use fgmf::threat::{Norm, ThreatModel};
use fgmf::verdict::judge;
use fgmf::verdict::probes::{ProbeParams, Target, gather};
use fgmf_net::{Network, Session, Tensor, onnx};
use serde_json::{Value, json};
use std::path::PathBuf;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

/// Answers that a random model's accuracy is the mean of.
const DRAWS: usize = 10;

/// Answers by which the attacker chooses among what its searches found.
const CHOICE: usize = 20;

/// Answers in each mean that an attack on a random model follows, where outcomes are too many to
/// list.
const ANSWERS: usize = 40;

/// Temperature of the distilled network, as `experiments/planted/run.sh` trains it.
const TEMPERATURE: f64 = 20.0;

struct Bench {
    data: Dataset,
    batch: Batch,
    threat: ThreatModel,
    rows: PathBuf,
    done: Vec<Value>,
}

/// Share of answers that are right, one an example.
fn right(model: &dyn Scores, x: &Tensor, labels: &[usize], draws: usize) -> fgmf::Result<Vec<f64>> {
    let mut counts = vec![0.0; labels.len()];
    for _ in 0..draws {
        let wrong = misclassified(&model.logits(x)?, labels);
        counts
            .iter_mut()
            .zip(wrong)
            .for_each(|(c, w)| *c += f64::from(u8::from(!w)) / draws as f64);
    }
    Ok(counts)
}

fn percent(right: &[f64]) -> f64 {
    100.0 * right.iter().sum::<f64>() / right.len() as f64
}

/// PGD-50 on the gradients that a model serves.
fn unaware(bench: &Bench, model: &dyn Gradients, draws: usize) -> fgmf::Result<f64> {
    let attack = PgdParams {
        steps: 50,
        ..PgdParams::default()
    }
    .check()?;
    let found = run_white_box(&attack, model, &bench.batch, &bench.threat, 0)?;
    Ok(percent(&right(
        model,
        &found.adversarial,
        &bench.batch.labels,
        draws,
    )?))
}

/// A network as it is served, under the suite.
fn network(bench: &Bench, net: &Network) -> fgmf::Result<Value> {
    let net = &Session::new(net.clone());
    let model = Oracle::with_rules(net, served_rules(net)?);
    let clean = percent(&right(&model, &bench.batch.x, &bench.batch.labels, 1)?);
    let job = SuiteJob {
        net,
        model_sha256: "",
        data: &bench.data,
        threat: &bench.threat,
        seed: 0,
        cap: usize::MAX,
    };
    let outcome = run_suite(
        &suite("adaptive", net, Norm::Linf)?,
        &job,
        None,
        &mut |_, _, _| {},
    )?;
    let attack =
        |r: &fgmf::record::AttackRow| format!("{}: {} of {} broken", r.name, r.broken, r.attempted);
    Ok(json!({
        "clean": clean, "served": unaware(bench, &model, 1)?,
        "adaptive": 100.0 * outcome.overall().value, "verdict": outcome.verdict,
        "attacks": outcome.rows.iter().map(attack).collect::<Vec<_>>(),
    }))
}

/// Probability that the answer is right, one an example.
fn surely(model: &Expected<'_>, x: &Tensor, labels: &[usize]) -> fgmf::Result<Vec<f64>> {
    let mut right = vec![0.0; labels.len()];
    for (probability, logits) in model.answers(x)? {
        right
            .iter_mut()
            .zip(misclassified(&logits, labels))
            .for_each(|(r, w)| *r += if w { 0.0 } else { probability });
    }
    Ok(right)
}

/// A model that answers at random: attacks on the expectation; for each example the point that
/// fools it most often. Where the outcomes can be listed all is exact. Otherwise [`CHOICE`] answers
/// choose the point, and [`DRAWS`] of another deployment judge it.
fn random(bench: &Bench, net: &Network, transform: &dyn Transform) -> fgmf::Result<Value> {
    let Bench { batch, threat, .. } = bench;
    let session = Session::new(net.clone());
    let oracle = Oracle::new(&session);
    let deployed = |seed| Served::new(&oracle, transform, seed);
    let (served, exact) = (deployed(1), Expected::new(&oracle, transform).ok());
    let rate = |x: &Tensor, seed, draws| match &exact {
        Some(exact) => surely(exact, x, &batch.labels),
        None => right(&deployed(seed), x, &batch.labels, draws),
    };
    let (chosen, judged) = (
        |x: &Tensor| rate(x, 2, CHOICE),
        |x: &Tensor| rate(x, 3, DRAWS),
    );
    let model: &dyn Gradients = exact.as_ref().map_or(&served, |e| e);
    let mut best = chosen(&batch.x)?;
    let mut worst = judged(&batch.x)?;
    let clean = percent(&worst);
    let mut attacks = Vec::new();
    let apgd = |loss, steps| {
        ApgdParams {
            loss,
            steps,
            ..ApgdParams::default()
        }
        .check()
    };
    let pgd = |loss, steps| {
        PgdParams {
            loss,
            steps,
            ..PgdParams::default()
        }
        .check()
    };
    let mut searches: Vec<(&str, Box<dyn WhiteBox>)> = vec![
        (
            "PGD-200 on the capped margin",
            Box::new(Eot::new(pgd(AttackLoss::CappedMargin, 200)?, ANSWERS)?),
        ),
        (
            "PGD-100 on the margin",
            Box::new(Eot::new(pgd(AttackLoss::Margin, 100)?, ANSWERS)?),
        ),
        (
            "Auto-PGD-100 on the cross-entropy",
            Box::new(Eot::new(apgd(AttackLoss::CrossEntropy, 100)?, ANSWERS)?),
        ),
    ];
    if exact.is_some() {
        // Without a factor of 40 for the answers there is time for more. Searches apart, not
        // restarts: of restarts the largest loss is kept, of searches the point that fools most
        // outcomes.
        let pgd = |loss| {
            PgdParams {
                steps: 500,
                loss,
                restarts: 5,
                ..PgdParams::default()
            }
            .check()
        };
        let capped = ApgdParams {
            steps: 200,
            loss: AttackLoss::CappedMargin,
            restarts: 5,
            ..ApgdParams::default()
        }
        .check()?;
        searches.push((
            "PGD-500 on the capped margin, 5 restarts",
            Box::new(pgd(AttackLoss::CappedMargin)?),
        ));
        searches.push((
            "Auto-PGD-200 on the capped margin, 5 restarts",
            Box::new(capped),
        ));
        searches.push((
            "PGD-500 on the probability of an error, 5 restarts",
            Box::new(pgd(AttackLoss::ErrorProbability)?),
        ));
        for _ in 0..12 {
            searches.push((
                "Auto-PGD-200 on the probability of an error",
                Box::new(apgd(AttackLoss::ErrorProbability, 200)?),
            ));
        }
        searches.push((
            "targeted Auto-PGD-100",
            Box::new(apgd(AttackLoss::TargetedDlr, 100)?),
        ));
    }
    let over = exact
        .as_ref()
        .map_or_else(|| format!("{ANSWERS} answers"), |_| "all outcomes".into());
    for (number, (name, attack)) in searches.iter().enumerate() {
        let found = run_white_box(attack.as_ref(), model, batch, threat, number as u64)?;
        let (chosen, fresh) = (chosen(&found.adversarial)?, judged(&found.adversarial)?);
        attacks.push(format!("{name}, {over}: {:.1} right", percent(&fresh)));
        for i in (0..batch.len())
            .filter(|&i| chosen[i] < best[i])
            .collect::<Vec<_>>()
        {
            (best[i], worst[i]) = (chosen[i], fresh[i]);
        }
    }
    if let Some(outcomes) = transform.outcomes(net.image_shape()) {
        attacks.push(format!(
            "an attacker who knows each draw: {:.1} right",
            foreseen(bench, &oracle, outcomes)?
        ));
    }
    let mean = Averaged::new(&served, 20)?;
    let target = Target {
        bypass: Some(exact.as_ref().map_or(&mean, |e| e as &dyn Gradients)),
        ..Target::new(&served)
    };
    let verdict =
        judge(&gather(&target, batch, threat, &ProbeParams::default(), 0)?.evidence).record();
    Ok(json!({
        "clean": clean, "served": unaware(bench, &served, DRAWS)?, "adaptive": percent(&worst),
        "verdict": verdict, "attacks": attacks,
    }))
}

/// Per cent right if the attacker sees each draw before the point is chosen: nobody who does not
/// can do better.
fn foreseen(bench: &Bench, oracle: &Oracle<'_>, outcomes: Vec<Outcome>) -> fgmf::Result<f64> {
    let mut sum = 0.0;
    for outcome in outcomes {
        let probability = outcome.probability;
        let known = Expected::over(
            oracle,
            vec![Outcome {
                probability: 1.0,
                ..outcome
            }],
        );
        let mut left = bench.batch.clone();
        for loss in [AttackLoss::CrossEntropy, AttackLoss::TargetedDlr] {
            if !left.is_empty() {
                let attack = ApgdParams {
                    loss,
                    ..ApgdParams::default()
                }
                .check()?;
                let found = run_white_box(&attack, &known, &left, &bench.threat, 0)?;
                let stands = (0..left.len()).filter(|&i| !found.success[i]);
                left = left.select(&stands.collect::<Vec<_>>());
            }
        }
        sum += probability * 100.0 * left.len() as f64 / bench.batch.len() as f64;
    }
    Ok(sum)
}

impl Bench {
    /// A row of the table: from its file if it is there, else computed and kept. `twin` names the
    /// row it is compared with.
    fn row(
        &mut self,
        name: &str,
        twin: &str,
        compute: impl FnOnce(&Self) -> fgmf::Result<Value>,
    ) -> Done<()> {
        let slug: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let path = self.rows.join(slug + ".json");
        let row = if path.exists() {
            serde_json::from_slice(&std::fs::read(&path)?)?
        } else {
            let mut row = compute(self)?;
            (row["name"], row["twin"]) = (name.into(), twin.into());
            std::fs::write(&path, row.to_string())?;
            eprintln!("{name}: {}", row["adaptive"]);
            row
        };
        self.done.push(row);
        Ok(())
    }

    /// The table, and the evidence.
    fn report(&self) -> Done<(String, String)> {
        let mut table = String::from(
            "| model | clean | PGD-50, served | adaptive | 95% | twin | gap | verdict | \
                flags |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        let mut evidence = String::new();
        let figure = |row: &Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        let n = self.batch.len();
        for row in &self.done {
            let name = row["name"].as_str().unwrap_or_default();
            let verdict: VerdictRecord = serde_json::from_value(row["verdict"].clone())?;
            let flags: Vec<&str> = verdict.flags.iter().map(|f| f.id.as_str()).collect();
            let aware = figure(row, "adaptive");
            let [lo, hi] = Proportion::new((aware / 100.0 * n as f64).round() as usize, n)
                .interval
                .map(|v| 100.0 * v);
            let (twin, gap) = match self
                .done
                .iter()
                .find(|r| r["name"] == row["twin"])
                .map(|r| figure(r, "adaptive"))
            {
                Some(twin) => (format!("{twin:.1}"), format!("{:+.1}", aware - twin)),
                None => (String::new(), String::new()),
            };
            table += &format!(
                "| {name} | {:.1} | {:.1} | {aware:.1} | {lo:.1} to {hi:.1} | {twin} | \
                    {gap} | {} | {} |\n",
                figure(row, "clean"),
                figure(row, "served"),
                verdict.level,
                flags.join(", ")
            );
            for attack in row["attacks"].as_array().into_iter().flatten() {
                evidence += &format!("{name}: {}\n", attack.as_str().unwrap_or_default());
            }
            for f in &verdict.flags {
                evidence += &format!("{name}: {}: {}\n", f.id, f.evidence);
            }
        }
        Ok((table, evidence))
    }
}

fn main() -> Done<()> {
    let paths: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [out, standard, k_wta, distilled, moved, honest @ ..] = paths.as_slice() else {
        println!(
            "usage: planted OUT STANDARD.onnx K-WTA.onnx DISTILLED.onnx MOVED.onnx HONEST.onnx…"
        );
        return Ok(());
    };
    let mut data = load("fashion-mnist-mini", Split::Test)?;
    data.truncate(200)?;
    let rows: Vec<usize> = (0..data.len()).collect();
    let [c, h, w] = data.shape();
    let x = Tensor::new::<f32>(&[rows.len(), c, h, w], data.images(&rows)?);
    let batch = Batch {
        x,
        labels: rows.iter().map(|&i| data.label(i)).collect(),
        index: rows.iter().map(|&i| i as u64).collect(),
    };
    let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0])?;
    let mut bench = Bench {
        data,
        batch,
        threat,
        rows: out.join("rows"),
        done: Vec::new(),
    };
    std::fs::create_dir_all(&bench.rows)?;
    let (net, student, moved) = (
        onnx::read(standard)?,
        onnx::read(distilled)?,
        onnx::read(moved)?,
    );
    let (twin, cooled, still) = (
        "standard, no defence",
        "distilled, logits / 20 again",
        "trained for resize and pad, served without",
    );
    let (signs, reverse) = (
        LyingGateParams {
            lie: Lie::Signs,
            seed: 0,
        },
        LyingGateParams {
            lie: Lie::Reverse,
            seed: 0,
        },
    );
    let noise = AdditiveNoiseParams { deviation: 0.1 }.check()?;
    let spikes = RateEncodingParams { steps: 16 }.check()?;
    // 299 of 331 pixels, as in the paper.
    let pad = ResizePadParams { least: 0.9 }.check()?;
    bench.row(twin, "", |b| network(b, &net))?;
    bench.row("bit depth 3", twin, |b| {
        network(b, &with_bit_depth(&net, &BitDepthParams { bits: 3 })?)
    })?;
    bench.row("JPEG quality 50", twin, |b| {
        network(b, &with_jpeg(&net, &JpegParams { quality: 50 })?)
    })?;
    bench.row("thermometer 16", twin, |b| {
        network(
            b,
            &with_thermometer(&net, &ThermometerParams { levels: 16 })?,
        )
    })?;
    bench.row("logits x 1000", twin, |b| {
        network(
            b,
            &with_logit_scaling(&net, &LogitScalingParams { factor: 1000.0 })?,
        )
    })?;
    bench.row(cooled, "", |b| {
        network(
            b,
            &with_logit_scaling(
                &student,
                &LogitScalingParams {
                    factor: 1.0 / TEMPERATURE,
                },
            )?,
        )
    })?;
    bench.row("defensive distillation, T = 20", cooled, |b| {
        network(b, &student)
    })?;
    bench.row("lying gate, signs", twin, |b| {
        network(b, &with_lying_gate(&net, &signs)?)
    })?;
    bench.row("lying gate, reverse", twin, |b| {
        network(b, &with_lying_gate(&net, &reverse)?)
    })?;
    bench.row("k-winners-take-all, 10%", twin, |b| {
        network(b, &onnx::read(k_wta)?)
    })?;
    bench.row("noise 0.1", twin, |b| random(b, &net, &noise))?;
    bench.row("rate encoding 16", twin, |b| random(b, &net, &spikes))?;
    bench.row(still, "", |b| network(b, &moved))?;
    bench.row("resize and pad 0.9, trained for it", still, |b| {
        random(b, &moved, &pad)
    })?;
    bench.row("resize and pad 0.9", twin, |b| random(b, &net, &pad))?;
    for (i, path) in honest.iter().enumerate() {
        bench.row(&format!("PGD-AT, seed {i}"), "", |b| {
            network(b, &onnx::read(path)?)
        })?;
    }
    let (table, evidence) = bench.report()?;
    std::fs::write(out.join("table.md"), table)?;
    std::fs::write(out.join("flags.txt"), evidence)?;
    Ok(())
}
