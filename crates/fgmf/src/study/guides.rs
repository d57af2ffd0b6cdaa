//! Guides of a suite: readouts fitted to the classes that a model names.

use crate::data::batch::batch_of;
use crate::defend::knowledge::MaskKnowledge;
use crate::defend::readout::{Readout, cuts, fronts, read_at};
use crate::error::{Error, Result};
use crate::measure::logistic::logistic;
use crate::measure::similarity::pearson;
use crate::model::answer::predictions;
use crate::model::guided::Guide;
use crate::rng::{Purpose, Stream};
use crate::study::entry::SuiteJob;
use crate::threat::ThreatModel;
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Precision, Session, Tensor, ValueId};

/// Images of the data set that a fit starts from.
const IMAGES: usize = 256;

/// Numbers of these images at most, but for 16 images.
const NUMBERS: usize = 1 << 22;

/// Steps of a fit.
const STEPS: usize = 300;

/// Rounds of attack on the readout, after each of which it is fitted again.
const ROUNDS: usize = 2;

/// Least correlation with the images of what is taken for them.
const ALIKE: f64 = 0.7;

/// What a readout sees of points, with the classes that the model names there.
struct Answers {
    /// `[n, d]`.
    read: Vec<f32>,
    classes: Vec<usize>,
}

impl Answers {
    fn ask(&mut self, job: &SuiteJob<'_>, features: &Session, points: Vec<f32>) -> Result<()> {
        let [c, h, w] = job.data.shape();
        let x = Tensor::new::<f32>(&[points.len() / (c * h * w), c, h, w], points);
        self.classes.extend(predictions(&job.net.logits(&x)?));
        self.read.extend(features.logits(&x)?.to_f32());
        Ok(())
    }
}

/// The guides of a job, made when they are first asked for.
#[derive(Default)]
pub(crate) struct Guides(Vec<(MaskKnowledge, Guide)>);

impl Guides {
    /// What an attacker of this knowledge follows, if it is not the model itself.
    pub(crate) fn of(
        &mut self,
        knowledge: MaskKnowledge,
        job: &SuiteJob<'_>,
    ) -> Result<Option<&Guide>> {
        let known = self.0.iter().position(|(k, _)| *k == knowledge);
        let at = match known {
            Some(at) => at,
            None => {
                let made = match (knowledge, knowledge.cut()) {
                    (_, Some(depth)) => guide(job, depth)?,
                    (MaskKnowledge::Double, _) => {
                        Guide::new(job.net.cast(Precision::F64), Vec::new())
                    }
                    _ => return Ok(None),
                };
                self.0.push((knowledge, made));
                self.0.len() - 1
            }
        };
        Ok(Some(&self.0[at].1))
    }
}

/// A readout at the cut of this depth, fitted to the classes that the model names: at the first
/// images of the data, at the same with noise of the radius, at mixtures of two of them, and then
/// at points that an attack on the readout finds. Labels are not used.
///
/// The same job gives the same guide.
fn guide(job: &SuiteJob<'_>, depth: usize) -> Result<Guide> {
    let all = cuts(job.net);
    let missing = || Error::mismatch("readout", "inner values to read", "none");
    let cut = all.get(depth).ok_or_else(missing)?;
    let features = Session::new(read_at(job.net, cut, None)?);
    let size = job.data.shape().iter().product::<usize>();
    let most = (NUMBERS / size.max(1)).clamp(16, IMAGES);
    let rows: Vec<usize> = (0..job.data.len().min(most)).collect();
    let batch = batch_of(job.data, &rows)?;
    let clean = batch.x.to_f32();
    let mut answers = Answers {
        read: Vec::new(),
        classes: Vec::new(),
    };
    let stream = |round: u64, i: usize| Stream::new(job.seed, Purpose::Guide, round, i as u64);
    let image = |i: usize| &clean[i * size..][..size];
    let noisy = |i: usize| job.threat.random_start(image(i), &mut stream(0, i));
    let mixed = |i: usize| {
        let mut rng = stream(1, i);
        let other = image(rng.below(rows.len() as u64) as usize);
        let t = rng.unit();
        let mix = image(i).iter().zip(other).map(|(a, b)| a + t * (b - a));
        mix.collect::<Vec<f32>>()
    };
    let ask = |answers: &mut Answers, points| answers.ask(job, &features, points);
    ask(&mut answers, clean.clone())?;
    ask(&mut answers, rows.iter().flat_map(|&i| noisy(i)).collect())?;
    ask(&mut answers, rows.iter().flat_map(|&i| mixed(i)).collect())?;
    let fronts = alike(job, cut, &batch.x)?;
    let mut guide = fitted(job, cut, &answers, &fronts)?;
    for _ in 0..ROUNDS {
        let named = answers.classes[..rows.len()].to_vec();
        let found = walked(&guide, &batch.x, &named, job.threat)?;
        ask(&mut answers, found)?;
        guide = fitted(job, cut, &answers, &fronts)?;
    }
    Ok(guide)
}

