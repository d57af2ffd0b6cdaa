//! Attacked images beside clean ones.

use crate::arguments::Attacked;
use crate::commands::shared::threat_on;
use anyhow::Result;
use fgmf::Error;
use fgmf::attack::{ApgdParams, Attack, PgdParams, run_attack};
use fgmf::data::{Batch, Dataset};
use fgmf::model::{Oracle, Scores, predictions};
use fgmf::study::{EvaluationInput, read_adversarial};
use fgmf::threat::ThreatModel;
use fgmf_net::Tensor;
use serde_json::{Value, json};

/// What makes the second input.
pub(super) struct Attacker {
    source: Source,
    own: bool,
    threat: ThreatModel,
    seed: u64,
}

enum Source {
    None,
    Attack(Attack),
    /// Images of an earlier run, and where they are from.
    Kept(Tensor, Value),
}

impl Attacker {
    /// From the command line, for images of a shape; `usual` is the attack where none is named.
    /// Images of an earlier run are checked against the data and against the model with this hash.
    pub(super) fn new(
        flags: &Attacked,
        usual: &str,
        shape: [usize; 3],
        data: Option<&Dataset>,
        model_sha256: &str,
        seed: u64,
    ) -> Result<Self> {
        let threat = threat_on(flags.norm.parse()?, flags.eps, shape)?;
        let own = match flags.explain.as_str() {
            "clean" => false,
            "own" => true,
            other => return Err(Error::parameter("explain", "clean or own", other).into()),
        };
        let source = match (&flags.adversarial, flags.attack.as_deref().unwrap_or(usual)) {
            (Some(path), _) => {
                let data = data.ok_or_else(|| {
                    let expected = "--data, whose images it was made of";
                    Error::parameter("adversarial", expected, path.display())
                })?;
                let kept = read_adversarial(path, data, &threat, model_sha256, flags.transferred)?;
                let made_of = kept.origin.map(|o| o.model_sha256);
                let mut from = json!({ "file": path, "sha256": kept.sha256 });
                if made_of.as_deref() != Some(model_sha256) {
                    from["transferred_from"] = json!({ "model_sha256": made_of });
                }
                Source::Kept(kept.x, from)
            }
            (None, "none") => Source::None,
            (None, "pgd") => Source::Attack(Attack::White(Box::new(PgdParams::default().check()?))),
            (None, "apgd") => {
                Source::Attack(Attack::White(Box::new(ApgdParams::default().check()?)))
            }
            (None, other) => {
                return Err(Error::parameter("attack", "pgd, apgd or none", other).into());
            }
        };
        Ok(Self {
            source,
            own,
            threat,
            seed,
        })
    }

    pub(super) fn threat(&self) -> &ThreatModel {
        &self.threat
    }

    /// The images `x`, of which the first is number `first` of all, and, if asked for, what the
    /// attack makes of them. What is attacked is the model's own answer, so that no image is left
    /// out; `class` is explained, or that answer.
    pub(super) fn inputs(
        &self,
        oracle: &Oracle<'_>,
        x: &Tensor,
        first: usize,
        class: Option<usize>,
    ) -> Result<Vec<EvaluationInput>> {
        let labels = predictions(&oracle.logits(x)?);
        let n = labels.len();
        let (name, parameters, moved) = match &self.source {
            Source::None => (String::new(), Value::Null, None),
            Source::Attack(attack) => {
                let index = (first..first + n).map(|i| i as u64).collect();
                let batch = Batch {
                    x: x.clone(),
                    labels: labels.clone(),
                    index,
                };
                let moved =
                    run_attack(attack, oracle, &batch, &self.threat, self.seed)?.adversarial;
                (attack.id().to_owned(), attack.parameters(), Some(moved))
            }
            Source::Kept(all, from) => (
                "adversarial".to_owned(),
                from.clone(),
                Some(all.rows(first, n)),
            ),
        };
        let targets = class.map_or(labels, |c| vec![c; n]);
        let mut out = vec![EvaluationInput {
            name: "clean".into(),
            parameters: json!({}),
            x: x.clone(),
            targets: targets.clone(),
        }];
        if let Some(x) = moved {
            let targets = if self.own {
                predictions(&oracle.logits(&x)?)
            } else {
                targets
            };
            out.push(EvaluationInput {
                name,
                parameters,
                x,
                targets,
            });
        }
        Ok(out)
    }
}
