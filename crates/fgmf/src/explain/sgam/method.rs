//! SGAM as an explainer: the network's own map of the class, read in one forward pass. The branch
//! that draws it was taught by another explainer (`fgmf amortise`), from noisy maps (Covert et al.
//! 2024, stochastic amortisation) and at attacked images with the maps of the clean ones. Where
//! the network expects its map to be too far off, the teacher is asked (Monteiro Paes et al. 2024,
//! selective explanations).
//!
//! s = the class's cells, laid over the image (bilinear); d = the squared error that the branch
//! expects, in mean squares of the teacher's maps; quality q = 1 − d, 1 at most. Where
//! q < `least_quality`, the teacher explains twice, with draws of its own: φ₁, φ₂. Then
//! e = ⟨s − φ₁, s − φ₂⟩ is an unbiased figure of ‖s − E φ‖², n = ‖φ₁ − φ₂‖² / 4 one of the variance
//! of φ̄ = (φ₁ + φ₂) / 2, and the map is s + α (φ̄ − s) with α = e⁺ / (e⁺ + n), which has the least
//! expected squared error of all between the two; a teacher that draws nothing gives α = 1.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `least_quality` | none: the teacher is never asked | any finite number |
//! | `teacher` | `gradient-shap` | id and parameters of the explainer that taught the branch |
//!
//! Values in the teacher's units, signed; the agreement is q. Cost: one forward pass, and twice the
//! teacher's where it is asked; the note says so. The branch adds what its size says to a pass (at
//! 28 x 28 and 32 channels 12 MFLOP).
//!
//! Differences from the papers: (1) the branch reads the classifier's own features, so that one
//! file holds both; (2) the quality is the expected error, learned beside the map from two
//! independent halves of each label, not a second network's; (3) the weight α is measured for each
//! image from the two halves, not fitted on a calibration set. Only abstracts of the two papers
//! were read.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod, Inner, Make};
use crate::explain::parts::ask::{four, plain};
use crate::explain::parts::map::upsample;
use crate::explain::sgam::branch::taught;
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "sgam",
    line: "Reads the map that the network itself was taught to draw.",
    revision: 1,
    reference: "covert2024",
    example: r#"{"least_quality": 0.3}"#,
    build: |settings, make| {
        Ok(Box::new(
            read::<SgamExplainerParams>(settings)?.check(make)?,
        ))
    },
}];

/// Settings of [`SgamExplainer`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgamExplainerParams {
    /// Quality below which the teacher is asked.
    pub least_quality: Option<f64>,
    /// Who is asked.
    pub teacher: Inner,
}

impl Default for SgamExplainerParams {
    fn default() -> Self {
        let teacher = Inner {
            id: "gradient-shap".into(),
            parameters: serde_json::json!({}),
        };
        Self {
            least_quality: None,
            teacher,
        }
    }
}

impl SgamExplainerParams {
    /// The checked method.
    pub fn check(self, make: &Make) -> Result<SgamExplainer> {
        if let Some(q) = self.least_quality.filter(|q| !q.is_finite()) {
            return Err(Error::parameter("least_quality", "a finite number", q));
        }
        Ok(SgamExplainer {
            least_quality: self.least_quality,
            teacher: make(&self.teacher)?,
        })
    }
}

/// Checked SGAM explainer.
pub struct SgamExplainer {
    least_quality: Option<f64>,
    teacher: Box<dyn Explainer>,
}

impl SgamExplainer {
    /// Between the guess and two maps of the teacher, as the page says.
    fn corrected(guess: &[f64], [one, two]: [&[f32]; 2]) -> Vec<f64> {
        let (mut error, mut noise) = (0.0, 0.0);
        for ((s, a), b) in guess.iter().zip(one).zip(two) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            error += (s - a) * (s - b);
            noise += (a - b).powi(2) / 4.0;
        }
        let error = error.max(0.0);
        let share = match error + noise > 0.0 {
            true => error / (error + noise),
            false => 1.0,
        };
        let between = |((s, a), b): ((&f64, &f32), &f32)| {
            s + share * ((f64::from(*a) + f64::from(*b)) / 2.0 - s)
        };
        guess.iter().zip(one).zip(two).map(between).collect()
    }

    /// Two maps of each image by the teacher, with draws of their own.
    fn asked(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context<'_>,
    ) -> Result<[Vec<Attribution>; 2]> {
        let half = |round: u64| {
            let context = context.redrawn(round);
            self.teacher.attribute(model, x, targets, &context)
        };
        Ok([half(0)?, half(1)?])
    }
}

