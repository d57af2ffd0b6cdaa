//! The part of a network that foretells its own explanations: a branch beside the classifier, so
//! that one file answers and explains, and any runtime reads both.
//!
//! u = relu(conv3x3 / 2 … (relu(conv3x3(x)))), halved until no side is longer than 1.5 cells;
//! v = relu(conv1x1(features of the layer that class activation maps read));
//! t = relu(conv3x3(relu(conv3x3([u, v] at s x s cells))));
//! map = conv1x1(t), `[n, k, s, s]`: for each class and cell the mean of the teacher's map in it;
//! doubt = dense(mean of t), `[n, k]`: the squared error of the map that is expected, in mean
//! squares of the teacher's maps.
//!
//! Fresh, the map is 0 everywhere and the doubt 1, which is its error: what is learned first does
//! not depend on the teacher's units.

use crate::error::{Error, Result};
use crate::explain::base::Inner;
use crate::explain::parts::layer::{LayerKind, choose_layer};
use crate::model::access::Gradients;
use fgmf_net::head::Logit;
use fgmf_net::op::{Concat, GlobalAveragePool, Op, Reshape, Resize, Slice, SliceAxis, Transpose};
use fgmf_net::zoo::{Activation, Layers, Square};
use fgmf_net::{Builder, Network, Rules, Tensor, ValueId, onnx};
use serde::{Deserialize, Serialize};

/// Name of the maps in the graph, `[n, k, s, s]`.
pub const MAP: &str = "sgam.map";

/// Name of the expected errors in the graph, `[n, k]`.
pub const MAP_DOUBT: &str = "sgam.map.doubt";

/// Metadata entry that says what the maps were taught by; without it, or where it is empty, they
/// mean nothing.
pub const MAP_KEY: &str = "fgmf.sgam-map";

/// Settings of the branch.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `cells` | half the longer side of the image, 28 at most | s, 1 to 512 |
/// | `width` | 32 | channels, 1 to 1,024 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgamMapParams {
    /// Rows and columns of a map.
    pub cells: Option<usize>,
    /// Channels of its layers.
    pub width: usize,
}

impl Default for SgamMapParams {
    fn default() -> Self {
        Self {
            cells: None,
            width: 32,
        }
    }
}

impl SgamMapParams {
    /// Checks every range.
    pub fn check(&self) -> Result<()> {
        if let Some(cells) = self.cells.filter(|s| !(1..=512).contains(s)) {
            return Err(Error::parameter("sgam_map.cells", "1 to 512", cells));
        }
        if !(1..=1024).contains(&self.width) {
            return Err(Error::parameter("sgam_map.width", "1 to 1024", self.width));
        }
        Ok(())
    }

    fn cells_of(&self, [_, h, w]: [usize; 3]) -> usize {
        self.cells.unwrap_or(h.max(w).div_ceil(2).min(28))
    }
}

/// The same network with a fresh branch beside it, in the place of one that it may have. Logits and
/// what trains stay as they are: no number of the branch trains.
///
/// # Errors
/// [`Error::Parameter`] for settings out of range; [`Error::Mismatch`] for a network without a
/// layer that class activation maps can read.
pub fn with_map(net: &Network, params: &SgamMapParams, seed: u64) -> Result<Network> {
    params.check()?;
    let net = without_map(net)?;
    let layer = choose_layer(&net)?;
    let (image, input) = (net.image_shape(), &net.value(net.input()).name);
    let builder = Builder::new(&net.name, input, image)?;
    let mut layers = Layers::on(builder, Activation::Relu, seed);
    let images = layers.input();
    let logits = net.graft(layers.builder(), images)?;
    let found = layers.builder().network().find(&layer.name);
    let features = found.ok_or_else(|| {
        Error::mismatch(
            "put a map beside",
            format!("a layer {}", layer.name),
            "none",
        )
    })?;
    let cells = params.cells_of(image);
    let seen = image_part(&mut layers, cells, params.width)?;
    let known = feature_part(&mut layers, features, layer.kind, cells, params.width)?;
    let (map, doubt) = answers(&mut layers, [seen, known], net.classes(), params.width)?;
    let mut out = layers.finish_with(logits, &[map, doubt])?;
    for (name, value) in FRESH {
        if let Some(id) = out.find(name)
            && let Some(array) = out.parameter(id)
        {
            let filled = Tensor::full(array.shape(), value, array.precision());
            out.set_parameter(id, filled)?;
        }
    }
    for id in out.trainable() {
        if of_map(&out.value(id).name) {
            out.set_trainable(id, false);
        }
    }
    out.metadata.clone_from(&net.metadata);
    out.metadata.remove(MAP_KEY);
    out.notes.clone_from(&net.notes);
    Ok(out)
}

