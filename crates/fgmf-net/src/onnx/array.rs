//! Small arrays known at reading time, and how they are stored in a file.

use super::attributes::MOST_AXES;
use super::export::type_name;
use super::proto::{TensorProto, dtype};
use crate::graph::op::MAX_VALUES;
use std::ops::Range;
use std::sync::Arc;

/// Most values of a computed constant.
pub(super) const MOST_FOLDED: usize = 1 << 22;

/// Numbers of an [`Array`]. Truth values are integers, 0 and 1; all floating types are single
/// precision.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Int(Vec<i64>),
    Float(Vec<f32>),
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// A value known at reading time, at each of the two probe batch sizes.
#[derive(Clone, Debug)]
pub(super) struct Known(pub(super) [Arc<Array>; 2]);

impl Known {
    pub(super) fn constant(array: Array) -> Self {
        let array = Arc::new(array);
        Self([array.clone(), array])
    }

    /// The array, if it does not depend on the batch size.
    pub(super) fn same(&self) -> Option<&Array> {
        let [a, b] = &self.0;
        (Arc::ptr_eq(a, b) || a == b).then_some(a)
    }
}

impl Array {
    pub(super) fn ints(values: Vec<i64>) -> Self {
        Self {
            shape: vec![values.len()],
            data: Data::Int(values),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Int(v) => v.len(),
            Data::Float(v) => v.len(),
        }
    }

    /// The integers, flattened.
    pub(super) fn as_ints(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Int(v) => Ok(v),
            Data::Float(_) => Err("expected integers, found floating-point numbers".to_owned()),
        }
    }

    /// The numbers, flattened, integers converted.
    pub(super) fn to_floats(&self) -> Vec<f32> {
        match &self.data {
            Data::Int(v) => v.iter().map(|&v| v as f32).collect(),
            Data::Float(v) => v.clone(),
        }
    }

    /// The values at flat positions, in a new shape.
    pub(super) fn pick(&self, shape: Vec<usize>, at: &[usize]) -> Self {
        let data = match &self.data {
            Data::Int(v) => Data::Int(at.iter().map(|&i| v[i]).collect()),
            Data::Float(v) => Data::Float(at.iter().map(|&i| v[i]).collect()),
        };
        Self { shape, data }
    }

    /// Repeated along axes of size 1.
    pub(super) fn expanded(&self, shape: &[usize]) -> Self {
        if shape == self.shape {
            return self.clone();
        }
        let from_end = |i: usize| {
            self.shape
                .len()
                .checked_sub(shape.len() - i)
                .map(|j| (j, self.shape[j]))
        };
        let strides = strides(&self.shape);
        let step = |i: usize| from_end(i).map_or(0, |(j, d)| if d == 1 { 0 } else { strides[j] });
        self.pick(
            shape.to_vec(),
            &walk(shape, &(0..shape.len()).map(step).collect::<Vec<_>>()),
        )
    }

    /// The array of a file, at single precision or as 64-bit integers.
    pub(super) fn decode(t: &TensorProto) -> Result<Self, String> {
        let within = |reason: String| {
            if t.name.is_empty() {
                reason
            } else {
                format!("`{}`: {reason}", t.name)
            }
        };
        if t.is_external() {
            return Err(within(
                "expected the numbers inside the file, found external data (save the model \
                as one file)"
                    .to_owned(),
            ));
        }
        let shape = shape_of(t).map_err(within)?;
        let data = numbers(t, shape.iter().product()).map_err(within)?;
        Ok(Self { shape, data })
    }
}

/// Number of values of a shape, if that is within a limit.
pub(super) fn counted(shape: &[usize], most: usize) -> Result<usize, String> {
    // A zero must not hide sizes that overflow on their own.
    let bound = shape
        .iter()
        .try_fold(1usize, |a, &d| a.checked_mul(d.max(1)))
        .filter(|&n| n <= most);
    bound.ok_or_else(|| format!("expected at most {most} values, found shape {shape:?}"))?;
    Ok(shape.iter().product())
}

/// Declared shape of a stored array.
pub(super) fn shape_of(t: &TensorProto) -> Result<Vec<usize>, String> {
    let shape: Option<Vec<usize>> = t.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape =
        shape.ok_or_else(|| format!("expected sizes that are not negative, found {:?}", t.dims))?;
    if shape.len() > MOST_AXES {
        return Err(format!(
            "expected at most {MOST_AXES} axes, found {}",
            shape.len()
        ));
    }
    counted(&shape, MAX_VALUES)?;
    Ok(shape)
}

/// Bytes of one number of an element type, as files store it.
pub(super) fn width(data_type: i32) -> Result<usize, String> {
    match data_type {
        dtype::UINT8 | dtype::INT8 | dtype::BOOL => Ok(1),
        dtype::UINT16 | dtype::INT16 | dtype::FLOAT16 | dtype::BFLOAT16 => Ok(2),
        dtype::FLOAT | dtype::INT32 | dtype::UINT32 => Ok(4),
        dtype::DOUBLE | dtype::INT64 | dtype::UINT64 => Ok(8),
        other => Err(unreadable(other)),
    }
}