/// Values in front of the first layers with weights that are nearly the images, by name, with what
/// the images are to be multiplied by.
fn alike(job: &SuiteJob<'_>, cut: &[ValueId], x: &Tensor) -> Result<Vec<(String, f64)>> {
    let prefix = Session::new(read_at(job.net, cut, None)?);
    let given = x.to_f64();
    let mut out = Vec::new();
    for id in fronts(job.net) {
        let name = &job.net.value(id).name;
        let Some(id) = prefix.find(name) else {
            continue;
        };
        let seen = prefix.values_at(x, &[id])?.swap_remove(0).to_f64();
        let correlation = pearson(&given, &seen).unwrap_or(0.0);
        if correlation > ALIKE {
            out.push((name.clone(), correlation * spread(&seen) / spread(&given)));
        }
    }
    Ok(out)
}

fn fitted(
    job: &SuiteJob<'_>,
    cut: &[ValueId],
    answers: &Answers,
    fronts: &[(String, f64)],
) -> Result<Guide> {
    let k = job.net.classes();
    let d = answers.read.len() / answers.classes.len();
    let fit = logistic(&answers.read, &answers.classes, k, STEPS);
    let readout = Readout {
        weights: Tensor::new(&[k, d], fit.weights),
        bias: Tensor::new(&[k], fit.bias),
    };
    let session = Session::new(read_at(job.net, cut, Some(&readout))?);
    let named = |(name, factor): &(String, f64)| Some((session.find(name)?, *factor));
    let fronts = fronts.iter().filter_map(named).collect();
    Ok(Guide::new(session, fronts))
}

fn spread(v: &[f64]) -> f64 {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    v.iter()
        .map(|x| (x - mean).powi(2))
        .sum::<f64>()
        .sqrt()
        .max(1e-12)
}

/// Where ten steps up the guide's loss lead, from each image, within the threat.
fn walked(guide: &Guide, x: &Tensor, named: &[usize], threat: &ThreatModel) -> Result<Vec<f32>> {
    let origin = x.to_f32();
    let size = origin.len() / named.len();
    let head = CrossEntropy::labels(named);
    let mut points = origin.clone();
    for _ in 0..10 {
        let at = Tensor::new::<f32>(x.shape(), points.clone());
        let mut slopes = guide.slopes(&at, &head)?.1.into_f32();
        let rows = points
            .chunks_exact_mut(size)
            .zip(slopes.chunks_exact_mut(size));
        for ((point, slope), origin) in rows.zip(origin.chunks_exact(size)) {
            let lost = slope.iter_mut().filter(|v| !v.is_finite());
            lost.for_each(|v| *v = 0.0);
            threat.drop_blocked(point, slope);
            threat.steepest(slope);
            let alpha = 0.25 * threat.eps() as f32;
            point
                .iter_mut()
                .zip(&*slope)
                .for_each(|(p, s)| *p += alpha * s);
            threat.project(origin, point);
        }
    }
    Ok(points)
}
