//! State of a run on disk: one file, replaced in one step, so that a kill leaves the old one or the
//! new one.

use crate::error::{Error, Result};
use crate::record::{BuildRecord, EpochRecord, ValidationRecord};
use crate::store::atomic;
use crate::store::build::build;
use crate::store::seal::{BLANK, is_whole, seal};
use crate::train::config::TrainConfig;
use crate::train::displaced::Displacements;
use crate::train::optimise::{OptimiserState, parameters};
use crate::train::salience::{Salience, Teacher};
use crate::train::validation::KeptEpoch;
use fgmf_net::{Network, Session, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// What the file's header says.
#[derive(Serialize, Deserialize)]
struct CheckpointHeader {
    /// Of the whole file, with zeros in the place of this.
    sha256: String,
    build: BuildRecord,
    config: TrainConfig,
    data_sha256: String,
    epochs_done: usize,
    step: u64,
    teach: Option<f64>,
    #[serde(default)]
    kept: Option<KeptEpoch>,
    log: Vec<EpochRecord>,
}

/// The network so far that does best on the images held out.
pub(super) struct BestNetwork {
    pub(super) net: Network,
    pub(super) kept: KeptEpoch,
}

impl BestNetwork {
    /// Before the first epoch.
    pub(super) fn first(net: Network, before: ValidationRecord) -> Self {
        let kept = KeptEpoch {
            epoch: 0,
            validation: before,
            before,
        };
        Self { net, kept }
    }

    /// Takes the network of an epoch in its place, if that did better.
    pub(super) fn improve(
        &mut self,
        epoch: usize,
        judged: ValidationRecord,
        net: impl FnOnce() -> Network,
    ) {
        if judged.rank() > self.kept.validation.rank() {
            self.net = net();
            self.kept.epoch = epoch;
            self.kept.validation = judged;
        }
    }
}

/// A run between two epochs.
pub(super) struct Checkpoint {
    pub(super) net: Session,
    pub(super) optimiser: OptimiserState,
    pub(super) salience: Option<Salience>,
    pub(super) displacements: Option<Displacements>,
    /// What the objective leaves from step to step.
    pub(super) carried: Vec<f64>,
    pub(super) log: Vec<EpochRecord>,
    /// None without images held out.
    pub(super) best: Option<BestNetwork>,
}

impl Checkpoint {
    /// Before the first step, with no image held out.
    pub(super) fn new(net: Network) -> Self {
        Self {
            optimiser: OptimiserState::new(&net),
            net: Session::new(net),
            salience: None,
            displacements: None,
            carried: Vec::new(),
            log: Vec::new(),
            best: None,
        }
    }
}

pub(super) fn save(
    path: &Path,
    config: &TrainConfig,
    data_sha256: &str,
    state: &Checkpoint,
) -> Result<()> {
    let header = CheckpointHeader {
        sha256: BLANK.into(),
        build: build(),
        config: config.clone(),
        data_sha256: data_sha256.into(),
        epochs_done: state.log.len(),
        step: state.optimiser.step,
        teach: state
            .salience
            .as_ref()
            .and_then(Salience::teacher)
            .map(|t| t.weight),
        kept: state.best.as_ref().map(|b| b.kept),
        log: state.log.clone(),
    };
    let mut arrays: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut floats = |name: String, t: &Tensor| {
        arrays.push((
            name,
            Dtype::F32,
            t.shape().to_vec(),
            t.to_f32().iter().flat_map(|v| v.to_le_bytes()).collect(),
        ));
    };
    for id in parameters(&state.net) {
        let name = &state.net.value(id).name;
        if let (Some(w), Some(a)) = (
            state.net.parameter(id),
            state.optimiser.average.parameter(id),
        ) {
            floats(format!("weight/{name}"), w);
            floats(format!("average/{name}"), a);
        }
        if let Some(b) = state.best.as_ref().and_then(|b| b.net.parameter(id)) {
            floats(format!("best/{name}"), b);
        }
    }
    for (i, (m, v)) in state
        .optimiser
        .first
        .iter()
        .zip(&state.optimiser.second)
        .enumerate()
    {
        floats(format!("first/{i}"), m);
        floats(format!("second/{i}"), v);
    }
    if let Some(s) = &state.salience {
        arrays.push((
            "salience".into(),
            Dtype::U8,
            vec![s.mask.len()],
            s.mask.clone(),
        ));
        if let Some(t) = s.teacher() {
            arrays.push((
                "teacher".into(),
                Dtype::U8,
                vec![t.maps.len()],
                t.maps.clone(),
            ));
        }
    }
    if let Some(d) = &state.displacements {
        let bytes = d.bytes();
        arrays.push(("displacements".into(), Dtype::U8, vec![bytes.len()], bytes));
    }
    if !state.carried.is_empty() {
        let bytes = state.carried.iter().flat_map(|v| v.to_le_bytes());
        let shape = vec![state.carried.len()];
        arrays.push(("carried".into(), Dtype::F64, shape, bytes.collect()));
    }
    let broken = |e: &dyn std::fmt::Display| Error::record(path, e);
    let views = arrays
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| broken(&e))?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let header = serde_json::to_string(&header).map_err(|e| broken(&e))?;
    let mut bytes =
        safetensors::serialize(views, Some(HashMap::from([("fgmf".to_owned(), header)])))
            .map_err(|e| broken(&e))?;
    seal(path, &mut bytes)?;
    atomic::write(path, &bytes)
}

