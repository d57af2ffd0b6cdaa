//! Files with several outputs: which one gives the scores.

use super::tiny::{bytes, model, node, value, weight};
use fgmf_net::{Network, Precision, Session, Tensor, onnx};
use onnx::ReadOptions;

/// A detector as exporters write it: boxes `[n, 4]` first, then classes; `more` nodes make them of
/// `raw`, and `outputs` are those behind the boxes.
fn detector(more: &[&str], outputs: &[(&str, &[i64])]) -> Vec<u8> {
    let mut nodes = vec![
        node("Flatten x -> flat"),
        node("Gemm flat wb -> boxes"),
        node("Gemm flat wc -> raw"),
    ];
    nodes.extend(more.iter().map(|line| node(line)));
    let stored = vec![weight("wb", &[48, 4]), weight("wc", &[48, 2])];
    let mut model = model(nodes, stored);
    let graph = model.graph.as_mut().unwrap();
    graph.output = vec![value("boxes", &[0, 4])];
    let declared = outputs.iter().map(|(name, dims)| value(name, dims));
    graph.output.extend(declared);
    bytes(&model)
}

fn read(model: &[u8], output: Option<&str>) -> Result<Network, String> {
    let output = output.map(str::to_owned);
    onnx::from_bytes_with(model, &ReadOptions { output, size: None }).map_err(|e| e.to_string())
}

fn taken(net: &Network) -> &str {
    &net.value(net.output()).name
}

#[test]
fn the_probabilities_are_taken_where_they_are_the_only_ones() {
    let model = detector(&["Softmax raw -> prob"], &[("prob", &[0, 2])]);
    let net = read(&model, None).unwrap();
    assert_eq!((taken(&net), net.classes()), ("prob", 2));
    let note = &net.notes[0];
    assert!(
        note.contains("`prob`, the only [n, k] that a Softmax"),
        "{note}"
    );
    assert!(note.contains("`boxes` [n, 4], `prob` [n, 2]"), "{note}");
    let x = Tensor::full(&[1, 2, 4, 6], 0.5, Precision::F32);
    let sum: f32 = Session::new(net).logits(&x).unwrap().to_f32().iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
}

/// Beside its probabilities a file may give the logits, which have no saturated gradients.
#[test]
fn logits_beside_their_probabilities_are_taken() {
    let outputs: [(&str, &[i64]); 2] = [("prob", &[0, 2]), ("raw", &[0, 2])];
    let net = read(&detector(&["Softmax raw -> prob"], &outputs), None).unwrap();
    assert_eq!(taken(&net), "raw");
    assert!(net.notes[0].contains("`raw`, of which a Softmax makes `prob`"));
}

#[test]
fn the_first_is_taken_where_nothing_or_too_much_speaks_for_another() {
    let first = "`boxes`, the first of the outputs";
    let two: [(&str, &[i64]); 2] = [("p", &[0, 2]), ("q", &[0, 2])];
    for model in [
        detector(&["Relu raw -> r"], &[("r", &[0, 2])]),
        detector(&["Softmax raw -> p", "Sigmoid raw -> q"], &two),
        // Maps of attention and masks are no scores.
        detector(&["Sigmoid x -> mask"], &[("mask", &[0, 2, 4, 6])]),
    ] {
        let net = read(&model, None).unwrap();
        assert_eq!(taken(&net), "boxes");
        assert!(net.notes[0].contains(first), "{:?}", net.notes);
    }
}

#[test]
fn a_name_is_taken_or_refused_with_the_outputs() {
    let model = detector(&["Softmax raw -> prob"], &[("prob", &[0, 2])]);
    let net = read(&model, Some("boxes")).unwrap();
    assert_eq!((taken(&net), net.classes()), ("boxes", 4));
    assert!(net.notes[0].contains("`boxes`, as asked for"));
    let error = read(&model, Some("scores")).unwrap_err();
    assert!(
        error.contains("`boxes` [n, 4], `prob` [n, 2], found `scores`"),
        "{error}"
    );
    let one = onnx::to_bytes(&net).unwrap();
    assert!(read(&one, Some("boxes")).unwrap().notes.is_empty());
    assert!(read(&one, Some("prob")).unwrap_err().contains("`prob`"));
}
