//! Files of models: the hash that a record names is that of the bytes that were read.

use crate::error::Result;
use crate::hash::sha256;
use crate::store::atomic;
use fgmf_net::onnx::ReadOptions;
use fgmf_net::{Network, onnx};
use std::collections::BTreeMap;
use std::path::Path;

/// A network from an ONNX file, and the SHA-256 of what was read. Each file is read once.
///
/// The hash of a model in one file is that of its bytes. Where numbers lie in data files beside it,
/// the hash is that of the model's bytes followed by the SHA-256 of each data file, as lower-case
/// hexadecimal digits, in the order of their locations.
///
/// Errors name the file: it cannot be read, or it holds no network that can be run.
pub fn read_model(path: &Path) -> Result<(Network, String)> {
    let (files, hash) = read_files(path)?;
    Ok((network_of(files, path, &ReadOptions::default())?, hash))
}

/// The network of files that [`read_files`] read from `path`; errors as those of [`read_model`].
pub fn network_of(files: onnx::Files, path: &Path, options: &ReadOptions) -> Result<Network> {
    let net = files.network_with(options);
    let net = net.map_err(|e| fgmf_net::Error::File {
        path: path.to_owned(),
        source: Box::new(e),
    })?;
    Ok(net)
}

/// The files of a model, and the hash that [`read_model`] gives.
///
/// Errors name the file that cannot be read.
pub fn read_files(path: &Path) -> Result<(onnx::Files, String)> {
    let files = onnx::Files::read(path)?;
    let hash = hash_of(&files.model, &files.data);
    Ok((files, hash))
}

fn hash_of(model: &[u8], data: &BTreeMap<String, Vec<u8>>) -> String {
    if data.is_empty() {
        return sha256(model);
    }
    let digests = data.values().map(|bytes| sha256(bytes));
    let all = [model, digests.collect::<String>().as_bytes()].concat();
    sha256(&all)
}

/// Writes a network as an ONNX file, and gives the SHA-256 of the file.
pub fn write_model(path: &Path, net: &Network) -> Result<String> {
    let bytes = onnx::to_bytes(net)?;
    atomic::write(path, &bytes)?;
    Ok(sha256(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    fn network(seed: u64) -> Network {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 8, 8],
            classes: 2,
            mean: vec![0.0],
            deviation: vec![1.0],
            seed,
        };
        build(&config).unwrap()
    }

    #[test]
    fn what_was_written_is_read_with_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let written = write_model(&path, &network(0)).unwrap();
        let (net, read) = read_model(&path).unwrap();
        assert_eq!(written, read);
        assert_eq!(read, sha256(&onnx::to_bytes(&net).unwrap()));
        std::fs::write(&path, "no model").unwrap();
        let error = read_model(&path).unwrap_err().to_string();
        assert!(error.contains("m.onnx"), "{error}");
    }

    #[test]
    fn the_hash_covers_the_data_files() {
        let of = |data: &[(&str, &[u8])]| {
            let data = data.iter().map(|(n, b)| ((*n).to_owned(), b.to_vec()));
            hash_of(b"model", &data.collect())
        };
        assert_eq!(of(&[]), sha256(b"model"));
        let expected = format!("model{}{}", sha256(b"one"), sha256(b"two"));
        let found = of(&[("b", b"two"), ("a", b"one")]);
        assert_eq!(found, sha256(expected.as_bytes()));
    }

    /// A pipe gives other bytes each time it is opened, as a file does that is replaced meanwhile.
    #[cfg(unix)]
    #[test]
    fn the_hash_is_of_the_bytes_behind_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let models: Vec<Vec<u8>> = [0, 1]
            .map(|seed| onnx::to_bytes(&network(seed)).unwrap())
            .into();
        let (first, to) = (models[0].clone(), path.clone());
        // The second model is there for a reader who opens the pipe again; nobody waits for it.
        std::thread::spawn(move || {
            std::fs::write(&to, &models[0]).unwrap();
            std::thread::sleep(std::time::Duration::from_secs(5));
            std::fs::write(&to, &models[1])
        });
        let (net, hash) = read_model(&path).unwrap();
        assert_eq!(hash, sha256(&first));
        assert_eq!(onnx::to_bytes(&net).unwrap(), first);
    }
}
