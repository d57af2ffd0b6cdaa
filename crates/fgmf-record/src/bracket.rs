//! Records of proofs and attacks on the same ball: what is proved, and what was broken.

use crate::attack::{AttackRow, ExampleRecord};
use crate::map::MapRecord;
use crate::passes::Passes;
use crate::proportion::Proportion;
use crate::run::{BuildRecord, DataRecord, ModelFile, ThreatRecord};
use crate::words::Proof;
use serde::{Deserialize, Serialize};

/// `certify.json` of a norm ball.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BracketRecord {
    /// Hash of the model file.
    pub model: ModelFile,
    /// Data.
    pub data: DataRecord,
    /// Threat.
    pub threat: ThreatRecord,
    /// How answers are proved: `ibp`, interval bound propagation.
    pub bounds: String,
    /// Suite of the attacks.
    pub suite: String,
    /// Seed of the attacks.
    pub seed: u64,
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    pub build: BuildRecord,
    /// Images whose answer is right.
    pub clean: Proportion,
    /// Images with [`Proof::Right`]: no image of the ball has another answer. Robust accuracy is
    /// at least this.
    pub proved: Proportion,
    /// Images that stand after every attack. Robust accuracy is at most this.
    pub attacked: Proportion,
    /// Passes of the bounds: one for the centre, one for the radius.
    pub passes: Passes,
    /// Wall time of the bounds, seconds.
    pub seconds: f64,
    /// One row an attack.
    pub attacks: Vec<AttackRow>,
    /// Images that fell although they were proved, by their index: faults of the program, so none.
    pub contradictions: Vec<usize>,
    /// One row an image.
    pub images: Vec<BracketImage>,
    /// Some of the images, for the page.
    pub pictures: Vec<BracketPicture>,
}

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BracketImage {
    /// What attacks did.
    pub example: ExampleRecord,
    /// Lower bound of the least z_y − z_j over the ball; absent where it is not finite.
    pub margin: Option<f64>,
    /// [`Proof::Right`] or [`Proof::Open`].
    pub proof: Proof,
}

impl BracketImage {
    /// Whether attacks did what the proof excludes.
    pub fn is_contradiction(&self) -> bool {
        self.proof == Proof::Right && !self.example.robust
    }
}

/// An image for the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BracketPicture {
    /// Position in [`BracketRecord::images`].
    pub at: usize,
    /// The image.
    pub image: MapRecord,
    /// The image of the ball that has another answer, if one was found.
    pub attacked: Option<MapRecord>,
}
