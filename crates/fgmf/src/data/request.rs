//! What is wanted of a data set, known before anything is decoded.

use crate::data::recipe::Fit;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream};

/// How the images of a limited folder are chosen.
pub(crate) const SPREAD: &str = "spread over the classes by a fixed shuffle";

/// What is wanted of a data set.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataRequest {
    /// This many images at most. From class folders they are spread over the classes by a fixed
    /// shuffle, in a mixed order. From other files they are the first.
    pub limit: Option<usize>,
    /// `[channels, height, width]` that the images must have. Images of another shape are refused
    /// before they are decoded.
    pub shape: Option<[usize; 3]>,
    /// How pictures of folders are made to fit `shape` instead.
    pub fit: Fit,
    /// Bytes of decoded pixels that are held in memory, 256 MiB if not stated. The pictures of a
    /// larger folder are decoded anew whenever they are asked for.
    pub held: Option<u64>,
}

impl DataRequest {
    /// At most `limit` images, of this shape.
    pub fn new(limit: Option<usize>, shape: Option<[usize; 3]>) -> Self {
        Self {
            limit,
            shape,
            fit: Fit::Refused,
            held: None,
        }
    }

    /// With no more than so many bytes of pictures held in memory.
    pub fn holding(self, bytes: u64) -> Self {
        let held = Some(bytes);
        Self { held, ..self }
    }

    /// With pictures made to fit the shape, where it is known.
    pub fn fitted(self, fit: Fit) -> Self {
        Self { fit, ..self }
    }

    /// # Errors
    /// [`Error::Parameter`] when the limit is 0.
    pub(crate) fn check(&self) -> Result<()> {
        match self.limit {
            Some(0) => Err(Error::parameter("limit", "at least 1", 0)),
            _ => Ok(()),
        }
    }

    /// How many of `n` examples in file order are wanted.
    pub(crate) fn of(&self, n: usize) -> usize {
        self.limit.map_or(n, |limit| limit.min(n))
    }

    /// # Errors
    /// [`Error::Mismatch`] when images of this shape are not wanted.
    pub(crate) fn check_shape(&self, found: [usize; 3]) -> Result<()> {
        match self.shape {
            Some(shape) if shape != found => {
                let expected = format!("images of {shape:?} (c, h, w)");
                let found = format!("{found:?}");
                Err(Error::mismatch("match model and data", expected, found))
            }
            _ => Ok(()),
        }
    }
}

/// At most `limit` of the examples with these labels: from each class its share, shuffled. A
/// larger limit keeps what a smaller one chose, and adds to it.
pub(crate) fn spread(labels: &[usize], limit: usize) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |&label| label + 1);
    let mut members = vec![Vec::new(); classes];
    for (i, &label) in labels.iter().enumerate() {
        members[label].push(i);
    }
    let mut keyed = Vec::with_capacity(labels.len());
    for (class, members) in (0..).zip(&members) {
        let mut stream = Stream::new(0, Purpose::Shuffle, 0, class);
        let order = stream.permutation(members.len());
        for (rank, &at) in (0_u64..).zip(&order) {
            // Where this one stands in its class, as a share; equal shares are drawn for.
            let share = ((2 * rank + 1) << 31) / members.len() as u64;
            keyed.push((share, stream.below(u64::MAX), members[at]));
        }
    }
    keyed.sort_unstable();
    keyed.into_iter().take(limit).map(|(_, _, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_spread_over_the_classes_by_their_shares() {
        let labels: Vec<usize> = (0..120).map(|i| i / 12).collect();
        let counts = |chosen: &[usize]| {
            let mut counts = vec![0; 10];
            chosen.iter().for_each(|&i| counts[labels[i]] += 1);
            counts
        };
        let chosen = spread(&labels, 24);
        assert_eq!(chosen.len(), 24);
        assert!(counts(&chosen).iter().all(|&n| n == 2 || n == 3));
        assert_eq!(counts(&spread(&labels, 10)), [1; 10]);
        assert_eq!(spread(&labels, 40)[..24], chosen);
        // Not the first files by name, not class after class.
        assert!(chosen.iter().any(|i| i % 12 > 5));
        assert!(!chosen.is_sorted());
        let mut all = spread(&labels, usize::MAX);
        all.sort_unstable();
        assert_eq!(all, (0..120).collect::<Vec<_>>());
        // A class of 90 and one of 10: 9 and 1 of ten.
        let labels: Vec<usize> = (0..100).map(|i| usize::from(i >= 90)).collect();
        let rare = spread(&labels, 10).iter().filter(|&&i| i >= 90).count();
        assert_eq!(rare, 1);
    }
}
