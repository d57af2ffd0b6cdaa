//! A model's own file with other numbers in it.
//!
//! The file is copied field by field as it is encoded, so that names, operators, order, metadata,
//! comments and whatever this crate does not know stay as they are. Only stored arrays change: one
//! whose name is a parameter of the network gets the network's numbers, in the element type that
//! it has. Numbers that lie in data files beside the model come into the file.

use super::array::shape_of;
use super::external::{Files, fill_one};
use super::proto::{StringStringEntryProto, TensorProto, dtype};
use crate::error::{Error, Result};
use crate::graph::{Network, ValueId};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Fields of `ModelProto`, `GraphProto` and `TensorProto`.
const GRAPH: u32 = 7;
const METADATA: u32 = 14;
const INITIALIZER: u32 = 5;
const RAW_DATA: u32 = 9;
/// Where a `TensorProto` keeps numbers, or says where they are.
const NUMBERS: [u32; 9] = [4, 5, 6, 7, RAW_DATA, 10, 11, 13, 14];
/// Protocol buffers hold no more bytes.
const LARGEST: usize = i32::MAX as usize;

impl Files {
    /// The bytes of this model with the numbers of `net`: every stored array that is named like a
    /// parameter of `net` gets that parameter's numbers. Metadata of `net` is put in the place of
    /// entries of the same keys, and added behind the others.
    ///
    /// # Errors
    /// [`Error::Graph`] when one of `trained` is no stored array of the file with the same number
    /// of values, when numbers of a node lie in data files, or when the file would be larger than
    /// 2 GiB.
    pub fn with_numbers(&self, net: &Network, trained: &[ValueId]) -> Result<Vec<u8>> {
        let mut nodes = self.message.graph.iter().flat_map(|g| &g.node);
        let outside = |t: &TensorProto| t.is_external();
        if nodes.any(|n| {
            n.attribute
                .iter()
                .any(|a| a.t.as_ref().is_some_and(outside))
        }) {
            let found = "expected the numbers of nodes inside the file, found external data";
            return Err(Error::Graph(found.to_owned()));
        }
        let by_name = net.values().iter().filter_map(|v| {
            let id = net.find(&v.name)?;
            Some((v.name.as_str(), net.parameter(id)?.to_f32()))
        });
        let mut rewriter = Rewriter {
            numbers: by_name.collect(),
            data: &self.data,
            replaced: HashSet::new(),
        };
        let mut metadata = net.metadata.clone();
        let mut out = Vec::with_capacity(self.model.len());
        for field in fields(&self.model) {
            let field = field?;
            match field.tag {
                GRAPH => message(&mut out, GRAPH, &rewriter.graph(field.content)?),
                METADATA => {
                    let mut entry =
                        StringStringEntryProto::decode(field.content).map_err(|e| broken(&e))?;
                    match metadata.remove(&entry.key) {
                        Some(value) if value != entry.value => {
                            entry.value = value;
                            message(&mut out, METADATA, &entry.encode_to_vec());
                        }
                        _ => out.extend_from_slice(field.whole),
                    }
                }
                _ => out.extend_from_slice(field.whole),
            }
        }
        for (key, value) in metadata {
            let entry = StringStringEntryProto { key, value };
            message(&mut out, METADATA, &entry.encode_to_vec());
        }
        let missing = trained.iter().map(|&id| &net.value(id).name);
        let mut missing = missing.filter(|name| !rewriter.replaced.contains(name.as_str()));
        if let Some(name) = missing.next() {
            return Err(Error::Graph(format!(
                "expected a stored array `{name}` to put trained numbers into, found none"
            )));
        }
        if out.len() > LARGEST {
            return Err(Error::Graph(format!(
                "expected a model of at most {LARGEST} bytes, found {}",
                out.len()
            )));
        }
        Ok(out)
    }
}

struct Rewriter<'a> {
    numbers: HashMap<&'a str, Vec<f32>>,
    data: &'a BTreeMap<String, Vec<u8>>,
    replaced: HashSet<String>,
}