/// Last weights of a fresh branch.
const FRESH: [(&str, f64); 4] = [
    ("sgam.map.weight", 0.0),
    ("sgam.map.bias", 0.0),
    ("sgam.map.doubt.weight", 0.0),
    ("sgam.map.doubt.bias", 1.0),
];

/// Lets the branch train, and nothing else.
pub(crate) fn train_map_alone(net: &mut Network) {
    let names: Vec<String> = net.values().iter().map(|v| v.name.clone()).collect();
    for name in names {
        if let Some(id) = net.find(&name) {
            net.set_trainable(id, of_map(&name));
        }
    }
}

/// Whether a value of that name belongs to the branch.
fn of_map(name: &str) -> bool {
    name.strip_prefix(MAP)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Says of a network that its maps were taught by this explainer.
pub(crate) fn taught_by(net: &mut Network, teacher: &Inner) {
    let text = serde_json::json!({ "teacher": teacher }).to_string();
    net.metadata.insert(MAP_KEY.into(), text);
}

/// Fills the last weights of a fresh branch, so that its maps differ from place to place.
#[cfg(test)]
pub(crate) fn drawn_at_random(net: &mut Network) {
    for (name, _) in FRESH {
        let id = net.find(name).unwrap();
        let shape = net.parameter(id).unwrap().shape().to_vec();
        let n: usize = shape.iter().product();
        let values = (0..n).map(|i| (i * 37 % 23) as f32 / 46.0 - 0.25);
        let array = Tensor::new(&shape, values.collect::<Vec<f32>>());
        net.set_parameter(id, array).unwrap();
    }
}

/// The values of the branch, and what taught it.
pub(crate) struct Branch {
    pub(crate) map: ValueId,
    pub(crate) doubt: ValueId,
    pub(crate) teacher: Inner,
}

/// Maps and doubts of a network, whether taught or not.
pub(crate) fn branch_of(net: &Network) -> Option<[ValueId; 2]> {
    Some([net.find(MAP)?, net.find(MAP_DOUBT)?])
}

/// The branch of a network that was taught.
pub(crate) fn taught(net: &Network) -> Result<Branch> {
    #[derive(Deserialize)]
    struct Entry {
        teacher: Inner,
    }
    let wrong = |found: String| {
        let expected = "a network with maps of its own that were taught (`fgmf amortise`)";
        Error::mismatch("explain by `sgam`", expected, found)
    };
    let Some([map, doubt]) = branch_of(net) else {
        return Err(wrong(format!("no value `{MAP}`")));
    };
    let text = net.metadata.get(MAP_KEY).filter(|text| !text.is_empty());
    let untaught = || {
        wrong(format!(
            "`{MAP}` of other weights, as the entry `{MAP_KEY}` is gone"
        ))
    };
    let text = text.ok_or_else(untaught)?;
    let entry: Entry = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    Ok(Branch {
        map,
        doubt,
        teacher: entry.teacher,
    })
}

/// What a network draws of images for a class each.
pub(crate) struct Drawn {
    /// Rows and columns of a map.
    pub(crate) grid: [usize; 2],
    /// The cells of each image's class.
    pub(crate) cells: Vec<Vec<f64>>,
    /// The error that is expected of each.
    pub(crate) doubts: Vec<f64>,
}

impl Branch {
    /// Reads the maps of `x [n, c, h, w]` in one forward pass.
    pub(crate) fn draw(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
    ) -> Result<Drawn> {
        let ids = [self.map, self.doubt];
        let found = model.features(x, &Logit::new(targets), &ids, &Rules::exact())?;
        let (maps, doubts) = (found.values[0].to_f64(), found.values[1].to_f64());
        let grid = [found.values[0].shape()[2], found.values[0].shape()[3]];
        let (area, k) = (grid[0] * grid[1], model.classes());
        let places = targets.iter().enumerate().map(|(i, target)| i * k + target);
        let cells = places
            .clone()
            .map(|at| maps[at * area..(at + 1) * area].to_vec());
        Ok(Drawn {
            grid,
            cells: cells.collect(),
            doubts: places.map(|at| doubts[at]).collect(),
        })
    }
}

/// The network without its branch: nodes that no output needs are not written.
fn without_map(net: &Network) -> Result<Network> {
    if net.find(MAP).is_none() {
        return Ok(net.clone());
    }
    Ok(onnx::from_bytes(&onnx::to_bytes(&net.alone())?)?)
}

/// What the image shows, `[n, width, s, s]`.
fn image_part(l: &mut Layers, cells: usize, width: usize) -> Result<ValueId> {
    let x = l.input();
    let half = width.div_ceil(2);
    let x = l.conv("sgam.map.image1", x, Square::new(half, 3, 1, 1), true)?;
    let mut x = l.activate("sgam.map.image1.act", x)?;
    for i in 2.. {
        let shape = l.shape(x);
        if 2 * shape[2].max(shape[3]) <= 3 * cells {
            break;
        }
        let name = format!("sgam.map.image{i}");
        x = l.conv(&name, x, Square::new(width, 3, 2, 1), true)?;
        x = l.activate(&format!("{name}.act"), x)?;
    }
    at_cells(l, "sgam.map.image", x, cells)
}

/// What the classifier knows, `[n, width / 2, s, s]`.
fn feature_part(
    l: &mut Layers,
    features: ValueId,
    kind: LayerKind,
    cells: usize,
    width: usize,
) -> Result<ValueId> {
    let turn = |l: &mut Layers, x: ValueId, perm: &[usize]| {
        let perm = perm.to_vec();
        l.node("sgam.map.turned", Op::Transpose(Transpose { perm }), &[x])
    };
    let x = match kind {
        LayerKind::Map { .. } => features,
        LayerKind::ChannelsLast { .. } => turn(l, features, &[0, 3, 1, 2])?,
        LayerKind::Tokens { h, w, prefix } => {
            let cut = SliceAxis {
                axis: 1,
                start: prefix,
                step: 1,
                count: h * w,
            };
            let depth = l.shape(features)[2] as i64;
            let axes = vec![cut];
            let x = l.node("sgam.map.places", Op::Slice(Slice { axes }), &[features])?;
            let x = turn(l, x, &[0, 2, 1])?;
            let shape = vec![0, depth, h as i64, w as i64];
            l.node("sgam.map.laid", Op::Reshape(Reshape { shape }), &[x])?
        }
    };
    let half = width.div_ceil(2);
    let x = l.conv("sgam.map.features", x, Square::new(half, 1, 1, 0), true)?;
    let x = l.activate("sgam.map.features.act", x)?;
    at_cells(l, "sgam.map.features", x, cells)
}

/// A feature map at s x s cells.
fn at_cells(l: &mut Layers, name: &str, x: ValueId, cells: usize) -> Result<ValueId> {
    let [h, w] = [l.shape(x)[2], l.shape(x)[3]];
    if [h, w] == [cells; 2] {
        return Ok(x);
    }
    let scale = [cells as f64 / h as f64, cells as f64 / w as f64];
    let resize = Op::Resize(Resize::linear([cells; 2], scale));
    Ok(l.node(&format!("{name}.cells"), resize, &[x])?)
}

/// Maps and doubts.
fn answers(
    l: &mut Layers,
    parts: [ValueId; 2],
    classes: usize,
    width: usize,
) -> Result<(ValueId, ValueId)> {
    let mut x = l.node("sgam.map.both", Op::Concat(Concat { axis: 1 }), &parts)?;
    for name in ["sgam.map.mix1", "sgam.map.mix2"] {
        x = l.conv(name, x, Square::new(width, 3, 1, 1), true)?;
        x = l.activate(&format!("{name}.act"), x)?;
    }
    let map = l.conv(MAP, x, Square::new(classes, 1, 1, 0), true)?;
    let pool = Op::GlobalAveragePool(GlobalAveragePool);
    let mean = l.node("sgam.map.mean", pool, &[x])?;
    let doubt = l.dense(MAP_DOUBT, mean, classes)?;
    Ok((map, doubt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::Session;
    use fgmf_net::zoo::{Architecture, ZooConfig, build};

    fn zoo(architecture: Architecture, image: [usize; 3]) -> Network {
        build(&ZooConfig {
            architecture,
            activation: Activation::Relu,
            image,
            classes: 4,
            mean: vec![0.3; image[0]],
            deviation: vec![0.4; image[0]],
            seed: 2,
        })
        .unwrap()
    }

    fn images([c, h, w]: [usize; 3]) -> Tensor {
        let values = (0..2 * c * h * w).map(|i| (i * 31 % 89) as f32 / 89.0);
        Tensor::new(&[2, c, h, w], values.collect::<Vec<f32>>())
    }

    fn bits(t: &Tensor) -> Vec<u32> {
        t.to_f32().iter().map(|v| v.to_bits()).collect()
    }

    /// Convolutions, tokens and images that are not square: the answer keeps its bits, the branch
    /// has the stated shape, nothing more trains, and a file of both reads as it was written.
    #[test]
    fn a_branch_changes_no_answer_and_survives_its_file() {
        for (architecture, image, cells) in [
            (Architecture::CnnTiny, [1, 28, 28], 14),
            (Architecture::CnnSmall, [3, 20, 32], 16),
            (Architecture::ConvvitTiny, [3, 16, 16], 8),
            (Architecture::VitTiny, [1, 8, 8], 4),
        ] {
            let (net, x) = (zoo(architecture, image), images(image));
            let mut both = with_map(&net, &SgamMapParams::default(), 7).unwrap();
            drawn_at_random(&mut both);
            assert_eq!(both.trainable().len(), net.trainable().len());
            let bytes = onnx::to_bytes(&both).unwrap();
            let read = onnx::from_bytes(&bytes).unwrap();
            assert_eq!(read.beside().len(), 2);
            assert!(read.notes.is_empty(), "{:?}", read.notes);
            assert_eq!(onnx::to_bytes(&read).unwrap(), bytes);
            let (net, both) = (Session::new(net), Session::new(read));
            let logits = |s: &Session| bits(&s.logits(&x).unwrap());
            assert_eq!(logits(&net), logits(&both));
            let ids = branch_of(&both).unwrap();
            let found = both.values_at(&x, &ids).unwrap();
            assert_eq!(found[0].shape(), [2, 4, cells, cells]);
            assert_eq!(found[1].shape(), [2, 4]);
            let cells = bits(&found[0]);
            assert!(cells.iter().any(|v| *v != cells[0]));
        }
    }

    /// A second branch takes the place of the first, and none of the first stays in the file.
    #[test]
    fn a_branch_is_replaced() {
        let net = zoo(Architecture::CnnTiny, [1, 12, 12]);
        let once = with_map(&net, &SgamMapParams::default(), 1).unwrap();
        let params = SgamMapParams {
            cells: Some(3),
            width: 8,
        };
        let twice = with_map(&once, &params, 1).unwrap();
        let fresh = with_map(&net, &params, 1).unwrap();
        let bytes = |n: &Network| onnx::to_bytes(n).unwrap();
        assert_eq!(bytes(&twice), bytes(&fresh));
        assert_ne!(bytes(&twice), bytes(&once));
    }

    #[test]
    fn an_untaught_branch_and_bad_settings_are_refused() {
        let mut net = zoo(Architecture::CnnTiny, [1, 12, 12]);
        let refused = |net: &Network| taught(net).map(|_| ()).unwrap_err().to_string();
        assert!(refused(&net).contains("no value `sgam.map`"));
        net = with_map(&net, &SgamMapParams::default(), 1).unwrap();
        assert!(refused(&net).contains("fgmf.sgam-map"), "{}", refused(&net));
        let teacher = Inner {
            id: "saliency".into(),
            parameters: serde_json::json!({ "signed": true }),
        };
        taught_by(&mut net, &teacher);
        assert_eq!(taught(&net).unwrap().teacher, teacher);
        for (cells, width) in [(Some(0), 8), (Some(513), 8), (None, 0), (None, 1025)] {
            let params = SgamMapParams { cells, width };
            let message = with_map(&net, &params, 1).unwrap_err().to_string();
            assert!(message.contains("sgam_map."), "{message}");
        }
    }
}
