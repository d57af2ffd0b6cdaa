//! From which agreement on a map is shown, so that what is shown is seldom bad.
//!
//! Each image of a calibration is explained, and the map judged. It is bad if the metric gives it
//! less than τ. [`learn_then_test`] finds the agreement above which the share of bad maps is at
//! most α with probability 1 − δ. What an explainer withholds by itself is never shown and has no
//! part in this.

use crate::error::{Error, Result};
use crate::explain::base::Attribution;
use crate::measure::learn_then_test::{RiskLevels, learn_then_test};
use crate::record::{CalibrationPair, MapCalibrationRecord, PromiseRecord};
use crate::store::journal::differences;
use crate::study::evaluation::{EvaluationJob, evaluate_maps};
use std::path::Path;

/// Agreement and figure of each image of the job's first input, by its first explainer and its
/// first metric; none where the explainer withholds the map. Cost: that of the explainer and the
/// metric.
///
/// # Errors
/// [`Error::Parameter`] for an explainer that says nothing of an agreement, and what
/// [`evaluate`](crate::study::evaluate) refuses.
pub fn calibration_pairs(
    job: &EvaluationJob<'_>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Option<CalibrationPair>>> {
    let mut agreements: Vec<Option<f64>> = Vec::new();
    let mut silent = None;
    let mut seen = |explainer: usize, input: usize, maps: &[Attribution]| {
        if (explainer, input) != (0, 0) {
            return;
        }
        for map in maps {
            if map.agreement.is_none() {
                silent = Some(map.method);
            }
            agreements.push(map.agreement.filter(|_| map.withheld.is_none()));
        }
    };
    let found = evaluate_maps(job, None, watch, &mut seen)?;
    if let Some(method) = silent {
        let expected = "an explainer that says how well its parts agree, such as pgca";
        return Err(Error::parameter("method", expected, method));
    }
    let figures = found.rows.first().map_or(&[][..], |row| &row.values);
    let pair = |(agreement, figure): (&Option<f64>, &Option<f64>)| {
        Some(CalibrationPair {
            agreement: (*agreement)?,
            figure: (*figure)?,
        })
    };
    Ok(agreements.iter().zip(figures).map(pair).collect())
}

/// The promise that the pairs allow; `None` if nothing can be promised. A map is bad if its figure
/// is below `tau`.
///
/// # Errors
/// Those of [`learn_then_test`], and [`Error::Parameter`] for a `tau` that is not finite.
pub fn promise(
    pairs: &[Option<CalibrationPair>],
    tau: f64,
    levels: &RiskLevels,
) -> Result<Option<PromiseRecord>> {
    if !tau.is_finite() {
        return Err(Error::parameter("tau", "a finite number", tau));
    }
    let known = || pairs.iter().flatten();
    let scores: Vec<f64> = known().map(|p| p.agreement).collect();
    let bad: Vec<bool> = known().map(|p| p.figure < tau).collect();
    let found = learn_then_test(&scores, &bad, levels)?;
    Ok(found.map(|found| PromiseRecord {
        threshold: found.threshold,
        shown: found.shown,
        bad: found.bad,
        p: found.p,
        share: found.share(pairs.len()),
    }))
}

/// What a reader is told of the maps that are shown.
pub fn promise_sentence(calibration: &MapCalibrationRecord) -> String {
    let percent = |share: f64| format!("{}%", (1000.0 * share).round() / 10.0);
    let metric = match calibration.metric.id.as_str() {
        "lerf-minus-morf" => "LeRF minus MoRF",
        other => other,
    };
    match &calibration.promise {
        Some(_) => format!(
            "Of the maps shown, at most {} are bad ({metric} below {}) with probability {}; for \
             images like those of the calibration.",
            percent(calibration.alpha),
            calibration.tau,
            percent(1.0 - calibration.delta)
        ),
        None => format!(
            "Nothing can be promised: no threshold holds bad maps ({metric} below {}) to {} with \
             probability {}.",
            calibration.tau,
            percent(calibration.alpha),
            percent(1.0 - calibration.delta)
        ),
    }
}

/// Refuses a calibration, read from `path`, that is of another model, explainer, setting, seed or
/// version than `own`, whose fields are nested as in the record, and one that promises nothing.
///
/// # Errors
/// [`Error::Record`] that names the fields that differ.
pub fn check_calibration(
    path: &Path,
    calibration: &MapCalibrationRecord,
    own: &serde_json::Value,
) -> Result<()> {
    let wrong = |e: serde_json::Error| Error::record(path, e);
    let found = serde_json::to_value(calibration).map_err(wrong)?;
    // Read as the other was: a number may be read as its neighbour.
    let own = serde_json::from_str(&own.to_string()).map_err(wrong)?;
    let found = serde_json::from_str(&found.to_string()).map_err(wrong)?;
    let others = differences(&own, &found);
    if !others.is_empty() {
        let text = format!(
            "expected a calibration of this model and these settings, found one with another {}",
            others.join(", ")
        );
        return Err(Error::record(path, text));
    }
    if calibration.promise.is_none() {
        let text = "expected a calibration with a threshold, found one that can promise nothing";
        return Err(Error::record(path, text));
    }
    Ok(())
}