impl Explainer for SgamExplainer {
    fn id(&self) -> &'static str {
        "sgam"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({
            "least_quality": self.least_quality,
            "teacher": { "id": self.teacher.id(), "parameters": self.teacher.parameters() },
        })
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context<'_>,
    ) -> Result<Vec<Attribution>> {
        let branch = taught(model.network())?;
        if self.least_quality.is_some() && branch.teacher.id != self.teacher.id() {
            let expected = format!("{}, which taught the maps", branch.teacher.id);
            return Err(Error::parameter("teacher", expected, self.teacher.id()));
        }
        let [n, _, h, w] = four(x);
        let drawn = branch.draw(model, x, targets)?;
        let mut out = Vec::with_capacity(n);
        for (i, &target) in targets.iter().enumerate() {
            let guess = upsample(&drawn.cells[i], drawn.grid, [h, w]);
            let quality = 1.0 - drawn.doubts[i];
            let asks = self.least_quality.is_some_and(|least| quality < least);
            let (values, note) = if asks {
                let names = context.names.map(|names| &names[i..=i]);
                let one = Context { names, ..*context };
                let halves = self.asked(model, &x.rows(i, 1), &[target], &one)?;
                let halves = halves.each_ref().map(|m| m[0].values.values.as_slice());
                let note = format!("quality {quality:.2}: {} was asked", self.teacher.id());
                (Self::corrected(&guess, halves), Some(note))
            } else {
                (guess, None)
            };
            out.push(Attribution {
                agreement: Some(quality),
                layer: Some(model.network().value(branch.map).name.clone()),
                note,
                ..plain(self.id(), target, [h, w], &values, true)
            });
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::list::make;
    use crate::explain::sgam::branch::{
        SgamMapParams, branch_of, drawn_at_random, taught_by, with_map,
    };
    use crate::explain::{explain, toy};
    use crate::model::counted::Counted;
    use crate::model::oracle::Oracle;
    use crate::rng::{Purpose, Stream};
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
    use fgmf_net::{Precision, Session};

    fn net(teacher: &str) -> Session {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 12, 12],
            classes: 4,
            mean: vec![0.3],
            deviation: vec![0.4],
            seed: 2,
        };
        let mut net = with_map(&build(&config).unwrap(), &SgamMapParams::default(), 3).unwrap();
        drawn_at_random(&mut net);
        let teacher = Inner {
            id: teacher.into(),
            parameters: serde_json::json!({}),
        };
        taught_by(&mut net, &teacher);
        Session::new(net)
    }

    fn sgam(
        least_quality: Option<f64>,
        teacher: &str,
        parameters: serde_json::Value,
    ) -> SgamExplainer {
        let id = teacher.to_owned();
        let teacher = Inner { id, parameters };
        SgamExplainerParams {
            least_quality,
            teacher,
        }
        .check(&make)
        .unwrap()
    }

    /// Without a teacher the map is the cells of the class, and one pass an image is all it costs.
    #[test]
    fn the_cells_of_the_class_are_read_in_one_pass() {
        let net = net("gradient-shap");
        let x = toy::images([3, 1, 12, 12], 5).cast(Precision::F32);
        let targets = [3, 0, 2];
        let oracle = Oracle::new(&net);
        let counted = Counted::new(&oracle);
        let sgam = sgam(None, "gradient-shap", serde_json::json!({}));
        let maps = explain(&sgam, &counted, &x, &targets, &Context::default()).unwrap();
        let passes = counted.passes();
        assert_eq!((passes.forward, passes.backward), (3, 3));
        let cells = net.values_at(&x, &branch_of(&net).unwrap()).unwrap();
        let (cells, doubts) = (cells[0].to_f64(), cells[1].to_f64());
        for (i, (map, &y)) in maps.iter().zip(&targets).enumerate() {
            let own = upsample(&cells[(i * 4 + y) * 36..][..36], [6, 6], [12, 12]);
            let own: Vec<f32> = own.iter().map(|&v| v as f32).collect();
            assert_eq!(map.values.values, own);
            assert_eq!(map.agreement, Some(1.0 - doubts[i * 4 + y]));
            assert!(map.note.is_none());
        }
    }

    /// A teacher that draws nothing settles the map; another than the branch had is refused.
    #[test]
    fn the_teacher_is_asked_where_quality_is_low() {
        let net = net("gradient-x-input");
        let x = toy::images([2, 1, 12, 12], 5).cast(Precision::F32);
        let oracle = Oracle::new(&net);
        let context = Context::default();
        let asks = sgam(Some(1e6), "gradient-x-input", serde_json::json!({}));
        let maps = explain(&asks, &oracle, &x, &[1, 2], &context).unwrap();
        let teacher = make(&Inner {
            id: "gradient-x-input".into(),
            parameters: serde_json::json!({}),
        });
        let own = explain(teacher.unwrap().as_ref(), &oracle, &x, &[1, 2], &context).unwrap();
        for (map, own) in maps.iter().zip(&own) {
            assert!(map.note.as_ref().unwrap().contains("was asked"));
            for (a, b) in map.values.values.iter().zip(&own.values.values) {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-3), "{a} {b}");
            }
        }
        let never = sgam(Some(-1e6), "gradient-x-input", serde_json::json!({}));
        let maps = explain(&never, &oracle, &x, &[1, 2], &context).unwrap();
        assert!(maps.iter().all(|m| m.note.is_none()));
        let other = sgam(Some(0.0), "saliency", serde_json::json!({}));
        let refused = explain(&other, &oracle, &x, &[1, 2], &context).unwrap_err();
        assert!(
            refused.to_string().contains("gradient-x-input"),
            "{refused}"
        );
    }

    /// The weight between guess and teacher has the least expected error: over many draws the mean
    /// squared error is below that of either, where both are off by as much.
    #[test]
    fn the_weight_between_guess_and_teacher_pays() {
        let size = 400;
        let truth: Vec<f64> = (0..size).map(|i| (f64::from(i) * 0.37).sin()).collect();
        let mut rng = Stream::new(1, Purpose::Explanation, 0, 0);
        let guess: Vec<f64> = truth
            .iter()
            .map(|t| t + 0.5 * f64::from(rng.normal()))
            .collect();
        let mut half = || -> Vec<f32> {
            let noisy = truth.iter().map(|t| *t as f32 + 0.7 * rng.normal());
            noisy.collect()
        };
        let (one, two) = (half(), half());
        let error = |map: &[f64]| -> f64 {
            let square = |(a, b): (&f64, &f64)| (a - b).powi(2);
            map.iter().zip(&truth).map(square).sum::<f64>() / f64::from(size)
        };
        let pair = |(a, b): (&f32, &f32)| f64::from(a + b) / 2.0;
        let teacher: Vec<f64> = one.iter().zip(&two).map(pair).collect();
        let both = SgamExplainer::corrected(&guess, [&one, &two]);
        // 0.25 and 0.245 apart, 0.124 together.
        assert!(error(&both) < 0.7 * error(&guess).min(error(&teacher)));
        // Without noise the teacher has the word; without error nothing changes.
        let still: Vec<f32> = truth.iter().map(|&t| t as f32).collect();
        assert!(error(&SgamExplainer::corrected(&guess, [&still, &still])) < 1e-12);
        let own: Vec<f64> = still.iter().map(|&t| f64::from(t)).collect();
        assert_eq!(SgamExplainer::corrected(&own, [&still, &still]), own);
    }
}
