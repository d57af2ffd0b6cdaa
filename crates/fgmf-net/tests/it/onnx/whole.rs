//! Six networks that people use, whole, as PyTorch's default exporter writes them, held to ONNX
//! Runtime (`parity/whole_models.py`). Only the graphs are kept. Their weights follow a rule.

use super::proto::*;
use super::{farthest, path};
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Network, Rules, Session, Tensor, onnx};
use prost::Message;
use std::io::Write;

const NAMES: [&str; 6] = [
    "resnet50",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_tiny_patch16_224",
    "swin_t",
];
const SMOOTH: [&str; 3] = ["convnext_tiny", "vit_tiny_patch16_224", "swin_t"];
const IMAGE: u64 = 1 << 20;
const DIRECTION: u64 = 1 << 21;
const SIDE: usize = 224;
const LABEL: usize = 3;

/// Numbers in [0, 1) with 24 bits: SplitMix64 of `stream << 32 | i`.
fn uniform(stream: u64, count: usize) -> impl Iterator<Item = f32> {
    (0..count as u64).map(move |i| {
        let mut z = ((stream << 32) + i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    })
}

/// As `weight` of the script: around 0 for a bias, around 1 for a scale, else with `gain`.
fn weight(index: u64, stored: &TensorProto, gain: f64) -> Vec<f32> {
    let shape: Vec<usize> = stored.dims.iter().map(|&d| d as usize).collect();
    let count: usize = shape.iter().product();
    let u = uniform(index, count);
    if shape.iter().max() == Some(&count) {
        return if stored.name.contains("bias") {
            u.map(|u| (u - 0.5) * 0.5).collect()
        } else {
            u.map(|u| u + 0.5).collect()
        };
    }
    let scale = ((12.0 * gain) as f32 / (count / shape[0]) as f32).sqrt();
    u.map(|u| (u - 0.5) * scale).collect()
}

/// The network, from a folder with the graph and its weights that exists as long as this takes.
fn whole(name: &str, gain: f64) -> Network {
    let folder = std::env::temp_dir().join(format!("fgmf-whole-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let bytes = std::fs::read(path(&format!("whole/{name}.onnx"))).unwrap();
    let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let file = std::fs::File::create(folder.join("weights.bin")).unwrap();
    let mut file = std::io::BufWriter::new(file);
    let beside = graph
        .initializer
        .iter()
        .filter(|t| !t.external_data.is_empty());
    for (index, stored) in beside.enumerate() {
        for value in weight(index as u64, stored, gain) {
            file.write_all(&value.to_le_bytes()).unwrap();
        }
    }
    file.into_inner().unwrap();
    std::fs::write(folder.join("model.onnx"), bytes).unwrap();
    let net = onnx::read(&folder.join("model.onnx"));
    std::fs::remove_dir_all(&folder).unwrap();
    net.unwrap()
}

/// The logits within 1e-4 of the largest; the gradient, along each direction, as the differences
/// of ONNX Runtime's logits say. Two widths of the difference say how far it bends. Rectifiers
/// bend a network at every width that single precision resolves, hence the wider bound for these.
#[test]
fn networks_that_people_use_compute_as_onnx_runtime() {
    let text = std::fs::read_to_string(path("whole/whole.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let count = 3 * SIDE * SIDE;
    let image = Tensor::new(&[1, 3, SIDE, SIDE], uniform(IMAGE, count).collect());
    for name in NAMES {
        let number = |v: &serde_json::Value| v.as_f64().unwrap();
        let list = |key: &str| json[name][key].as_array().unwrap();
        let logits: Vec<f64> = list("logits").iter().map(number).collect();
        let slopes: Vec<[f64; 2]> = list("slopes")
            .iter()
            .map(|s| [number(&s[0]), number(&s[1])])
            .collect();
        let net = Session::new(whole(name, number(&json[name]["gain"])));
        let head = CrossEntropy::labels(&[LABEL]);
        let found = net.loss_gradients(&image, &head, &[net.input()], &Rules::exact());
        let found = found.unwrap();
        let largest = |v: &mut dyn Iterator<Item = f64>| v.fold(0.0f64, |m, v| m.max(v.abs()));
        let apart =
            farthest(&found.logits.to_f64(), &logits) / largest(&mut logits.iter().copied());
        assert!(apart < 1e-4, "{name}: logits {apart}");
        let gradient = found.gradients[0].to_f64();
        let bent = if SMOOTH.contains(&name) { 0.02 } else { 0.25 };
        let scale = largest(&mut slopes.iter().map(|s| s[1]));
        for (i, [wide, narrow]) in slopes.into_iter().enumerate() {
            let signs = uniform(DIRECTION + i as u64, count);
            let along = gradient.iter().zip(signs);
            let slope: f64 = along.map(|(g, u)| if u < 0.5 { -g } else { *g }).sum();
            let allowed = 2.0 * (wide - narrow).abs() + bent * scale;
            println!("{name}: logits {apart:.1e}, slope {slope:.3e} for {narrow:.3e}");
            assert!(
                (slope - narrow).abs() < allowed,
                "{name}: {slope}, {narrow}"
            );
        }
    }
}
