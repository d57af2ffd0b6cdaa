//! Reference images that an image is compared with.

use crate::error::{Error, Result};
use crate::explain::parts::ask::four;
use fgmf_net::Tensor;

/// Where reference images come from.
#[derive(Clone, Debug)]
pub(crate) enum Background {
    /// Images of one grey level each.
    Levels(Vec<f64>),
    /// Given images, `[m, c, h, w]`.
    Images(Tensor),
}

impl Background {
    /// Constant images at these levels: 1 to 1,000, finite.
    pub(crate) fn levels(levels: &[f64]) -> Result<Self> {
        if !(1..=1000).contains(&levels.len()) {
            return Err(Error::parameter(
                "levels",
                "1 to 1000 grey levels",
                levels.len(),
            ));
        }
        match levels.iter().find(|v| !v.is_finite()) {
            Some(v) => Err(Error::parameter("levels", "finite numbers", v)),
            None => Ok(Self::Levels(levels.to_vec())),
        }
    }

    /// Given images, at least one, finite.
    pub(crate) fn images(given: Tensor) -> Result<Self> {
        if given.rank() != 4 || given.is_empty() || !given.is_finite() {
            return Err(Error::mismatch(
                "background",
                "finite images [m, c, h, w], at least one",
                format!("{:?}", given.shape()),
            ));
        }
        Ok(Self::Images(given))
    }

    /// The images for a batch like `x`, in its precision.
    pub(crate) fn like(&self, x: &Tensor) -> Result<Tensor> {
        let [_, c, h, w] = four(x);
        match self {
            Self::Levels(levels) => {
                let values = levels
                    .iter()
                    .flat_map(|&v| std::iter::repeat_n(v, c * h * w))
                    .collect::<Vec<f64>>();
                Ok(Tensor::new(&[levels.len(), c, h, w], values).cast(x.precision()))
            }
            Self::Images(given) if given.shape()[1..] == [c, h, w] => Ok(given.cast(x.precision())),
            Self::Images(given) => Err(Error::mismatch(
                "background",
                format!("images of shape [m, {c}, {h}, {w}]"),
                format!("{:?}", given.shape()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_images_are_checked() {
        let x = Tensor::new(&[1, 2, 1, 2], vec![0.0f32; 4]);
        assert_eq!(
            Background::levels(&[0.0, 0.5])
                .unwrap()
                .like(&x)
                .unwrap()
                .to_f64(),
            [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]
        );
        let given = Tensor::new(&[1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            Background::images(given)
                .unwrap()
                .like(&x)
                .unwrap()
                .to_f32(),
            [1.0, 2.0, 3.0, 4.0]
        );
        assert!(
            Background::images(Tensor::new(&[1, 1, 1, 2], vec![0.0; 2]))
                .unwrap()
                .like(&x)
                .is_err()
        );
        assert!(Background::levels(&[]).is_err() && Background::levels(&[f64::NAN]).is_err());
        assert!(Background::images(Tensor::new(&[1, 2], vec![0.0; 2])).is_err());
    }
}
