//! What to do about errors whose cure is known.

use fgmf::Error;
use std::path::Path;

/// One sentence, if we know the fix.
pub(crate) fn of(error: &anyhow::Error) -> Option<&'static str> {
    let known = error.downcast_ref::<Error>()?;
    match known {
        Error::Network(fgmf_net::Error::File { source, .. }) => Some(of_model(source)),
        Error::Data { path, .. } if ends_in(path, &["png", "jpg", "jpeg"]) => {
            Some("`fgmf info MODEL.onnx` shows the images a model takes")
        }
        Error::Data { path, .. } if ends_in(path, &["webp", "gif", "bmp", "tif", "tiff"]) => {
            Some("save the picture as a PNG file")
        }
        Error::Data { .. } => Some(
            "DATA is `fashion-mnist-mini`, a folder of IDX files, CIFAR-10 batches, or \
                images in a folder per class",
        ),
        Error::Mismatch { .. } => {
            Some("`fgmf info MODEL.onnx` shows the images and classes a model takes")
        }
        Error::Parameter { name: "eps", .. } => {
            Some("eps is in pixel units of [0, 1]; 8/255 is what papers write as 8")
        }
        _ => None,
    }
}

/// Whether a file name ends in one of these, in small letters or capitals.
fn ends_in(path: &Path, ends: &[&str]) -> bool {
    let end = path.extension().unwrap_or_default();
    ends.iter().any(|e| end.eq_ignore_ascii_case(e))
}

/// For a model file, by what is wrong in it.
fn of_model(error: &fgmf_net::Error) -> &'static str {
    match error {
        fgmf_net::Error::Node { .. } => "the README lists the operators that are supported",
        fgmf_net::Error::OperatorSet { .. } => "export the model again with opset 13 to 21",
        _ => {
            "export the model again: one classifier, float32 images in, logits out, and the \
                weights inside the file"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `to` in the place of the first `from`.
    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    #[test]
    fn another_kind_of_picture_is_to_be_saved_anew() {
        let hint = |path: &str| {
            let error = Error::data(Path::new(path), "a whole PNG or JPEG image", "another kind");
            of(&error.into()).unwrap()
        };
        assert!(hint("x.WEBP").contains("as a PNG file"));
        assert!(hint("x.PNG").contains("fgmf info"));
        assert!(hint("folder").contains("fashion-mnist-mini"));
    }

    /// A network's error reaches the hints as it is, inside that of its file.
    #[test]
    fn a_model_file_gets_the_hint_for_what_is_wrong_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.onnx");
        let hint = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let error = fgmf_net::onnx::read(&file).unwrap_err();
            of(&Error::from(error).into()).unwrap()
        };
        let net = fgmf_testkit::toys::linear(&[vec![1.0], vec![2.0]], &[0.0; 2], [1, 1, 1]);
        let good = fgmf_net::onnx::to_bytes(&net.cast(fgmf_net::Precision::F32)).unwrap();
        assert!(hint(&replaced(&good, b"Gemm", b"Gone")).contains("operators"));
        // The field of the version, and its value.
        assert!(hint(&replaced(&good, &[0x10, 20], &[0x10, 9])).contains("opset"));
        assert!(hint(b"no model at all").contains("weights inside the file"));
    }
}
