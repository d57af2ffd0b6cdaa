//! Planted defences and honest models under the masking verdict: `planted STANDARD.onnx K-WTA.onnx DISTILLED.onnx HONEST.onnx… > table.md`.
//!
//! For each defence: clean accuracy, PGD-50 on served gradients as an unaware evaluator runs it, the `adaptive` suite (for random models
//! PGD on the expectation), the undefended twin under the suite `adaptive`, and the verdict; for each honest model the verdict. First
//! 200 test images of the embedded slice, Linf, eps 0.1, seed 0.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the output")]

use fgmf::Result;
use fgmf::attack::probes::{ProbeParams, Target, gather};
use fgmf::attack::suite::{Job, run_suite, suite};
use fgmf::attack::verdict::judge;
use fgmf::attack::{AttackLoss, Batch, Eot, PgdParams, WhiteBox, misclassified};
use fgmf::data::{Dataset, Split, load};
use fgmf::defend::{
    AdditiveNoiseParams, Averaged, BitDepthParams, JpegParams, Lie, LogitScalingParams, LyingGateParams, ResizePadParams, Served,
    ThermometerParams, Transform, served_rules, with_bit_depth, with_jpeg, with_logit_scaling, with_lying_gate, with_thermometer,
};
use fgmf::oracle::{Oracle, Scores};
use fgmf::record::VerdictRecord;
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::{Network, Tensor, onnx};
use std::path::Path;

/// Answers that a random model's accuracy is the mean of.
const DRAWS: usize = 10;

struct Bench {
    data: Dataset,
    batch: Batch,
    threat: ThreatModel,
}

/// Share of answers that are right, one an example.
fn right(model: &dyn Scores, x: &Tensor, labels: &[usize], draws: usize) -> Result<Vec<f64>> {
    let mut counts = vec![0.0; labels.len()];
    for _ in 0..draws {
        let wrong = misclassified(&model.logits(x)?, labels);
        counts.iter_mut().zip(wrong).for_each(|(c, w)| *c += f64::from(u8::from(!w)) / draws as f64);
    }
    Ok(counts)
}

fn percent(right: &[f64]) -> f64 {
    100.0 * right.iter().sum::<f64>() / right.len() as f64
}

impl Bench {
    /// The whole suite `adaptive`: per cent that stand, and its verdict.
    fn adaptive(&self, net: &Network) -> Result<(f64, VerdictRecord)> {
        let job = Job { net, model_sha256: "", data: &self.data, threat: &self.threat, seed: 0 };
        let outcome = run_suite(&suite("adaptive", net, Norm::Linf)?, &job, None, &mut |_, _, _| {})?;
        for row in &outcome.rows {
            eprintln!("  {}: {:.1} stand, {} broken of {}", row.name, 100.0 * row.robust_accuracy, row.broken, row.attempted);
        }
        Ok((100.0 * outcome.overall().value, outcome.verdict))
    }

    /// PGD-50 on the gradients that a model serves.
    fn unaware(&self, model: &dyn fgmf::oracle::Gradients, draws: usize) -> Result<f64> {
        let attack = PgdParams { steps: 50, ..PgdParams::default() }.check()?;
        let found = attack.perturb(model, &self.batch, &self.threat, 0)?;
        Ok(percent(&right(model, &found.x, &self.batch.labels, draws)?))
    }

    fn row(name: &str, figures: [f64; 4], verdict: &VerdictRecord) {
        let [clean, unaware, aware, twin] = figures;
        let flags: Vec<&str> = verdict.flags.iter().map(|f| f.id.as_str()).collect();
        println!("| {name} | {clean:.1} | {unaware:.1} | {aware:.1} | {twin:.1} | {} | {} |", verdict.level, flags.join(", "));
        for f in &verdict.flags {
            eprintln!("{name}: {}: {}", f.id, f.evidence);
        }
    }

    /// A network as it is served, under the suite.
    fn network(&self, name: &str, net: &Network, twin: f64) -> Result<f64> {
        let model = Oracle::with_rules(net, served_rules(net)?);
        let clean = percent(&right(&model, &self.batch.x, &self.batch.labels, 1)?);
        let (aware, verdict) = self.adaptive(net)?;
        let twin = if twin.is_nan() { aware } else { twin };
        Self::row(name, [clean, self.unaware(&model, 1)?, aware, twin], &verdict);
        Ok(aware)
    }

