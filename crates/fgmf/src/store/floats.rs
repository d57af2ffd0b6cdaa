//! Numbers for other tools to read.

use crate::error::{Error, Result};
use crate::store::atomic;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// Writes a safetensors file with one array of this name and shape, F32.
///
/// # Errors
/// [`Error::Record`] when there are not as many values as the shape has; [`Error::Io`] when the
/// system refuses.
pub fn write_floats(path: &Path, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes);
    let view = view.map_err(|e| Error::record(path, e))?;
    let file = safetensors::serialize([(name, view)], None);
    atomic::write(path, &file.map_err(|e| Error::record(path, e))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("z.safetensors");
        write_floats(&path, "logits", &[2, 1], &[1.5, -0.25]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let array = read.tensor("logits").unwrap();
        assert_eq!((array.shape(), array.dtype()), (&[2, 1][..], Dtype::F32));
        let expected: Vec<u8> = [1.5f32, -0.25]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(array.data(), expected);
        assert!(write_floats(&path, "logits", &[3], &[0.0]).is_err());
    }
}
