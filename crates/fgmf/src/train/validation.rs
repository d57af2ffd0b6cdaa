//! Images held out of the training data, and how a network withstands attacks on them.

use crate::attack::base::{Attack, Ending};
use crate::attack::pgd::PgdParams;
use crate::attack::sealed::run_attack;
use crate::data::batch::batch_of;
use crate::data::dataset::Dataset;
use crate::data::request::spread;
use crate::error::{Error, Result};
use crate::model::oracle::Oracle;
use crate::record::{Proportion, ValidationRecord};
use crate::threat::ThreatModel;
use fgmf_net::Session;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which images choose the network that is kept, and what they are attacked with: PGD at the radius
/// trained against. After each epoch the network is judged on them; the one that withstands most
/// is kept, of equals the one that is right most often without attack, then the first.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `share` | 0.1 | of the training images, spread over the classes; above 0, at most 0.5 |
/// | `most` | 500 | images, 1 or more |
/// | `steps` | 10 | of PGD, 1 to 1,000 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationParams {
    /// Share of the training images that is held out.
    pub share: f64,
    /// At most this many.
    pub most: usize,
    /// Steps of the attack.
    pub steps: usize,
}

/// The network that images held out have chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptEpoch {
    /// The epoch at whose end it was, from 1; 0 is the network that training began with.
    pub epoch: usize,
    /// How it does on these images.
    pub validation: ValidationRecord,
    /// How the network did that training began with.
    pub before: ValidationRecord,
}

impl Default for ValidationParams {
    fn default() -> Self {
        Self {
            share: 0.1,
            most: 500,
            steps: 10,
        }
    }
}

/// PGD with so many steps.
pub(super) fn pgd(steps: usize) -> Result<Attack> {
    let params = PgdParams {
        steps,
        ..PgdParams::default()
    };
    Ok(Attack::White(Box::new(params.check()?)))
}

impl ValidationParams {
    /// Images attacked at a time.
    pub(super) const CALL: usize = 128;

    pub(super) fn check(&self) -> Result<()> {
        if !(self.share > 0.0 && self.share <= 0.5) {
            let expected = "above 0, at most 0.5";
            return Err(Error::parameter("validation.share", expected, self.share));
        }
        if self.most == 0 {
            return Err(Error::parameter("validation.most", "1 or more", 0));
        }
        self.attack().map(|_| ())
    }

    fn attack(&self) -> Result<Attack> {
        pgd(self.steps)
    }

    /// Positions of the images that train, and of those that are held out; the first in file
    /// order.
    pub(super) fn split(&self, data: &Dataset) -> Result<[Vec<usize>; 2]> {
        let wanted = ((self.share * data.len() as f64).round() as usize).clamp(1, self.most);
        let held: BTreeSet<usize> = spread(data.labels(), wanted).into_iter().collect();
        let rest: Vec<usize> = (0..data.len()).filter(|i| !held.contains(i)).collect();
        if rest.len() < 2 {
            let found = format!("{} images", data.len());
            let expected = "at least 3 images, so that some can be held out";
            return Err(Error::mismatch("validation", expected, found));
        }
        Ok([rest, held.into_iter().collect()])
    }

    /// How `net` does on the images at `rows`, without attack and under it. The draws of the attack
    /// do not depend on the epoch, so that epochs are compared on the same ones.
    pub(super) fn judge(
        &self,
        net: &Session,
        (data, rows): (&Dataset, &[usize]),
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<ValidationRecord> {
        let attack = self.attack()?;
        let (mut clean, mut robust) = (0, 0);
        for rows in rows.chunks(Self::CALL) {
            let batch = batch_of(data, rows)?;
            let outcome = run_attack(&attack, &Oracle::new(net), &batch, threat, seed)?;
            let wrong = |e: &&Ending| **e == Ending::AlreadyWrong;
            clean += rows.len() - outcome.endings.iter().filter(wrong).count();
            robust += outcome.success.iter().filter(|broken| !**broken).count();
        }
        Ok(ValidationRecord {
            clean: Proportion::new(clean, rows.len()),
            robust: Proportion::new(robust, rows.len()),
        })
    }
}
