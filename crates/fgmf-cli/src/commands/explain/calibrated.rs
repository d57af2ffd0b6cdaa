//! `--calibration`: which maps are shown, and what is promised of them.

use crate::arguments::Explain;
use crate::commands::model::identity_fields;
use anyhow::Result;
use fgmf::Error;
use fgmf::explain::Explainer;
use fgmf::store::read_if_there;
use fgmf::study::check_calibration;
use fgmf_record::{MapCalibrationRecord, ModelFile};
use serde_json::json;

/// The calibration that was named, if one was. Refused are one of another model or other settings,
/// and whatever its promise does not hold for.
pub(super) fn calibrated(
    a: &Explain,
    file: &ModelFile,
    explainers: &[Box<dyn Explainer>],
) -> Result<Option<MapCalibrationRecord>> {
    let Some(path) = &a.calibration else {
        return Ok(None);
    };
    let [explainer] = explainers else {
        let expected = "with --calibration the one method that was calibrated";
        return Err(Error::parameter("methods", expected, a.methods.join(", ")).into());
    };
    if let Some(class) = &a.class {
        let expected = "nothing with --calibration, which explains the model's own answers";
        return Err(Error::parameter("class", expected, class).into());
    }
    let attack = a.attacked.attack.as_deref().filter(|id| *id != "none");
    if let Some(attack) = attack {
        let expected = "none with --calibration, whose promise is for clean images";
        return Err(Error::parameter("attack", expected, attack).into());
    }
    if let Some(kept) = &a.attacked.adversarial {
        let expected = "nothing with --calibration, whose promise is for clean images";
        return Err(Error::parameter("adversarial", expected, kept.display()).into());
    }
    let bytes = read_if_there(path)?.ok_or_else(|| {
        Error::record(
            path,
            "expected the file that `fgmf calibrate` wrote, found none",
        )
    })?;
    let calibration: MapCalibrationRecord = serde_json::from_slice(&bytes).map_err(|e| {
        let text = format!("expected the file that `fgmf calibrate` wrote, found {e}");
        Error::record(path, text)
    })?;
    let own = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": identity_fields(file),
        "explainer": { "id": explainer.id(), "parameters": explainer.parameters() },
        "seed": a.seed,
    });
    check_calibration(path, &calibration, &own)?;
    Ok(Some(calibration))
}
