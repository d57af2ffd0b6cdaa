//! Attacked images beside clean ones.

use crate::arguments::Attacked;
use crate::commands::shared::threat_on;
use anyhow::Result;
use fgmf::Error;
use fgmf::attack::{ApgdParams, Attack, PgdParams, run_attack};
use fgmf::data::Batch;
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
    /// From the command line; `shape` is that of all images, `usual` the attack where none is
    /// named.
    pub(super) fn new(flags: &Attacked, usual: &str, shape: [usize; 4], seed: u64) -> Result<Self> {
        let threat = {
            let [_, c, h, w] = shape;
            threat_on(flags.norm.parse()?, flags.eps, [c, h, w])?
        };
        let own = match flags.explain.as_str() {
            "clean" => false,
            "own" => true,
            other => return Err(Error::parameter("explain", "clean or own", other).into()),
        };
        let source = match (&flags.adversarial, flags.attack.as_deref().unwrap_or(usual)) {
            (Some(path), _) => {
                let sha256 =
                    fgmf_record::hash::sha256(&std::fs::read(path).map_err(Error::io(path))?);
                Source::Kept(
                    read_adversarial(path, &shape)?,
                    json!({ "file": path, "sha256": sha256 }),
                )
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
