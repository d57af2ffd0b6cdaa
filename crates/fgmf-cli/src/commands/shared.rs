//! What commands share: files of models, facts of data and machine.

use anyhow::Result;
use fgmf::data::{Dataset, class_names};
use fgmf_net::{Network, Session};
use fgmf_record::{DataRecord, MachineRecord};
use std::path::Path;

/// A model file and its hash.
pub(crate) fn read_model(path: &Path) -> Result<(Session, String)> {
    let (net, sha256) = fgmf::store::read_model(path)?;
    Ok((Session::new(net), sha256))
}

/// Gives the data the labels of the model; an error unless it is what the model takes.
pub(crate) fn check_fit(net: &Network, data: &mut Dataset) -> Result<()> {
    if net.image_shape() != data.shape() {
        return Err(fgmf::Error::mismatch(
            "match model and data",
            format!("images of {:?} (c, h, w)", net.image_shape()),
            format!("{:?}", data.shape()),
        )
        .into());
    }
    data.relabel(class_names(net).as_deref(), net.classes())?;
    Ok(())
}

pub(crate) fn data_record(data: &Dataset) -> DataRecord {
    DataRecord {
        name: data.name().into(),
        split: data.split(),
        n: data.len(),
        sha256: data.sha256(),
        classes: data.classes().to_vec(),
    }
}

pub(crate) fn machine() -> MachineRecord {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map(|l| l.trim_start_matches([' ', '\t', ':']).to_owned());
    MachineRecord {
        cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        threads: rayon::current_num_threads(),
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}