impl Rewriter<'_> {
    fn graph(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len());
        for field in fields(bytes) {
            let field = field?;
            let changed = match field.tag {
                INITIALIZER => self.array(field.content)?,
                _ => None,
            };
            match changed {
                Some(array) => message(&mut out, INITIALIZER, &array),
                None => out.extend_from_slice(field.whole),
            }
        }
        Ok(out)
    }

    /// A stored array with its new numbers, or with its own inside; `None` where it stays.
    fn array(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut array = TensorProto::decode(bytes).map_err(|e| broken(&e))?;
        let shape = shape_of(&array).map_err(Error::Graph)?;
        let size: usize = shape.iter().product();
        let numbers = self.numbers.get(array.name.as_str());
        let numbers = numbers.filter(|n| n.len() == size);
        let raw = match numbers.and_then(|n| encoded(n, array.data_type)) {
            Some(raw) => {
                self.replaced.insert(array.name);
                raw
            }
            None if array.is_external() => {
                fill_one(&mut array, self.data)?;
                array.raw_data
            }
            None => return Ok(None),
        };
        let mut out = Vec::with_capacity(raw.len() + 64);
        for field in fields(bytes) {
            let field = field?;
            if !NUMBERS.contains(&field.tag) {
                out.extend_from_slice(field.whole);
            }
        }
        message(&mut out, RAW_DATA, &raw);
        Ok(Some(out))
    }
}

/// Numbers as a file stores them; `None` for types that are no floating-point numbers.
fn encoded(values: &[f32], data_type: i32) -> Option<Vec<u8>> {
    let two = |of: fn(f32) -> u16| values.iter().flat_map(|v| of(*v).to_le_bytes()).collect();
    match data_type {
        dtype::FLOAT => Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        dtype::DOUBLE => {
            let wide = values.iter().flat_map(|v| f64::from(*v).to_le_bytes());
            Some(wide.collect())
        }
        dtype::FLOAT16 => Some(two(half)),
        dtype::BFLOAT16 => Some(two(brain)),
        _ => None,
    }
}

/// The nearest float16, ties to even; what is too large becomes infinite.
fn half(v: f32) -> u16 {
    let (bits, magnitude) = (v.to_bits(), v.abs());
    let sign = ((bits >> 16) & 0x8000) as u16;
    if v.is_nan() {
        return sign | 0x7e00;
    }
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Below 2^-14 a step is 2^-24; multiplying by a power of two is exact.
    if magnitude < 6.103_515_6e-5 {
        let steps = (magnitude * 16_777_216.0).round_ties_even();
        return sign | steps as u16;
    }
    // 13 bits go; a carry out of the mantissa is the next exponent, as it should be.
    let kept = (bits & 0x7fff_ffff) - (112 << 23);
    let rounded = kept + 0xfff + ((kept >> 13) & 1);
    sign | (rounded >> 13) as u16
}

/// The nearest bfloat16, ties to even.
fn brain(v: f32) -> u16 {
    let bits = v.to_bits();
    if v.is_nan() {
        return ((bits >> 16) | 0x40) as u16;
    }
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// A field of an encoded message.
struct Field<'a> {
    tag: u32,
    /// Key and content.
    whole: &'a [u8],
    /// What stands behind key and length.
    content: &'a [u8],
}

fn broken(e: &dyn std::fmt::Display) -> Error {
    Error::Graph(format!(
        "expected an ONNX model, found other or damaged data ({e})"
    ))
}

/// The fields of an encoded message, in order.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<Field<'_>>> {
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let field = one_field(rest);
            // Behind a broken field nothing can be told.
            rest = field.as_ref().map_or(&[], |f| &rest[f.whole.len()..]);
            field
        })
    })
}

fn one_field(bytes: &[u8]) -> Result<Field<'_>> {
    let mut rest = bytes;
    let (tag, wire) = decode_key(&mut rest).map_err(|e| broken(&e))?;
    let length = match wire {
        WireType::Varint => {
            let before = rest.len();
            decode_varint(&mut rest).map_err(|e| broken(&e))?;
            let taken = before - rest.len();
            rest = &bytes[bytes.len() - before..];
            taken
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => {
            let length = decode_varint(&mut rest).map_err(|e| broken(&e))?;
            usize::try_from(length).unwrap_or(usize::MAX)
        }
        WireType::StartGroup | WireType::EndGroup => {
            return Err(broken(&"a group, which ONNX does not have"));
        }
    };
    let content = rest
        .get(..length)
        .ok_or_else(|| broken(&format!("a field of {length} bytes that is cut off")))?;
    let end = bytes.len() - rest.len() + length;
    Ok(Field {
        tag,
        whole: &bytes[..end],
        content,
    })
}

