//! Images with labels, and where they come from.

use crate::data::dataset::Dataset;
use crate::error::Result;
use fgmf_net::Tensor;

/// Examples of a data set as a batch.
///
/// # Errors
/// As [`Dataset::images`].
pub fn batch_of(data: &Dataset, rows: &[usize]) -> Result<Batch> {
    let [c, h, w] = data.shape();
    Ok(Batch {
        x: Tensor::new(&[rows.len(), c, h, w], data.images(rows)?),
        labels: rows.iter().map(|&i| data.label(i)).collect(),
        index: rows.iter().map(|&i| i as u64).collect(),
    })
}

/// Images with labels, and where they come from.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[n, c, h, w]`.
    pub x: Tensor,
    /// True labels.
    pub labels: Vec<usize>,
    /// Position of each example in its data set; names its random streams.
    pub index: Vec<u64>,
}

impl Batch {
    /// The examples at these positions of the batch.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            x: self.x.select(0, rows),
            labels: rows.iter().map(|&r| self.labels[r]).collect(),
            index: rows.iter().map(|&r| self.index[r]).collect(),
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}