fn unreadable(data_type: i32) -> String {
    format!(
        "expected floating-point numbers, integers or truth values, found {}",
        type_name(data_type)
    )
}

/// Whether a stored array holds floating-point numbers.
pub(super) fn is_float(t: &TensorProto) -> bool {
    matches!(
        t.data_type,
        dtype::FLOAT | dtype::DOUBLE | dtype::FLOAT16 | dtype::BFLOAT16
    )
}

fn numbers(t: &TensorProto, n: usize) -> Result<Data, String> {
    let ints = |v: Result<Vec<i64>, String>| v.map(Data::Int);
    let floats = |v: Result<Vec<f32>, String>| v.map(Data::Float);
    let bits = |v: &i32| *v as u16;
    match t.data_type {
        dtype::FLOAT => floats(list(t, n, &t.float_data, |v| *v, f32::from_le_bytes)),
        dtype::DOUBLE => floats(list(
            t,
            n,
            &t.double_data,
            |v| *v as f32,
            |b| f64::from_le_bytes(b) as f32,
        )),
        dtype::FLOAT16 => floats(list(
            t,
            n,
            &t.int32_data,
            |v| half(bits(v)),
            |b| half(u16::from_le_bytes(b)),
        )),
        dtype::BFLOAT16 => floats(list(
            t,
            n,
            &t.int32_data,
            |v| brain(bits(v)),
            |b| brain(u16::from_le_bytes(b)),
        )),
        dtype::INT64 => ints(list(t, n, &t.int64_data, |v| *v, i64::from_le_bytes)),
        dtype::INT32 => ints(list(
            t,
            n,
            &t.int32_data,
            |v| i64::from(*v),
            |b| i64::from(i32::from_le_bytes(b)),
        )),
        dtype::INT16 => ints(list(
            t,
            n,
            &t.int32_data,
            |v| i64::from(*v),
            |b| i64::from(i16::from_le_bytes(b)),
        )),
        dtype::INT8 => ints(list(
            t,
            n,
            &t.int32_data,
            |v| i64::from(*v),
            |b| i64::from(i8::from_le_bytes(b)),
        )),
        dtype::UINT8 | dtype::BOOL => ints(list(
            t,
            n,
            &t.int32_data,
            |v| i64::from(*v),
            |b: [u8; 1]| i64::from(b[0]),
        )),
        dtype::UINT16 => ints(list(
            t,
            n,
            &t.int32_data,
            |v| i64::from(*v),
            |b| i64::from(u16::from_le_bytes(b)),
        )),
        dtype::UINT32 => ints(list(
            t,
            n,
            &t.uint64_data,
            |v| *v as i64,
            |b| i64::from(u32::from_le_bytes(b)),
        )),
        dtype::UINT64 => ints(list(
            t,
            n,
            &t.uint64_data,
            |v| *v as i64,
            |b| u64::from_le_bytes(b) as i64,
        )),
        other => Err(unreadable(other)),
    }
}

/// `n` values from the typed field or, where that is empty, from the raw bytes.
fn list<F, T, const W: usize>(
    t: &TensorProto,
    n: usize,
    typed: &[F],
    convert: impl Fn(&F) -> T,
    parse: impl Fn([u8; W]) -> T,
) -> Result<Vec<T>, String> {
    if !typed.is_empty() {
        if typed.len() != n {
            return Err(format!(
                "expected {n} values for shape {:?}, found {}",
                t.dims,
                typed.len()
            ));
        }
        return Ok(typed.iter().map(convert).collect());
    }
    if t.raw_data.len() != n * W {
        return Err(format!(
            "expected {} bytes for shape {:?}, found {}",
            n * W,
            t.dims,
            t.raw_data.len()
        ));
    }
    Ok(t.raw_data
        .as_chunks::<W>()
        .0
        .iter()
        .map(|&b| parse(b))
        .collect())
}

/// IEEE half precision.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (
        u32::from(bits >> 15) << 31,
        i32::from(bits >> 10 & 31),
        f32::from(bits & 1023),
    );
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2f32.powi(e - 15),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// The upper half of single precision.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Row-major steps of each axis.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i];
    }
    out
}

/// The runs of numbers of each of `n` equal parts of an axis, `n` runs for each position before it.
pub(super) fn split_even(shape: &[usize], axis: usize, n: usize) -> Vec<Range<usize>> {
    let run = shape[axis..].iter().product::<usize>() / n;
    let total: usize = shape.iter().product();
    (0..total / run.max(1))
        .map(|i| i * run..(i + 1) * run)
        .collect()
}

/// Flat positions of an array of this shape read with these steps, in row-major order.
pub(super) fn walk(shape: &[usize], steps: &[usize]) -> Vec<usize> {
    let start = if shape.contains(&0) {
        Vec::new()
    } else {
        vec![0]
    };
    shape.iter().zip(steps).fold(start, |at, (&d, &step)| {
        at.iter()
            .flat_map(|&base| (0..d).map(move |i| base + i * step))
            .collect()
    })
}
