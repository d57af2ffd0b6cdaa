//! Files that leave the size of their images free.

use super::proto::ModelProto;
use super::tiny::{bytes, model, node, value, weight};
use fgmf_net::onnx::{self, ReadOptions};

/// A convolution of images of these sizes, 0 where one is free.
fn convolution(image: &[i64]) -> ModelProto {
    let nodes = vec![
        node("Conv x w -> c"),
        node("GlobalAveragePool c -> p"),
        node("Flatten p -> f"),
        node("Gemm f head -> y"),
    ];
    let stored = vec![weight("w", &[4, 3, 2, 2]), weight("head", &[4, 3])];
    let mut model = model(nodes, stored);
    model.graph.as_mut().unwrap().input = vec![value("x", image)];
    model
}

fn shape(model: &ModelProto, size: Option<[usize; 2]>) -> Result<[usize; 3], String> {
    let options = ReadOptions { output: None, size };
    let net = onnx::from_bytes_with(&bytes(model), &options);
    net.map(|net| net.image_shape()).map_err(|e| e.to_string())
}

#[test]
fn a_stated_size_fills_what_is_free() {
    let size = Some([8, 6]);
    assert_eq!(shape(&convolution(&[0, 3, 0, 0]), size), Ok([3, 8, 6]));
    assert_eq!(shape(&convolution(&[0, 3, 8, 0]), size), Ok([3, 8, 6]));
    assert_eq!(shape(&convolution(&[0, 3, 8, 6]), size), Ok([3, 8, 6]));
    // The convolution knows how many channels there are.
    assert_eq!(shape(&convolution(&[0, 0, 0, 0]), size), Ok([3, 8, 6]));
    let mut last = convolution(&[0, 0, 0, 3]);
    let graph = last.graph.as_mut().unwrap();
    let turn = super::tiny::ints_attribute("perm", &[0, 3, 1, 2]);
    graph.node[0].input[0] = "t".to_owned();
    graph
        .node
        .insert(0, super::tiny::with("Transpose x -> t", vec![turn]));
    assert_eq!(shape(&last, size), Ok([3, 8, 6]));
}

#[test]
fn another_size_than_the_file_has_is_refused_and_a_missing_one_is_named() {
    let error = shape(&convolution(&[0, 3, 8, 0]), Some([9, 6])).unwrap_err();
    assert!(
        error.contains("fixes, shape [?, 3, 8, ?], found 9x6"),
        "{error}"
    );
    let error = shape(&convolution(&[0, 3, 0, 6]), None).unwrap_err();
    assert!(error.contains("found shape [?, 3, ?, 6]"), "{error}");
    let error = shape(&convolution(&[0, 3, 0, 0]), Some([1 << 40, 1 << 40])).unwrap_err();
    assert!(!error.is_empty());
    // The kernel has two rows.
    let error = shape(&convolution(&[0, 3, 0, 0]), Some([1, 1])).unwrap_err();
    assert!(error.contains("Conv"), "{error}");
}
