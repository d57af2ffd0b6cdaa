//! Numbers in a file beside the model.

use super::proto::*;
use super::tiny::*;
use fgmf_net::{Error, ExportFault, Network, onnx};
use std::path::PathBuf;

/// A folder of its own for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("fgmf-external-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("model/inner")).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    fn read(&self, model: &ModelProto) -> Result<Network, Error> {
        self.write("model/m.onnx", &bytes(model));
        onnx::read(&self.0.join("model/m.onnx"))
    }

    #[track_caller]
    fn refuses(&self, model: &ModelProto, parts: &[&str]) {
        let error = self.read(model).expect_err("refused");
        let Error::File { source, .. } = &error else {
            panic!("{error}")
        };
        assert!(matches!(
            **source,
            Error::Export {
                fault: ExportFault::ExternalData,
                ..
            }
        ));
        let text = error.to_string();
        assert!(
            parts.iter().all(|p| text.contains(p)),
            "{parts:?} in {text}"
        );
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// A classifier whose head `[2, 3]` lies elsewhere.
fn outside(entries: &[(&str, &str)]) -> ModelProto {
    let mut m = classifier(vec![node("Relu x -> f")], vec![]);
    let head = &mut m.graph.as_mut().unwrap().initializer[0];
    head.float_data.clear();
    head.data_location = 1;
    head.external_data = entries.iter().map(|(k, v)| entry(k, v)).collect();
    m
}

/// The numbers of that head.
fn numbers() -> Vec<u8> {
    let values = weight("head", &[2, 3]).float_data;
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn numbers_beside_the_model_are_its_own() {
    let folder = Folder::new("read");
    let shifted = [&[7u8; 64][..], &numbers(), &[9; 5]].concat();
    folder.write("model/m.onnx.data", &shifted);
    folder.write("model/inner/exact", &numbers());
    let inside = classifier(vec![node("Relu x -> f")], vec![]);
    let inside = onnx::to_bytes(&onnx::from_bytes(&bytes(&inside)).unwrap()).unwrap();
    for entries in [
        &[
            ("location", "m.onnx.data"),
            ("offset", "64"),
            ("length", "24"),
        ][..],
        &[
            ("location", "m.onnx.data"),
            ("offset", "64"),
            ("checksum", "?"),
        ],
        &[("location", "./inner/exact")],
    ] {
        let net = folder.read(&outside(entries)).unwrap();
        assert_eq!(onnx::to_bytes(&net).unwrap(), inside, "{entries:?}");
    }
    let model = bytes(&outside(&[("location", "inner/exact")]));
    folder.write("model/m.onnx", &model);
    let files = onnx::Files::read(&folder.0.join("model/m.onnx")).unwrap();
    assert_eq!(files.model, model);
    assert_eq!(files.data["inner/exact"], numbers());
    // Bytes alone have no folder.
    let error = onnx::from_bytes(&model).unwrap_err().to_string();
    assert!(error.contains("path of the model"), "{error}");
}

#[test]
fn locations_stay_in_the_folder() {
    let folder = Folder::new("locations");
    folder.write("secret", &numbers());
    folder.write("model/data", &numbers());
    for bad in [
        "../secret",
        "/etc/passwd",
        "inner/../../secret",
        "..\\secret",
    ] {
        folder.refuses(&outside(&[("location", bad)]), &["`head`", "folder", bad]);
    }
    folder.refuses(&outside(&[]), &["`head`", "expected"]);
    folder.refuses(&outside(&[("location", "")]), &["location", "none"]);
    folder.refuses(&outside(&[("location", "gone")]), &["`gone`", "beside"]);
    folder.refuses(&outside(&[("location", "inner")]), &["`inner`", "file"]);
    folder.refuses(&outside(&[("location", ".")]), &["`.`", "file"]);
    #[cfg(unix)]
    {
        let link = folder.0.join("model/link");
        std::os::unix::fs::symlink(folder.0.join("secret"), &link).unwrap();
        folder.refuses(&outside(&[("location", "link")]), &["`link`", "a link to"]);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("data", &link).unwrap();
        folder.read(&outside(&[("location", "link")])).unwrap();
    }
}

#[test]
fn ranges_are_held_to_the_file_and_the_array() {
    let folder = Folder::new("ranges");
    folder.write("model/data", &numbers());
    let at = |offset: &str, length: &str| {
        outside(&[("location", "data"), ("offset", offset), ("length", length)])
    };
    folder.read(&at("0", "24")).unwrap();
    folder.refuses(&at("1", "24"), &["`head`", "inside a file of 24 bytes"]);
    let huge = u64::MAX.to_string();
    folder.refuses(&at(&huge, "24"), &["inside a file of 24 bytes"]);
    folder.refuses(&at("0", "20"), &["expected 24 bytes", "20"]);
    folder.refuses(&at("0", &huge), &["expected 24 bytes"]);
    folder.refuses(&at("-1", "24"), &["whole number", "`offset`", "-1"]);
    folder.refuses(&at("0", "many"), &["whole number", "`length`"]);
    let mut m = at("0", "24");
    m.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 40, 1 << 40];
    folder.refuses(&m, &["`head`", "values"]);
    m.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 27];
    folder.refuses(&m, &["`head`", "bytes"]);
    // One small file under many names must not fill the memory.
    let mut m = at("0", "24");
    let graph = m.graph.as_mut().unwrap();
    for i in 0..9 {
        let mut again = graph.initializer[0].clone();
        again.name = format!("copy{i}");
        graph.initializer.push(again);
    }
    folder.refuses(&m, &["4 times"]);
}

/// What is rewritten holds its numbers itself: those that trained, and those that stayed.
#[test]
fn a_rewritten_model_needs_no_file_beside_it() {
    let folder = Folder::new("rewritten");
    folder.write("model/d", &numbers());
    let model = outside(&[("location", "d")]);
    let net = folder.read(&model).unwrap();
    let head = net.find("head").unwrap();
    let own = net.parameter(head).unwrap().to_f32();
    let files = onnx::Files::read(&folder.0.join("model/m.onnx")).unwrap();
    let other: Vec<f32> = own.iter().map(|v| v + 0.5).collect();
    let mut trained = net.clone();
    let new = fgmf_net::Tensor::new::<f32>(&[2, 3], other.clone());
    trained.set_parameter(head, new).unwrap();
    for (numbers, expected) in [(&net, own), (&trained, other)] {
        let bytes = files.with_numbers(numbers, &[head]).unwrap();
        let again = onnx::from_bytes(&bytes).unwrap();
        assert_eq!(again.parameter(head).unwrap().to_f32(), expected);
    }
    // A network without that array leaves it as it is, inside.
    let mut bare = fgmf_net::Builder::new("bare", "x", [1, 1, 2]).unwrap();
    let flat = fgmf_net::op::Op::Flatten(fgmf_net::op::Flatten { axis: 1 });
    let x = bare.input();
    let z = bare.node("z", flat, &[x]).unwrap();
    let bytes = files.with_numbers(&bare.finish(z).unwrap(), &[]).unwrap();
    let again = onnx::from_bytes(&bytes).unwrap();
    assert_eq!(
        again.parameter(head).unwrap().to_f32(),
        net.parameter(head).unwrap().to_f32()
    );
}
