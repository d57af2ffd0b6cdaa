//! What to do about errors whose cure is known.

use crate::commands::GUARDED;
use fgmf::Error;
use fgmf_net::ExportFault;
use std::path::Path;

/// One sentence, if we know the fix.
pub(crate) fn of(error: &anyhow::Error) -> Option<&'static str> {
    let known = error.downcast_ref::<Error>()?;
    match known {
        Error::Network(fgmf_net::Error::File { source, .. }) => Some(of_model(source)),
        // By what is in the file: its name may say otherwise.
        Error::Data { found, .. } if found.ends_with(" picture") => {
            Some("save the picture as a PNG file")
        }
        Error::Data { path, .. } if ends_in(path, &["png", "jpg", "jpeg", "webp"]) => Some(
            "`fgmf info MODEL.onnx` shows the images a model takes; `--resize` makes pictures \
             fit",
        ),
        Error::Data { path, .. } if ends_in(path, &["gif", "bmp", "tif", "tiff"]) => {
            Some("save the picture as a PNG file")
        }
        Error::Data { .. } => Some(
            "DATA is `fashion-mnist-mini`, a folder of IDX files, CIFAR-10 batches, or \
                images in a folder per class",
        ),
        Error::Remote { .. } => Some(
            "docs/black-box.md has the protocols; what was answered is kept in --out, and the same \
             command goes on",
        ),
        Error::Budget { .. } => Some("--queries N allows more"),
        Error::Parameter { name: "MODEL", .. } => Some("docs/black-box.md has the addresses"),
        Error::Mismatch { operation, .. } if *operation == GUARDED => {
            Some("add those flags; --as-it-is goes on without them")
        }
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
        fgmf_net::Error::Node { .. } => {
            "the README lists the operators that are supported; any other model can be asked \
             through 'pipe:python3 examples/serve_onnx.py FILE.onnx' (docs/black-box.md)"
        }
        fgmf_net::Error::Export { fault, .. } => of_export(*fault),
        fgmf_net::Error::OperatorSet { .. } => "export the model again with opset 7 to 24",
        _ => {
            "export the model again: one classifier, float32 images in, logits out, and the \
                weights inside the file"
        }
    }
}

/// For a fault of the export.
fn of_export(fault: ExportFault) -> &'static str {
    match fault {
        ExportFault::Precision => {
            "export the model in float32: `model.float()` before torch.onnx.export, with float32 \
             images"
        }
        ExportFault::ExternalData => {
            "keep the data files of a model in its folder, or save it as one file: \
             torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(FILE), NEW)"
        }
        ExportFault::Pointer => "fetch the model itself: `git lfs pull`",
        ExportFault::Output => "--output takes one of these names; fgmf.toml may hold one, too",
        ExportFault::Size => {
            "--input-size HxW states the size where a file leaves it free; fgmf.toml or \
             preprocessor_config.json beside the model may hold it, too"
        }
        ExportFault::TrainingMode => "call `model.eval()` before the export",
        _ => "export the model again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of a message that holds a message or a text of fewer than 128 bytes.
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        [&[tag << 3 | 2, bytes.len() as u8][..], bytes].concat()
    }

    /// A model of operator set 17 with this in its graph.
    fn model_of(graph: &[u8]) -> Vec<u8> {
        [field(8, &[2 << 3, 17]), field(7, graph)].concat()
    }

    /// `to` in the place of the first `from`.
    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    #[test]
    fn another_kind_of_picture_is_to_be_saved_anew() {
        let hint = |path: &str| {
            let error = Error::data(
                Path::new(path),
                "a whole PNG, JPEG or WebP image",
                "another kind",
            );
            of(&error.into()).unwrap()
        };
        let named = Error::data(
            Path::new("x.png"),
            "a whole PNG, JPEG or WebP image",
            "a GIF picture",
        );
        assert!(of(&named.into()).unwrap().contains("as a PNG file"));
        assert!(hint("x.TIFF").contains("as a PNG file"));
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
        assert!(hint(&replaced(&good, &[0x10, 20], &[0x10, 6])).contains("opset"));
        assert!(hint(b"no model at all").contains("weights inside the file"));
        // The element type of the images, before their shape.
        for code in [2, 6] {
            let other = replaced(&good, &[8, 1, 0x12], &[8, code, 0x12]);
            assert!(hint(&other).contains("in float32"));
        }
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 44\n";
        assert!(hint(pointer).contains("git lfs pull"));
        let name = |text: &[u8], tag: u8| field(tag, text);
        // A node: its operator, and an attribute that is 1.
        let mode = [name(b"training_mode", 1), vec![3 << 3, 1]].concat();
        let node = [name(b"BatchNormalization", 4), field(5, &mode)].concat();
        assert!(hint(&model_of(&field(1, &node))).contains("model.eval()"));
        // A stored array: its name, and that it lies in another file.
        let stored = [name(b"w", 8), vec![14 << 3, 1]].concat();
        assert!(hint(&model_of(&field(5, &stored))).contains("as one file"));
    }
}