fn message(out: &mut Vec<u8>, tag: u32, content: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::ModelProto;
    use crate::onnx::{from_bytes, to_bytes};
    use crate::tensor::Tensor;
    use crate::zoo::{Activation, Architecture, ZooConfig, build};

    fn network() -> Network {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 8, 8],
            classes: 2,
            mean: vec![0.0],
            deviation: vec![1.0],
            seed: 0,
        };
        build(&config).unwrap()
    }

    fn files(model: Vec<u8>) -> Files {
        Files {
            message: ModelProto::decode(model.as_slice()).unwrap(),
            model,
            data: BTreeMap::new(),
        }
    }

    /// A model as another tool wrote it: a comment, a producer's domain, an unknown field.
    fn foreign() -> Vec<u8> {
        let mut bytes = to_bytes(&network()).unwrap();
        message(&mut bytes, 4, b"org.example");
        message(&mut bytes, 6, b"a comment");
        message(&mut bytes, 999, b"of a later version");
        bytes
    }

    #[test]
    fn the_same_numbers_give_the_same_network_and_keep_what_is_unknown() {
        let files = files(foreign());
        let net = from_bytes(&files.model).unwrap();
        let out = files.with_numbers(&net, &net.trainable()).unwrap();
        for kept in [&b"org.example"[..], b"a comment", b"of a later version"] {
            assert!(out.windows(kept.len()).any(|w| w == kept));
        }
        let again = from_bytes(&out).unwrap();
        assert_eq!(to_bytes(&again).unwrap(), to_bytes(&net).unwrap());
    }

    #[test]
    fn trained_numbers_and_metadata_arrive_and_nothing_else_changes() {
        let files = files(foreign());
        let mut net = from_bytes(&files.model).unwrap();
        for id in net.trainable() {
            let old = net.parameter(id).unwrap();
            let new: Vec<f32> = old.to_f32().iter().map(|v| 2.0 * v + 1.0).collect();
            net.set_parameter(id, Tensor::new(old.shape(), new))
                .unwrap();
        }
        net.metadata.insert("added".into(), "é".into());
        net.metadata
            .insert("fgmf.architecture".into(), "mine".into());
        let out = files.with_numbers(&net, &net.trainable()).unwrap();
        let again = from_bytes(&out).unwrap();
        assert_eq!(again.metadata["added"], "é");
        assert_eq!(again.metadata["fgmf.architecture"], "mine");
        assert_eq!(to_bytes(&again).unwrap(), to_bytes(&net).unwrap());
    }

    #[test]
    fn a_parameter_that_the_file_does_not_have_is_an_error() {
        let files = files(foreign());
        let mut b = crate::graph::Builder::new("other", "image", [1, 8, 8]).unwrap();
        let image = b.input();
        let new = b
            .parameter("new", Tensor::new::<f32>(&[1], vec![1.0]), true)
            .unwrap();
        let op = crate::graph::op::Op::Binary(crate::graph::op::Binary::Mul);
        let x = b.node("scaled", op, &[image, new]).unwrap();
        let logits = network().graft(&mut b, x).unwrap();
        let net = b.finish(logits).unwrap();
        let error = files.with_numbers(&net, &net.trainable()).unwrap_err();
        assert!(error.to_string().contains("`new`"), "{error}");
    }

    /// Every float16 comes back as itself, and what lies between two goes to the nearer one, a tie
    /// to the even one. Values of NumPy.
    #[test]
    fn halves_are_rounded_to_the_nearest() {
        for (v, expected) in [
            (1.0f32, 0x3c00u16),
            (-2.5, 0xc100),
            (65504.0, 0x7bff),
            (65519.0, 0x7bff),
            (65520.0, 0x7c00),
            (1.000_488_3, 0x3c00),
            (1.000_488_4, 0x3c01),
            (1.001_464_8, 0x3c02),
            (6.103_515_6e-5, 0x0400),
            (6.1e-5, 0x03ff),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (-0.0, 0x8000),
        ] {
            assert_eq!(half(v), expected, "{v}");
        }
        for (v, expected) in [
            (1.0f32, 0x3f80u16),
            (1.003_906_3, 0x3f80),
            (1.011_718_8, 0x3f82),
            (-3.0, 0xc040),
        ] {
            assert_eq!(brain(v), expected, "{v}");
        }
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let files = files(foreign());
        let net = from_bytes(&files.model).unwrap();
        for cut in (1..files.model.len()).step_by(97) {
            let mut damaged = files.clone();
            damaged.model.truncate(cut);
            let _ = damaged.with_numbers(&net, &[]);
        }
        let mut odd = files.clone();
        odd.model = vec![0x0b];
        assert!(odd.with_numbers(&net, &[]).is_err());
    }
}
