//! Numbers that lie beside a model: the files that its stored arrays name, and their bytes.
//!
//! A location is a relative path below the folder of the model. No part of it is `..`, and what it
//! leads to, links followed, lies in that folder too: a model must not be able to read anything
//! else. Offset and length are held to the file and to the size of the array.

use super::array::{counted, shape_of, width};
use super::export::fault;
use super::proto::{ModelProto, TensorProto};
use crate::error::{Error, ExportFault, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path};

/// Most data files of a model. Exporters write one, old ones one for each array.
const MOST_FILES: usize = 1 << 12;
/// Most bytes of all data files together. A network holds at most 8 GiB of numbers.
const MOST_BYTES: u64 = 1 << 34;
/// How often, on average, arrays may use a byte of the data files. Tied weights are used twice.
const USES: usize = 4;

/// A model whose data files are known: its own bytes, and those of each data file by location.
#[derive(Clone, Debug)]
pub struct Files {
    /// The bytes of the model's own file.
    pub model: Vec<u8>,
    /// The bytes of each data file, by the location that the model names it by.
    pub data: BTreeMap<String, Vec<u8>>,
    /// What the model's bytes say.
    pub(super) message: ModelProto,
}

/// Every array that a model stores, also those in attributes of its nodes.
fn arrays(model: &mut ModelProto) -> impl Iterator<Item = &mut TensorProto> {
    model.graph.iter_mut().flat_map(|graph| {
        let nodes = graph.node.iter_mut();
        let attributes = nodes.flat_map(|n| n.attribute.iter_mut());
        let inside = attributes.filter_map(|a| a.t.as_mut());
        graph.initializer.iter_mut().chain(inside)
    })
}

fn wrong(name: &str, reason: String) -> Error {
    fault(ExportFault::ExternalData, format!("`{name}`: {reason}"))
}

fn entry<'t>(t: &'t TensorProto, key: &str) -> Option<&'t str> {
    let found = t.external_data.iter().find(|e| e.key == key);
    found.map(|e| e.value.as_str())
}

/// The location of an array's numbers: below the folder of the model.
fn location(t: &TensorProto) -> Result<&str> {
    let location = entry(t, "location").filter(|l| !l.is_empty());
    let location = location.ok_or_else(|| {
        let reason = "expected the location of external data, found none";
        wrong(&t.name, reason.to_owned())
    })?;
    let inside = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    // A path of another system must not become one file name here.
    if !Path::new(location).components().all(inside) || location.contains(['\\', '\0']) {
        return Err(wrong(
            &t.name,
            format!("expected external data in the folder of the model, found `{location}`"),
        ));
    }
    Ok(location)
}

fn number(t: &TensorProto, key: &str) -> Result<Option<usize>> {
    let read = |text: &str| {
        let parsed = text.parse::<usize>();
        parsed.map_err(|_| {
            let reason = format!("expected a whole number as `{key}`, found `{text}`");
            wrong(&t.name, reason)
        })
    };
    entry(t, key).map(read).transpose()
}

/// The locations that a model names.
pub(super) fn locations(model: &mut ModelProto) -> Result<BTreeSet<String>> {
    let mut out = BTreeSet::new();
    for t in arrays(model).filter(|t| t.is_external()) {
        out.insert(location(t)?.to_owned());
        if out.len() > MOST_FILES {
            return Err(Error::Graph(format!(
                "expected at most {MOST_FILES} files of external data, found more"
            )));
        }
    }
    Ok(out)
}

/// The bytes of every data file that a model in `folder` names.
pub(super) fn beside(model: &mut ModelProto, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let names = locations(model)?;
    let mut data = BTreeMap::new();
    if names.is_empty() {
        return Ok(data);
    }
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let folder = folder.canonicalize().map_err(Error::io(folder))?;
    let mut left = MOST_BYTES;
    for name in names {
        let bytes = contents(&name, &folder, left)?;
        left -= bytes.len() as u64;
        data.insert(name, bytes);
    }
    Ok(data)
}

/// The bytes of one data file, `most` at most.
fn contents(name: &str, folder: &Path, most: u64) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let real = path.canonicalize().map_err(|e| {
        let reason = format!("expected the numbers of the model in this file beside it: {e}");
        wrong(name, reason)
    })?;
    if !real.starts_with(folder) {
        return Err(wrong(
            name,
            format!(
                "expected external data in the folder of the model, found a link to `{}`",
                real.display()
            ),
        ));
    }
    // What is no file may never end.
    if !real.metadata().map_err(Error::io(&path))?.is_file() {
        let reason = "expected a file of external data, found something else";
        return Err(wrong(name, reason.to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(&real).map_err(Error::io(&path))?;
    let mut file = file.take(most.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(Error::io(&path))?;
    if bytes.len() as u64 > most {
        return Err(wrong(
            name,
            format!("expected at most {MOST_BYTES} bytes of external data, found more"),
        ));
    }
    Ok(bytes)
}

/// Puts the numbers of every array into the model.
pub(super) fn fill(model: &mut ModelProto, data: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let held: usize = data.values().map(Vec::len).sum();
    let mut left = held.saturating_mul(USES);
    for t in arrays(model).filter(|t| t.is_external()) {
        fill_one(t, data)?;
        left = left.checked_sub(t.raw_data.len()).ok_or_else(|| {
            let reason = format!(
                "expected arrays that use each byte of external data {USES} times at most on \
                    average, found more"
            );
            wrong(&t.name, reason)
        })?;
    }
    Ok(())
}

/// Puts the numbers of one array, which lie in a data file, into it.
pub(super) fn fill_one(t: &mut TensorProto, data: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let name = location(t)?;
    let file = data.get(name).ok_or_else(|| {
        let reason = format!("expected external data in `{name}`, found no such file");
        wrong(&t.name, reason)
    })?;
    t.raw_data = file[range(t, file.len())?].to_vec();
    t.external_data.clear();
    t.data_location = 0;
    Ok(())
}

/// Where the numbers of an array lie in a file of this size.
fn range(t: &TensorProto, size: usize) -> Result<Range<usize>> {
    let name = &t.name;
    let shape = shape_of(t).map_err(|reason| wrong(name, reason))?;
    let each = width(t.data_type).map_err(|reason| wrong(name, reason))?;
    let wanted = counted(&shape, usize::MAX / each).map_err(|reason| wrong(name, reason))? * each;
    let start = number(t, "offset")?.unwrap_or(0);
    let length = number(t, "length")?.unwrap_or(wanted);
    if length != wanted {
        return Err(wrong(
            name,
            format!("expected {wanted} bytes for shape {shape:?}, found length {length}"),
        ));
    }
    let end = start.checked_add(length).filter(|&end| end <= size);
    let end = end.ok_or_else(|| {
        let reason = format!(
            "expected external data inside a file of {size} bytes, found {length} bytes from \
                {start} on"
        );
        wrong(name, reason)
    })?;
    Ok(start..end)
}