/// Withholds the maps whose agreement is not above the threshold. Without a promise all are.
pub fn withhold(calibration: &MapCalibrationRecord, maps: &mut [Attribution]) {
    let least = calibration.promise.as_ref().map(|p| p.threshold);
    for map in maps.iter_mut().filter(|map| map.withheld.is_none()) {
        let above = least.zip(map.agreement).is_some_and(|(t, a)| a > t);
        if above {
            continue;
        }
        let reason = match (map.agreement, least) {
            (Some(a), Some(t)) => {
                format!("agreement {a:.2} is not above {t:.2}, the threshold of the calibration")
            }
            _ => "the calibration promises nothing for such a map".to_owned(),
        };
        map.withheld = Some(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DataRecord, MethodRecord, ModelFile, Split};
    use serde_json::json;

    const LEVELS: RiskLevels = RiskLevels {
        alpha: 0.1,
        delta: 0.05,
        start: 0.2,
    };

    fn record(pairs: Vec<Option<CalibrationPair>>) -> MapCalibrationRecord {
        MapCalibrationRecord {
            version: "1".into(),
            build: crate::store::build::build(),
            model: ModelFile {
                file: "net.onnx".into(),
                sha256: "ab".into(),
                preprocessing: None,
                output: None,
                input_size: None,
            },
            data: DataRecord {
                chosen: None,
                left_out: vec![],
                name: "d".into(),
                split: Split::Test,
                n: pairs.len(),
                sha256: "cd".into(),
                classes: vec![],
            },
            explainer: MethodRecord {
                id: "pgca".into(),
                parameters: json!({ "blur": 4.0 }),
            },
            metric: MethodRecord {
                id: "lerf-minus-morf".into(),
                parameters: json!({}),
            },
            seed: 0,
            alpha: LEVELS.alpha,
            delta: LEVELS.delta,
            tau: 0.0,
            start: LEVELS.start,
            promise: promise(&pairs, 0.0, &LEVELS).unwrap(),
            pairs,
        }
    }

    fn pairs(n: usize, good: usize) -> Vec<Option<CalibrationPair>> {
        let pair = |i: usize| CalibrationPair {
            agreement: 1.0 - i as f64 / n as f64,
            figure: if i < good { 0.3 } else { -0.3 },
        };
        (0..n).map(|i| Some(pair(i))).collect()
    }

    #[test]
    fn good_maps_are_shown_and_what_is_withheld_has_no_part() {
        let mut all = pairs(100, 60);
        let of = |pairs: &[_]| promise(pairs, 0.0, &LEVELS).unwrap().unwrap();
        let found = of(&all);
        assert!(
            found.shown >= 60 && found.bad == found.shown - 60,
            "{found:?}"
        );
        assert!((found.share - found.shown as f64 / 100.0).abs() < 1e-12);
        all.extend([None; 100]);
        let half = of(&all);
        assert_eq!((half.shown, half.bad), (found.shown, found.bad));
        assert!((half.share - found.share / 2.0).abs() < 1e-12);
        assert!(promise(&all, f64::NAN, &LEVELS).is_err());
        assert_eq!(promise(&pairs(100, 0), 0.0, &LEVELS).unwrap(), None);
    }

    #[test]
    fn the_sentence_says_what_is_promised() {
        let kept = promise_sentence(&record(pairs(100, 60)));
        assert_eq!(
            kept,
            "Of the maps shown, at most 10% are bad (LeRF minus MoRF below 0) with probability \
             95%; for images like those of the calibration."
        );
        let none = promise_sentence(&record(pairs(100, 0)));
        assert!(none.starts_with("Nothing can be promised"), "{none}");
    }

    #[test]
    fn a_calibration_of_something_else_is_refused_by_name() {
        let calibration = record(pairs(100, 60));
        let own = |sha256: &str, blur: f64| {
            json!({
                "version": "1",
                "model": { "sha256": sha256, "preprocessing": null },
                "explainer": { "id": "pgca", "parameters": { "blur": blur } },
                "seed": 0,
            })
        };
        let check = |own| check_calibration(Path::new("c.json"), &calibration, &own);
        check(own("ab", 4.0)).unwrap();
        let says = |own, text: &str| {
            let error = check(own).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("c.json"), "{error}");
        };
        says(own("xy", 4.0), "model.sha256");
        says(own("ab", 2.0), "explainer.parameters.blur");
        let empty = record(pairs(100, 0));
        let refused = check_calibration(Path::new("c.json"), &empty, &own("ab", 4.0));
        assert!(refused.unwrap_err().to_string().contains("promise nothing"));
    }

    #[test]
    fn maps_below_the_threshold_are_withheld() {
        let calibration = record(pairs(100, 60));
        let threshold = calibration.promise.as_ref().unwrap().threshold;
        let map = |agreement: Option<f64>, withheld: Option<&str>| Attribution {
            values: crate::record::MapRecord {
                channels: 1,
                height: 1,
                width: 2,
                values: vec![0.0, 1.0],
            },
            target: 0,
            method: "pgca",
            signed: false,
            completeness_gap: None,
            layer: None,
            layer_reason: None,
            agreement,
            disagreement: None,
            note: None,
            withheld: withheld.map(str::to_owned),
        };
        let mut maps = [
            map(Some(threshold + 0.01), None),
            map(Some(threshold), None),
            map(None, None),
            map(Some(1.0), Some("flat")),
        ];
        withhold(&calibration, &mut maps);
        assert_eq!(maps[0].withheld, None);
        assert!(maps[1].withheld.as_ref().unwrap().contains("agreement"));
        assert!(maps[2].withheld.is_some());
        assert_eq!(maps[3].withheld.as_deref(), Some("flat"));
    }
}
