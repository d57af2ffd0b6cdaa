//! A team's training between two iterations, as one file that is replaced in one step.

use crate::agent::lanes::Lanes;
use crate::agent::learn::config::TeamConfig;
use crate::agent::learn::returns::ReturnScale;
use crate::error::{Error, Result};
use crate::record::BuildRecord;
use crate::store::atomic;
use crate::store::build::build;
use crate::store::seal::{BLANK, is_whole, seal};
use crate::train::optimise::{OptimiserState, parameters};
use fgmf_net::{Network, Session, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// One iteration, for the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IterationRecord {
    /// From 1.
    pub iteration: usize,
    /// Steps of the environment so far.
    pub steps: u64,
    /// Mean return of the episodes that ended while training; absent if none did.
    pub training: Option<f64>,
    /// Mean return of the evaluation, if there was one.
    pub evaluation: Option<f64>,
    /// Mean loss.
    pub loss: f64,
    /// Mean entropy of the policy, nats.
    pub entropy: f64,
}

/// The best policy so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestPolicy {
    /// After which iteration.
    pub iteration: usize,
    /// Mean return of its evaluation.
    pub evaluation: f64,
}

/// What goes on.
pub(crate) struct TeamState {
    pub(crate) net: Session,
    pub(crate) optimiser: OptimiserState,
    pub(crate) scale: ReturnScale,
    pub(crate) lanes: Lanes,
    /// Return so far of each lane's episode.
    pub(crate) running: Vec<f64>,
    pub(crate) log: Vec<IterationRecord>,
    pub(crate) best: Option<(BestPolicy, Network)>,
}

/// What the file's header says.
#[derive(Serialize, Deserialize)]
struct TeamHeader {
    /// Of the whole file, with zeros in the place of this.
    sha256: String,
    build: BuildRecord,
    config: TeamConfig,
    step: u64,
    scale: ReturnScale,
    running: Vec<f64>,
    log: Vec<IterationRecord>,
    best: Option<BestPolicy>,
}

pub(crate) fn save(path: &Path, config: &TeamConfig, state: &TeamState) -> Result<()> {
    let header = TeamHeader {
        sha256: BLANK.into(),
        build: build(),
        config: config.clone(),
        step: state.optimiser.step,
        scale: state.scale,
        running: state.running.clone(),
        log: state.log.clone(),
        best: state.best.as_ref().map(|b| b.0),
    };
    let mut arrays: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut floats = |name: String, t: &Tensor| {
        let bytes = t.to_f32().iter().flat_map(|v| v.to_le_bytes()).collect();
        arrays.push((name, Dtype::F32, t.shape().to_vec(), bytes));
    };
    for id in parameters(&state.net) {
        let name = &state.net.value(id).name;
        if let Some(w) = state.net.parameter(id) {
            floats(format!("weight/{name}"), w);
        }
        if let Some(w) = state.best.as_ref().and_then(|b| b.1.parameter(id)) {
            floats(format!("best/{name}"), w);
        }
    }
    let moments = state.optimiser.first.iter().zip(&state.optimiser.second);
    for (i, (m, v)) in moments.enumerate() {
        floats(format!("first/{i}"), m);
        floats(format!("second/{i}"), v);
    }
    for (lane, bytes) in state.lanes.save().into_iter().enumerate() {
        arrays.push((format!("lane/{lane}"), Dtype::U8, vec![bytes.len()], bytes));
    }
    let broken = |e: &dyn std::fmt::Display| Error::record(path, e);
    let mut views = Vec::with_capacity(arrays.len());
    for array in &arrays {
        let (name, dtype, shape, bytes) = array;
        let made = TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| broken(&e))?;
        views.push((name.as_str(), made));
    }
    let header = serde_json::to_string(&header).map_err(|e| broken(&e))?;
    let metadata = Some(HashMap::from([("fgmf".to_owned(), header)]));
    let mut bytes = safetensors::serialize(views, metadata).map_err(|e| broken(&e))?;
    seal(path, &mut bytes)?;
    atomic::write(path, &bytes)
}

/// Reads the state of a run of the same settings; none if there is no file. `fresh` is the state at
/// the start.
pub(crate) fn load(path: &Path, config: &TeamConfig, fresh: &mut TeamState) -> Result<bool> {
    let Some(bytes) = atomic::read_if_there(path)? else {
        return Ok(false);
    };
    let broken = |e: &dyn std::fmt::Display| {
        let expected = "expected the state of a team's training, found a file that cannot be used";
        Error::record(path, format!("{expected} ({e}); delete it to start over"))
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&e))?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get("fgmf"));
    let header = header.ok_or_else(|| broken(&"no header"))?;
    let header: TeamHeader = serde_json::from_str(header).map_err(|e| broken(&e))?;
    if !is_whole(&bytes, &header.sha256) {
        return Err(broken(&"its digest is another"));
    }
    for (same, what) in [
        (header.config == *config, "settings"),
        (header.build == build(), "build or instruction set"),
    ] {
        if !same {
            let found = format!("expected the state of this run, found one with other {what}");
            let way = "choose another folder or delete the file";
            return Err(Error::record(path, format!("{found}; {way}")));
        }
    }
    let arrays = SafeTensors::deserialize(&bytes).map_err(|e| broken(&e))?;
    let floats = |name: &str, like: &Tensor| -> Result<Tensor> {
        let view = arrays.tensor(name).map_err(|e| broken(&e))?;
        if view.dtype() != Dtype::F32 || view.shape() != like.shape() {
            return Err(broken(&format!("`{name}` has another shape")));
        }
        let values = view.data().chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(Tensor::new::<f32>(like.shape(), values.collect()))
    };
    let mut best = header.best.map(|b| (b, fresh.net.network().clone()));
    for id in parameters(&fresh.net) {
        let Some(like) = fresh.net.parameter(id).cloned() else {
            continue;
        };
        let name = fresh.net.value(id).name.clone();
        let weight = floats(&format!("weight/{name}"), &like)?;
        fresh.net.set_parameter(id, weight)?;
        if let Some((_, net)) = &mut best {
            net.set_parameter(id, floats(&format!("best/{name}"), &like)?)?;
        }
    }
    for i in 0..fresh.optimiser.first.len() {
        fresh.optimiser.first[i] = floats(&format!("first/{i}"), &fresh.optimiser.first[i])?;
        fresh.optimiser.second[i] = floats(&format!("second/{i}"), &fresh.optimiser.second[i])?;
    }
    let mut states = Vec::with_capacity(fresh.lanes.len());
    for lane in 0..fresh.lanes.len() {
        let view = arrays
            .tensor(&format!("lane/{lane}"))
            .map_err(|e| broken(&e))?;
        states.push(view.data().to_vec());
    }
    fresh.lanes.load(&states)?;
    if header.running.len() != fresh.lanes.len() || header.log.len() > config.iterations() {
        return Err(broken(&"its log and its counters disagree"));
    }
    fresh.optimiser.step = header.step;
    fresh.scale = header.scale;
    fresh.running = header.running;
    fresh.log = header.log;
    fresh.best = best;
    Ok(true)
}
