//! Files: bytes in, a network out, and back.

use super::export::check_bytes;
use super::external::{Files, beside, fill};
use super::options::ReadOptions;
use super::proto::ModelProto;
use super::read::network;
use super::write::model;
use crate::error::{Error, Result};
use crate::graph::Network;
use prost::Message;
use std::path::Path;

/// Reads a network from a file, and from the data files beside it that it names. Errors name the
/// file ([`Error::File`]); their source is that of [`from_bytes`].
pub fn read(path: &Path) -> Result<Network> {
    Files::read(path)?.network().map_err(within(path))
}

/// Reads a network from the bytes of a file: [`Error::Node`], [`Error::OperatorSet`],
/// [`Error::Export`] or [`Error::Graph`] if it cannot be. Bytes have no folder, so numbers in other
/// files are refused.
pub fn from_bytes(bytes: &[u8]) -> Result<Network> {
    from_bytes_with(bytes, &ReadOptions::default())
}

/// [`from_bytes`] with what the file leaves open; [`Error::Export`] also where the file has
/// something else than the options say.
pub fn from_bytes_with(bytes: &[u8], options: &ReadOptions) -> Result<Network> {
    network(decoded(bytes)?, options)
}

impl Files {
    /// The bytes of a model and of the data files that it names. Each file is read once. Errors
    /// name the model ([`Error::File`], [`Error::Io`]).
    pub fn read(path: &Path) -> Result<Self> {
        let model = std::fs::read(path).map_err(Error::io(path))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = || {
            let mut message = decoded(&model)?;
            Ok((beside(&mut message, folder)?, message))
        };
        let (data, message) = named().map_err(within(path))?;
        Ok(Self {
            model,
            data,
            message,
        })
    }

    /// The network that these files hold; errors as those of [`from_bytes`].
    pub fn network(self) -> Result<Network> {
        self.network_with(&ReadOptions::default())
    }

    /// [`network`](Self::network) with what the files leave open; errors as those of
    /// [`from_bytes_with`].
    pub fn network_with(self, options: &ReadOptions) -> Result<Network> {
        let Self {
            model,
            data,
            mut message,
        } = self;
        drop(model);
        fill(&mut message, &data)?;
        // The numbers are in the message now.
        drop(data);
        network(message, options)
    }
}

fn decoded(bytes: &[u8]) -> Result<ModelProto> {
    check_bytes(bytes)?;
    ModelProto::decode(bytes).map_err(|e| {
        Error::Graph(format!(
            "expected an ONNX model, found other or damaged data ({e})"
        ))
    })
}

fn within(path: &Path) -> impl FnOnce(Error) -> Error + '_ {
    |source| Error::File {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

/// The bytes of an ONNX file of this network.
pub fn to_bytes(net: &Network) -> Result<Vec<u8>> {
    Ok(model(net)?.encode_to_vec())
}
