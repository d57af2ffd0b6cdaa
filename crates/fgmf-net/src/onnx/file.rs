//! Files: bytes in, a network out, and back.

use super::export::check_bytes;
use super::proto::ModelProto;
use super::read::network;
use super::write::model;
use crate::error::{Error, Result};
use crate::graph::Network;
use prost::Message;
use std::path::Path;

/// Reads a network from a file. Errors name the file ([`Error::File`]); their source is that of
/// [`from_bytes`].
pub fn read(path: &Path) -> Result<Network> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    from_bytes(&bytes).map_err(|e| Error::File {
        path: path.to_owned(),
        source: Box::new(e),
    })
}

/// Reads a network from the bytes of a file: [`Error::Node`], [`Error::OperatorSet`],
/// [`Error::Export`] or [`Error::Graph`] if it cannot be.
pub fn from_bytes(bytes: &[u8]) -> Result<Network> {
    check_bytes(bytes)?;
    let message = ModelProto::decode(bytes).map_err(|e| {
        Error::Graph(format!(
            "expected an ONNX model, found other or damaged data ({e})"
        ))
    })?;
    network(message)
}

/// The bytes of an ONNX file of this network.
pub fn to_bytes(net: &Network) -> Result<Vec<u8>> {
    Ok(model(net)?.encode_to_vec())
}