/// Reads the state of a run of the same settings on the same data; `None` if there is none. `fresh`
/// is the network as it is built, which gives the graph; `images` is how many there are.
pub(super) fn load(
    path: &Path,
    config: &TrainConfig,
    data_sha256: &str,
    fresh: &Network,
    images: usize,
) -> Result<Option<Checkpoint>> {
    let Some(bytes) = atomic::read_if_there(path)? else {
        return Ok(None);
    };
    let broken = |e: &dyn std::fmt::Display| {
        Error::record(
            path,
            format!(
                "expected the state of a training run, found a file that cannot be used \
                    ({e}); delete it to start over"
            ),
        )
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&e))?;
    let header = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get("fgmf"))
        .ok_or_else(|| broken(&"no header"))?;
    let header: CheckpointHeader = serde_json::from_str(header).map_err(|e| broken(&e))?;
    if !is_whole(&bytes, &header.sha256) {
        return Err(broken(&"its digest is another"));
    }
    let same = [
        (header.data_sha256 == data_sha256, "data"),
        (header.config == *config, "settings"),
        (header.build == build(), "build or instruction set"),
    ];
    if let Some((_, what)) = same.into_iter().find(|(same, _)| !same) {
        return Err(Error::record(
            path,
            format!(
                "expected the state of this run, found one with other {what}; choose \
                    another folder or delete the file"
            ),
        ));
    }
    let arrays = SafeTensors::deserialize(&bytes).map_err(|e| broken(&e))?;
    let floats = |name: &str, like: &Tensor| -> Result<Tensor> {
        let view = arrays.tensor(name).map_err(|e| broken(&e))?;
        if view.dtype() != Dtype::F32 || view.shape() != like.shape() {
            return Err(broken(&format!("`{name}` has another shape")));
        }
        let values = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Ok(Tensor::new::<f32>(like.shape(), values))
    };
    let [c, h, w] = fresh.image_shape();
    let mut state = Checkpoint {
        net: Session::new(fresh.clone()),
        optimiser: OptimiserState::new(fresh),
        salience: None,
        displacements: None,
        carried: Vec::new(),
        log: header.log,
        best: header.kept.map(|kept| BestNetwork {
            net: fresh.clone(),
            kept,
        }),
    };
    state.optimiser.step = header.step;
    for id in parameters(fresh) {
        let Some(like) = fresh.parameter(id) else {
            continue;
        };
        let name = &fresh.value(id).name;
        state
            .net
            .set_parameter(id, floats(&format!("weight/{name}"), like)?)?;
        state
            .optimiser
            .average
            .set_parameter(id, floats(&format!("average/{name}"), like)?)?;
        if let Some(best) = &mut state.best {
            let numbers = floats(&format!("best/{name}"), like)?;
            best.net.set_parameter(id, numbers)?;
        }
    }
    for i in 0..state.optimiser.first.len() {
        state.optimiser.first[i] = floats(&format!("first/{i}"), &state.optimiser.first[i])?;
        state.optimiser.second[i] = floats(&format!("second/{i}"), &state.optimiser.second[i])?;
    }
    if let Ok(mask) = arrays.tensor("salience") {
        let teacher = arrays
            .tensor("teacher")
            .ok()
            .zip(header.teach)
            .map(|(t, weight)| Teacher {
                maps: t.data().to_vec(),
                weight,
            });
        state.salience = Some(Salience {
            pixels: h * w,
            mask: mask.data().to_vec(),
            teacher,
        });
    }
    if let Ok(kept) = arrays.tensor("displacements") {
        let found = Displacements::from_bytes(images, c * h * w, kept.data());
        let found = found.ok_or_else(|| broken(&"`displacements` has another size"))?;
        state.displacements = Some(found);
    }
    if let Ok(carried) = arrays.tensor("carried") {
        let (numbers, rest) = carried.data().as_chunks::<8>();
        if carried.dtype() != Dtype::F64 || !rest.is_empty() {
            return Err(broken(&"`carried` holds no numbers"));
        }
        state.carried = numbers.iter().map(|b| f64::from_le_bytes(*b)).collect();
    }
    if header.epochs_done != state.log.len() || state.log.len() > config.epochs {
        return Err(broken(&"its log and its counters disagree"));
    }
    Ok(Some(state))
}