    /// A model that answers at random: PGD on the expectation of the capped margin, worst case over searches for each example, judged by
    /// fresh answers.
    fn random(&self, name: &str, net: &Network, transform: &dyn Transform, twin: f64) -> Result<()> {
        let oracle = Oracle::new(net);
        let served = Served::new(&oracle, transform, 1);
        let expected = Averaged::new(&served, 20)?;
        let clean = percent(&right(&served, &self.batch.x, &self.batch.labels, DRAWS)?);
        let mut worst = vec![1.0f64; self.batch.len()];
        for (number, (loss, steps, samples)) in
            [(AttackLoss::CappedMargin, 200, 40), (AttackLoss::Margin, 100, 40), (AttackLoss::CrossEntropy, 100, 40)]
                .into_iter()
                .enumerate()
        {
            let attack = Eot::new(PgdParams { steps, loss, ..PgdParams::default() }.check()?, samples)?;
            let found = attack.perturb(&served, &self.batch, &self.threat, number as u64)?;
            let right = right(&served, &found.x, &self.batch.labels, DRAWS)?;
            eprintln!("  {loss:?}, {steps} steps, {samples} samples: {:.1}", percent(&right));
            worst.iter_mut().zip(right).for_each(|(w, r)| *w = w.min(r));
        }
        let target = Target { bypass: Some(&expected), ..Target::new(&served) };
        let verdict = judge(&gather(&target, &self.batch, &self.threat, &ProbeParams::default(), 0)?.evidence).record();
        Self::row(name, [clean, self.unaware(&served, DRAWS)?, percent(&worst), twin], &verdict);
        Ok(())
    }
}

fn main() -> Result<()> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [standard, k_wta, distilled, honest @ ..] = paths.as_slice() else {
        println!("usage: planted STANDARD.onnx K-WTA.onnx DISTILLED.onnx HONEST.onnx…");
        return Ok(());
    };
    let read = |path: &String| onnx::read(Path::new(path));
    let mut data = load("fashion-mnist-mini", Split::Test)?;
    data.truncate(200)?;
    let rows: Vec<usize> = (0..data.len()).collect();
    let [c, h, w] = data.shape();
    let x = Tensor::new::<f32>(&[rows.len(), c, h, w], data.images(&rows));
    let batch = Batch { x, labels: rows.iter().map(|&i| data.label(i)).collect(), index: rows.iter().map(|&i| i as u64).collect() };
    let bench = Bench { data, batch, threat: ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0])? };
    println!(
        "| model | clean | PGD-50, served | adaptive | undefended twin | verdict | flags |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    let net = read(standard)?;
    let twin = bench.network("standard, no defence", &net, f64::NAN)?;
    bench.network("bit depth 3", &with_bit_depth(&net, &BitDepthParams { bits: 3 })?, twin)?;
    bench.network("JPEG quality 50", &with_jpeg(&net, &JpegParams { quality: 50 })?, twin)?;
    bench.network("thermometer 16", &with_thermometer(&net, &ThermometerParams { levels: 16 })?, twin)?;
    bench.network("logits x 1000", &with_logit_scaling(&net, &LogitScalingParams { factor: 1000.0 })?, twin)?;
    bench.network("defensive distillation, T = 20", &read(distilled)?, twin)?;
    bench.network("lying gate, signs", &with_lying_gate(&net, &LyingGateParams { lie: Lie::Signs, seed: 0 })?, twin)?;
    bench.network("lying gate, reverse", &with_lying_gate(&net, &LyingGateParams { lie: Lie::Reverse, seed: 0 })?, twin)?;
    bench.network("k-winners-take-all, 10%", &read(k_wta)?, twin)?;
    bench.random("noise 0.1", &net, &AdditiveNoiseParams { deviation: 0.1 }.check()?, twin)?;
    bench.random("resize and pad 0.8", &net, &ResizePadParams { least: 0.8 }.check()?, twin)?;
    for (i, path) in honest.iter().enumerate() {
        bench.network(&format!("PGD-AT, seed {i}"), &read(path)?, f64::NAN)?;
    }
    Ok(())
}
