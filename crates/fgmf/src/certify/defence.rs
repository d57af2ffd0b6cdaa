//! The defended answer: double masking (Xiang et al. 2022, algorithm 1).
//!
//! 1. The image is asked about with each mask. Where all answers are the same, that is the answer.
//! 2. Otherwise the most frequent answer is the majority, and each mask with another answer is a
//!    disagreer. It is asked about again with each second mask. If none changes its answer, that
//!    is the answer.
//! 3. If each disagreer changes its answer, the majority is the answer.
//!
//! A patch lies under one of the masks. If all answers to two masks on the clean image are y, that
//! mask gives y in round 1, and stays at y in round 2. A disagreer with another answer meets that
//! mask in round 2 and changes to y. So the answer is y in each of the three cases.
//!
//! The detector is round 1 alone. Where all answers are the same, that is its answer; otherwise it
//! gives the alarm.
//!
//! Difference from the paper: a model may name no class, where its largest scores are equal. That
//! counts as an answer of its own, so the argument holds for it. Of answers that are equally
//! frequent the smallest class is the majority.

use crate::certify::round::{Answer, Masked, Round};
use crate::error::Result;

/// What the defence says of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefendedAnswer {
    /// The answer of double masking; none where it names no class.
    pub answer: Option<usize>,
    /// Whether the detector gives the alarm.
    pub alarm: bool,
    /// Forward passes.
    pub passes: u64,
}

/// The defended answer to an image `[c, h, w]`.
pub fn defended_answer(masked: Masked<'_>, image: &[f32]) -> Result<DefendedAnswer> {
    let mut round = Round::new(masked, image)?;
    let answer = double_masking(&mut round)?;
    Ok(DefendedAnswer {
        answer,
        alarm: round.shared().is_none(),
        passes: round.passes(),
    })
}

/// The most frequent answer, of equals the smallest class.
fn majority(answers: &[Answer]) -> Answer {
    let count = |a: &Answer| answers.iter().filter(|b| *b == a).count();
    let mut all = answers.to_vec();
    // No class stands behind every class.
    all.sort_by_key(|a| a.unwrap_or(usize::MAX));
    let larger = |best: Answer, a: &Answer| if count(a) > count(&best) { *a } else { best };
    all.iter().fold(all[0], larger)
}

pub(crate) fn double_masking(round: &mut Round<'_>) -> Result<Answer> {
    let singles = round.singles().to_vec();
    let majority = majority(&singles);
    for (i, &answer) in singles.iter().enumerate() {
        if answer == majority {
            continue;
        }
        let with_each = (0..singles.len()).map(|j| [i, j]);
        if round.first_other(with_each, answer)?.is_none() {
            return Ok(answer);
        }
    }
    Ok(majority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_answer_wins_and_the_smallest_of_equals() {
        for (answers, expected) in [
            (vec![Some(2), Some(1), Some(2)], Some(2)),
            (vec![Some(2), Some(1)], Some(1)),
            (vec![None, Some(3)], Some(3)),
            (vec![None, None, Some(3)], None),
        ] {
            assert_eq!(majority(&answers), expected, "{answers:?}");
        }
    }
}
