//! Where the search of each training image ended: kept from one visit to the next.

use fgmf_net::Tensor;

/// Displacements of all training images in units of the radius, a byte a number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Displacements {
    size: usize,
    /// `[n, size]`, in units of 1/127 of the largest of the image.
    values: Vec<i8>,
    /// Largest absolute value of each image, `[n]`.
    scales: Vec<f32>,
}

impl Displacements {
    /// Zeros for `images` of `size` numbers each.
    pub(super) fn new(images: usize, size: usize) -> Self {
        Self {
            size,
            values: vec![0; images * size],
            scales: vec![0.0; images],
        }
    }

    /// From bytes of [`Self::bytes`]; none where they are not those of `images` of `size` numbers.
    pub(super) fn from_bytes(images: usize, size: usize, bytes: &[u8]) -> Option<Self> {
        let (values, scales) = bytes.split_at_checked(images * size)?;
        let (scales, rest) = scales.as_chunks::<4>();
        let whole = scales.len() == images && rest.is_empty();
        whole.then(|| Self {
            size,
            values: values.iter().map(|b| b.cast_signed()).collect(),
            scales: scales.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        })
    }

    /// As a file holds them: the values, then the scales.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.values.iter().map(|v| v.cast_unsigned()).collect();
        bytes.extend(self.scales.iter().flat_map(|s| s.to_le_bytes()));
        bytes
    }

    /// Bytes that so many images of so many numbers take.
    pub(super) fn bytes_of(images: usize, size: usize) -> u64 {
        images as u64 * (size as u64 + 4)
    }

    /// That of an image.
    pub(super) fn row(&self, image: u64) -> Vec<f32> {
        let image = image as usize;
        let unit = self.scales[image] / 127.0;
        let values = &self.values[image * self.size..][..self.size];
        values.iter().map(|v| f32::from(*v) * unit).collect()
    }

    /// Takes the `[n, c, h, w]` of a batch in the place of what its images had.
    pub(super) fn set(&mut self, images: &[u64], batch: &Tensor) {
        for (&image, row) in images.iter().zip(batch.to_f32().chunks_exact(self.size)) {
            self.set_row(image, row);
        }
    }

    /// Takes `row` in the place of what the image had.
    pub(super) fn set_row(&mut self, image: u64, row: &[f32]) {
        let image = image as usize;
        let scale = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        self.scales[image] = scale;
        let unit = if scale > 0.0 { 127.0 / scale } else { 0.0 };
        let values = &mut self.values[image * self.size..][..self.size];
        for (to, v) in values.iter_mut().zip(row) {
            // Rounded to the nearest, in vector registers, where `round` is a call.
            *to = (v * unit + 0.5f32.copysign(*v)) as i8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within half a step of 1/127 of the largest; what is at the ends comes back as it was; bytes
    /// and back is the same.
    #[test]
    fn what_is_kept_comes_back() {
        let mut kept = Displacements::new(3, 4);
        assert_eq!(kept.row(2), [0.0; 4]);
        let rows = Tensor::new(
            &[2, 1, 2, 2],
            vec![1.0, -1.0, 0.4, 0.0, 0.0, 0.02, -0.01, 0.013],
        );
        kept.set(&[2, 0], &rows);
        for (image, row) in [2, 0].into_iter().zip(rows.to_f32().chunks_exact(4)) {
            let largest = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (a, b) in kept.row(image).iter().zip(row) {
                assert!((a - b).abs() <= 0.5001 * largest / 127.0, "{a} {b}");
            }
        }
        assert_eq!(kept.row(2)[..2], [1.0, -1.0]);
        assert_eq!(kept.row(1), [0.0; 4]);
        let bytes = kept.bytes();
        assert_eq!(bytes.len() as u64, Displacements::bytes_of(3, 4));
        assert_eq!(Displacements::from_bytes(3, 4, &bytes), Some(kept));
        assert_eq!(Displacements::from_bytes(3, 5, &bytes), None);
        assert_eq!(Displacements::from_bytes(3, 4, &bytes[1..]), None);
    }
}
