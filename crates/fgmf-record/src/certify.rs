//! Records of proofs against patches.

use crate::map::MapRecord;
use crate::passes::Passes;
use crate::proportion::Proportion;
use crate::run::{BuildRecord, DataRecord, ModelFile};
use crate::words::Proof;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Rectangle {
    /// Its rows.
    pub fn rows(&self) -> Range<usize> {
        self.top..self.top + self.height
    }

    /// Its columns.
    pub fn columns(&self) -> Range<usize> {
        self.left..self.left + self.width
    }

    /// Whether a pixel is in it.
    pub fn holds(&self, row: usize, column: usize) -> bool {
        self.rows().contains(&row) && self.columns().contains(&column)
    }

    /// Whether another rectangle lies in it.
    pub fn covers(&self, other: &Self) -> bool {
        let inside = |a: Range<usize>, b: Range<usize>| a.start <= b.start && b.end <= a.end;
        inside(self.rows(), other.rows()) && inside(self.columns(), other.columns())
    }
}

/// Patches that an attacker may put anywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchThreatRecord {
    /// Rows and columns of a patch.
    pub size: [usize; 2],
    /// Number of patches.
    pub count: usize,
    /// Smallest and largest pixel value.
    pub bounds: [f64; 2],
}

/// The masks of a proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskSetRecord {
    /// Masks along each axis that were asked for.
    pub per_axis: usize,
    /// Rows and columns from a mask to the next.
    pub stride: [usize; 2],
    /// Rows and columns of a mask.
    pub size: [usize; 2],
    /// Masks; against several patches a mask is as many rectangles.
    pub masks: usize,
    /// Pairs of masks, a mask with itself among them: answers that a proof needs.
    pub pairs: usize,
}

/// `certify.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertifyRecord {
    /// Hash of the model file.
    pub model: ModelFile,
    /// Data.
    pub data: DataRecord,
    /// Threat.
    pub threat: PatchThreatRecord,
    /// Masks.
    pub masks: MaskSetRecord,
    /// What stands in the place of hidden pixels: a value, or `outside`.
    pub fill: String,
    /// Seed of the attacks.
    pub seed: u64,
    /// Version of the tool.
    pub version: String,
    /// Which build made it.
    pub build: BuildRecord,
    /// Images whose bare answer is right.
    pub clean: Proportion,
    /// Images whose defended answer is right.
    pub defended: Proportion,
    /// Images without a patch on which the detector gives the alarm.
    pub false_alarms: Proportion,
    /// Images with [`Proof::Right`].
    pub proved_right: Proportion,
    /// Images with [`Proof::Detected`] or [`Proof::Right`], which implies it.
    pub proved_detected: Proportion,
    /// Passes of the proofs and of the defended answers.
    pub passes: Passes,
    /// Wall time of these, seconds.
    pub seconds: f64,
    /// What patches did, if the images were attacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<PatchAttackRecord>,
    /// One row an image.
    pub images: Vec<CertifiedImage>,
    /// Some of the images, for the page.
    pub pictures: Vec<CertifiedPicture>,
}

/// What patch attacks did to all images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchAttackRecord {
    /// The attacks in their order, each with its settings.
    pub attacks: Vec<crate::run::MethodRecord>,
    /// Images whose bare answer is right after every attack.
    pub bare: Proportion,
    /// Images whose defended answer is right after every attack.
    pub defended: Proportion,
    /// Images on which the detector answers rightly or gives the alarm after every attack.
    pub detected: Proportion,
    /// Passes of the attacks.
    pub passes: Passes,
    /// Wall time of the attacks, seconds.
    pub seconds: f64,
    /// Images that fell although they were proved: faults of the program, so none.
    pub contradictions: Vec<usize>,
}

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertifiedImage {
    /// Index in the data set.
    pub index: usize,
    /// True label.
    pub label: usize,
    /// Answer of the bare model; absent where it names no class.
    pub prediction: Option<usize>,
    /// Answer of the defended model.
    pub defended: Option<usize>,
    /// Whether the detector gives the alarm: not all images with one mask have the same answer.
    pub alarm: bool,
    /// What is proved.
    pub proof: Proof,
    /// Why the image is not proved right: the first masks found with another answer than the label.
    pub refuted: Option<Refutation>,
    /// Passes for it.
    pub passes: u64,
    /// The patches that did most, if the image was attacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patched: Option<PatchedImage>,
}

