//! The one entry to attacks by patches: it validates, runs, projects, and judges every point anew.

use crate::attack::base::Seed;
use crate::attack::patch::base::{PatchAttack, PatchCandidate};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::counted::Counted;
use crate::model::error_rate::{breaks, error_rate};
use crate::record::{Passes, Rectangle};
use crate::threat::PatchThreat;
use fgmf_net::Tensor;
use fgmf_net::chunks::as_one_of_many;
use rayon::prelude::*;

/// Result of an attack by patches on a batch, one entry an example.
#[derive(Clone, Debug)]
pub struct PatchOutcome {
    /// Images with their patches, inside the threat.
    pub adversarial: Tensor,
    /// Where the patches are.
    pub places: Vec<Vec<Rectangle>>,
    /// Whether the model misclassifies the image, re-evaluated after projection, as for attacks on
    /// balls.
    pub success: Vec<bool>,
    /// Passes the search made (the re-evaluation is not counted).
    pub passes: Passes,
}

/// Runs an attack on every example, also on those that are misclassified already: a patch that
/// fools the bare model may fool its defence too.
///
/// # Errors
/// Images or labels that do not fit the model, images outside the bounds, and points or places
/// that an attack may not hand back.
pub fn run_patch_attack(
    attack: &dyn PatchAttack,
    model: &dyn Gradients,
    batch: &Batch,
    threat: &PatchThreat,
    seed: u64,
) -> Result<PatchOutcome> {
    let [_, h, w] = check(model, batch, threat)?;
    let counted = Counted::new(model);
    let search = |part: &Batch| attack.perturb(&counted, part, threat, Seed::new(seed));
    let found = if attack.together() || model.draws() {
        vec![search(batch)?]
    } else {
        let one = |i: usize| as_one_of_many(|| search(&batch.select(&[i])));
        let all: Vec<Result<PatchCandidate>> = (0..batch.len()).into_par_iter().map(one).collect();
        all.into_iter().collect::<Result<_>>()?
    };
    let points: Vec<Tensor> = found.iter().map(|f| f.x.clone()).collect();
    let places: Vec<Vec<Rectangle>> = found.into_iter().flat_map(|f| f.places).collect();
    let rows: usize = points.iter().map(|p| p.shape()[0]).sum();
    let mut x: Vec<f32> = points.iter().flat_map(|p| p.to_f32()).collect();
    if x.len() != batch.x.len() || places.len() != batch.len() || rows != batch.len() {
        let expected = format!("points {:?}, places for each", batch.x.shape());
        let found = format!("{} values, places for {}", x.len(), places.len());
        return Err(Error::mismatch("attack", expected, found));
    }
    let clean = batch.x.to_f32();
    let size = clean.len() / batch.len();
    let images = clean.chunks_exact(size).zip(x.chunks_exact_mut(size));
    for ((origin, x), places) in images.zip(&places) {
        threat.check_places([h, w], places)?;
        threat.project(origin, x, [h, w], places);
    }
    let adversarial = Tensor::new(batch.x.shape(), x);
    let rates = error_rate(model, &adversarial, &batch.labels)?;
    Ok(PatchOutcome {
        adversarial,
        places,
        success: rates.into_iter().map(breaks).collect(),
        passes: counted.passes(),
    })
}

/// An error unless the batch fits model and threat.
fn check(model: &dyn Gradients, batch: &Batch, threat: &PatchThreat) -> Result<[usize; 3]> {
    let shape @ [c, h, w] = model.image_shape();
    let n = batch.labels.len();
    if batch.x.shape() != [n, c, h, w] || batch.index.len() != n || n == 0 {
        let expected = format!("{n} images of shape [{c}, {h}, {w}]");
        let found = format!("{:?}", batch.x.shape());
        return Err(Error::mismatch("attack", expected, found));
    }
    if let Some(y) = batch.labels.iter().find(|&&y| y >= model.classes()) {
        let expected = format!("labels below {}", model.classes());
        return Err(Error::mismatch("attack", expected, y));
    }
    let [rows, columns] = threat.size();
    if rows > h || columns > w {
        let expected = format!("patches of at most {h}x{w}");
        return Err(Error::mismatch(
            "attack",
            expected,
            format!("{rows}x{columns}"),
        ));
    }
    let [lo, hi] = threat.bounds().map(|b| b as f32);
    match batch.x.to_f32().iter().find(|v| !(lo..=hi).contains(*v)) {
        Some(v) => {
            let expected = format!("images in [{lo}, {hi}]");
            Err(Error::mismatch(
                "attack",
                expected,
                format!("a value of {v}"),
            ))
        }
        None => Ok(shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::oracle::Oracle;

    /// Hands back what it was made with.
    struct Planted(f32, Rectangle);

    impl PatchAttack for Planted {
        fn id(&self) -> &'static str {
            "planted"
        }

        fn parameters(&self) -> serde_json::Value {
            serde_json::json!({})
        }

        fn perturb(
            &self,
            _: &dyn Gradients,
            batch: &Batch,
            _: &PatchThreat,
            _: Seed,
        ) -> Result<PatchCandidate> {
            let [n, c, h, w] = std::array::from_fn(|a| batch.x.shape()[a]);
            Ok(PatchCandidate {
                x: Tensor::full(&[n, c, h, w], f64::from(self.0), batch.x.precision()),
                places: vec![vec![self.1]; n],
            })
        }
    }

    /// z = (Σ x − 1, 0): a patch of ones over zeros turns the answer, wherever it stands. What an
    /// attack says of the rest of the image does not count.
    #[test]
    fn points_are_projected_and_judged_anew_and_places_are_checked() {
        let weights = [vec![1.0; 16], vec![0.0; 16]];
        let net = fgmf_testkit::toys::linear(&weights, &[-1.0, 0.0], [1, 4, 4]);
        let net = net.cast(fgmf_net::Precision::F32);
        let oracle = Oracle::new(&net);
        let threat = PatchThreat::new([2, 2], 1, [0.0, 1.0], [4, 4]).unwrap();
        let batch = Batch {
            x: Tensor::new(&[2, 1, 4, 4], vec![0.0f32; 32]),
            labels: vec![1, 1],
            index: vec![0, 1],
        };
        let at = |top, left| Rectangle {
            top,
            left,
            height: 2,
            width: 2,
        };
        let run = |attack: Planted| run_patch_attack(&attack, &oracle, &batch, &threat, 0);
        let found = run(Planted(7.0, at(1, 2))).unwrap();
        assert_eq!(found.success, [true, true]);
        let x = found.adversarial.to_f32();
        assert!((x.iter().sum::<f32>() - 8.0).abs() < 1e-6);
        assert!(threat.contains(&[0.0; 16], &x[..16], [4, 4]));
        assert_eq!(run(Planted(0.2, at(0, 0))).unwrap().success, [false, false]);
        assert_eq!(
            run(Planted(f32::NAN, at(0, 0))).unwrap().success,
            [false; 2]
        );
        assert!(run(Planted(1.0, at(3, 0))).is_err());
        let wide = Rectangle {
            width: 3,
            ..at(0, 0)
        };
        assert!(run(Planted(1.0, wide)).is_err());
    }
}
