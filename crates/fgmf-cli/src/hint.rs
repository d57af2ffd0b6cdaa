//! What to do about errors whose cure is known.

use fgmf::Error;

/// One sentence, if we know the fix.
pub(crate) fn of(error: &anyhow::Error) -> Option<&'static str> {
    let known = error.downcast_ref::<Error>()?;
    match known {
        Error::Network(fgmf_net::Error::File { .. }) => {
            Some("export the model again with opset 13 to 21 and weights inside the file")
        }
        Error::Network(fgmf_net::Error::Node { .. }) => {
            Some("the README lists the operators that are supported")
        }
        Error::Data { path, .. }
            if path.extension().is_some_and(|e| {
                ["png", "jpg", "jpeg"]
                    .iter()
                    .any(|i| e.eq_ignore_ascii_case(i))
            }) =>
        {
            Some("`fgmf info MODEL.onnx` shows the images a model takes")
        }
        Error::Data { .. } => Some(
            "DATA is `fashion-mnist-mini`, a folder of IDX files, CIFAR-10 batches, or \
                images in a folder per class",
        ),
        Error::Mismatch { .. } => {
            Some("`fgmf info MODEL.onnx` shows the images and classes a model takes")
        }
        _ => None,
    }
}