impl CertifiedImage {
    /// Whether patches fooled the defended model.
    pub fn is_broken(&self) -> bool {
        let patched = self.patched.as_ref();
        patched.is_some_and(|p| p.defended != Some(self.label))
    }

    /// Whether patches did what the proof excludes.
    pub fn is_contradiction(&self) -> bool {
        let slipped = |p: &PatchedImage| !p.alarm && p.shared != Some(self.label);
        match self.proof {
            Proof::Right => self.is_broken() || self.patched.as_ref().is_some_and(slipped),
            Proof::Detected => self.patched.as_ref().is_some_and(slipped),
            Proof::Open => false,
        }
    }
}

/// Masks whose image has another answer than the label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refutation {
    /// What is hidden.
    pub hidden: Vec<Rectangle>,
    /// The answer; absent where the model names no class.
    pub answer: Option<usize>,
}

/// An image under attack by patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchedImage {
    /// Id of the attack.
    pub attack: String,
    /// Where each patch is, and its values, `[c, height, width]`.
    pub patches: Vec<(Rectangle, Vec<f32>)>,
    /// Answer of the bare model.
    pub prediction: Option<usize>,
    /// Answer of the defended model.
    pub defended: Option<usize>,
    /// Whether the detector gives the alarm.
    pub alarm: bool,
    /// The answer of the detector, where it gives no alarm.
    pub shared: Option<usize>,
}

/// An image for the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertifiedPicture {
    /// Position in [`CertifyRecord::images`].
    pub at: usize,
    /// The image.
    pub image: MapRecord,
    /// The image with the masks of [`CertifiedImage::refuted`], if there are any.
    pub masked: Option<MapRecord>,
    /// The image with its patches, if it was attacked.
    pub patched: Option<MapRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_hold_and_cover() {
        let at = |top, left, height, width| Rectangle {
            top,
            left,
            height,
            width,
        };
        let large = at(2, 3, 4, 5);
        assert!(large.holds(2, 3) && large.holds(5, 7) && !large.holds(6, 3) && !large.holds(2, 8));
        assert!(large.covers(&large) && large.covers(&at(3, 4, 3, 4)));
        assert!(!large.covers(&at(3, 4, 3, 5)) && !at(3, 4, 3, 4).covers(&large));
    }

    #[test]
    fn what_a_proof_excludes_is_a_contradiction() {
        let image = |proof, defended, alarm, shared| CertifiedImage {
            index: 0,
            label: 1,
            prediction: Some(1),
            defended: Some(1),
            alarm: false,
            proof,
            refuted: None,
            passes: 0,
            patched: Some(PatchedImage {
                attack: "any".into(),
                patches: Vec::new(),
                prediction: Some(0),
                defended,
                alarm,
                shared,
            }),
        };
        for (proof, defended, alarm, shared, contradiction) in [
            (Proof::Right, Some(1), true, None, false),
            (Proof::Right, Some(1), false, Some(1), false),
            (Proof::Right, Some(0), true, None, true),
            (Proof::Right, None, true, None, true),
            (Proof::Right, Some(1), false, Some(0), true),
            (Proof::Detected, Some(0), true, None, false),
            (Proof::Detected, Some(0), false, Some(0), true),
            (Proof::Open, Some(0), false, Some(0), false),
        ] {
            let image = image(proof, defended, alarm, shared);
            assert_eq!(image.is_contradiction(), contradiction, "{image:?}");
        }
    }
}
