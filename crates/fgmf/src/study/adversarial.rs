//! Images that an attack run has kept.

use crate::error::{Error, Result};
use fgmf_net::Tensor;
use safetensors::tensor::{Dtype, SafeTensors};
use std::path::Path;

/// The first n images of the array `adversarial [m, c, h, w]` in a safetensors file, as
/// `fgmf attack` writes it; `shape` is `[n, c, h, w]`, n at most m.
pub fn read_adversarial(path: &Path, shape: &[usize]) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::record(path, e))?;
    let view = file
        .tensor("adversarial")
        .map_err(|e| Error::record(path, e))?;
    let fits = view.dtype() == Dtype::F32
        && view.shape().get(1..) == shape.get(1..)
        && view.shape().first() >= shape.first();
    if !fits {
        let found = format!("{:?} of shape {:?}", view.dtype(), view.shape());
        return Err(Error::record(
            path,
            format!(
                "expected `adversarial` as F32 with at least the images of {shape:?}, found {found}"
            ),
        ));
    }
    let count = shape.iter().product();
    let values = view
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .take(count)
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    Ok(Tensor::new::<f32>(shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn the_first_images_are_read_and_misfits_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adversarial.safetensors");
        let bytes: Vec<u8> = (0..12).flat_map(|v| (v as f32).to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![3, 1, 2, 2], &bytes).unwrap();
        std::fs::write(
            &path,
            safetensors::serialize([("adversarial", view)], None).unwrap(),
        )
        .unwrap();
        assert_eq!(
            read_adversarial(&path, &[2, 1, 2, 2]).unwrap().to_f32(),
            (0..8).map(|v| v as f32).collect::<Vec<_>>()
        );
        for shape in [[4, 1, 2, 2], [2, 1, 4, 1]] {
            assert!(
                read_adversarial(&path, &shape)
                    .unwrap_err()
                    .to_string()
                    .contains("[3, 1, 2, 2]")
            );
        }
        std::fs::write(&path, b"nothing").unwrap();
        assert!(
            read_adversarial(&path, &[1, 1, 2, 2]).is_err()
                && read_adversarial(&folder.path().join("none"), &[1, 1, 2, 2]).is_err()
        );
    }
}
