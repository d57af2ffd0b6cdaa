//! Some images, explained and judged together.

use crate::commands::address::ModelAtAddress;
use crate::commands::shared::ExplainedModel;
use anyhow::Result;
use fgmf::explain::{Attribution, Context, Explainer, explain};
use fgmf::metric::Metric;
use fgmf::model::{Oracle, Scores};
use fgmf::store::write;
use fgmf::study::{EvaluationInput, EvaluationJob, evaluate_maps, map_facts, withhold};
use fgmf::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_record::{
    Direction, FigureRow, GalleryRecord, MapCalibrationRecord, MapFacts, MapPicture, MapRecord,
    MethodRecord, ViewPictures, ViewRecord,
};
use fgmf_report::overlay_png;
use serde_json::json;
use std::path::Path;

/// What is known of an input of the block.
struct Seen {
    name: String,
    x: Tensor,
    explained: Vec<usize>,
    /// Probabilities of all classes, one row an image.
    probabilities: Vec<Vec<f64>>,
    /// One entry an explainer, in it one an image.
    maps: Vec<Vec<Attribution>>,
}

pub(super) struct Block {
    seen: Vec<Seen>,
    rows: Vec<FigureRow>,
    /// What is said of every map of this model.
    note: Option<String>,
}

impl Block {
    pub(super) fn new(
        model: &ExplainedModel,
        oracle: &Oracle<'_>,
        explainers: &[Box<dyn Explainer>],
        metrics: &[Box<dyn Metric>],
        inputs: &[EvaluationInput],
        threat: &ThreatModel,
        context: Context<'_>,
    ) -> Result<Self> {
        let mut seen = inputs
            .iter()
            .map(|i| {
                let logits = oracle.logits(&i.x)?;
                Ok(Seen::new(i, &logits, &|z| model.probabilities(z)))
            })
            .collect::<Result<Vec<_>>>()?;
        let job = EvaluationJob {
            oracle,
            explainers,
            metrics,
            inputs,
            threat,
            context,
        };
        let mut rows = evaluate_maps(&job, None, &mut |_, _| (), &mut |_, input, maps| {
            seen[input].maps.push(maps.to_vec())
        })?
        .rows;
        rows.extend(own_figures(&seen, explainers));
        let note = |ends: &String| format!("explained is the value before {ends}");
        Ok(Self {
            seen,
            rows,
            note: model.before.as_ref().map(note),
        })
    }

    /// Images explained by a model that gives scores alone.
    pub(super) fn by_scores(
        at: &ModelAtAddress,
        logits: &Tensor,
        explainers: &[Box<dyn Explainer>],
        input: &EvaluationInput,
        context: Context<'_>,
    ) -> Result<Self> {
        let mut seen = Seen::new(input, logits, &|z| at.probabilities(z));
        for explainer in explainers {
            let (x, targets) = (&input.x, &input.targets);
            let maps = explain(explainer.as_ref(), &at.model, x, targets, &context)?;
            seen.maps.push(maps);
        }
        let seen = vec![seen];
        Ok(Self {
            rows: own_figures(&seen, explainers),
            seen,
            note: None,
        })
    }

    /// Withholds what a calibration does not let through.
    pub(super) fn withhold(&mut self, calibration: &MapCalibrationRecord) {
        let all = self.seen.iter_mut().flat_map(|seen| &mut seen.maps);
        all.for_each(|maps| withhold(calibration, maps));
    }

    pub(super) fn len(&self) -> usize {
        self.seen.first().map_or(0, |s| s.explained.len())
    }

    /// Puts the figures behind those of the `before` images of earlier blocks; figures that no
    /// image has are left out.
    pub(super) fn add_rows(&self, all: &mut Vec<FigureRow>, before: usize) {
        let same = |a: &FigureRow, b: &FigureRow| {
            a.explainer == b.explainer && a.figure == b.figure && a.input == b.input
        };
        for row in all.iter_mut() {
            let more = self
                .rows
                .iter()
                .find(|r| same(r, row))
                .map_or_else(|| vec![None; self.len()], |r| r.values.clone());
            *row = row.with_more(&more);
        }
        for row in self.rows.iter().filter(|r| r.n > 0) {
            if !all.iter().any(|r| same(r, row)) {
                let names =
                    [&row.explainer, &row.metric, &row.figure, &row.input].map(String::as_str);
                all.push(
                    FigureRow::new(names, row.better, vec![None; before]).with_more(&row.values),
                );
            }
        }
    }

    /// What is written of image `i`, number `at` of the rows.
    pub(super) fn views(&self, i: usize, about: &GalleryRecord, at: usize) -> Vec<ViewRecord> {
        let view = |seen: &Seen| {
            let (predicted, probability) = seen.answer(i);
            let facts = |(maps, method): (&Vec<Attribution>, &MethodRecord)| {
                let map = &maps[i];
                let own = |r: &&FigureRow, figure: &str| {
                    r.explainer == method.id && r.input == seen.name && r.figure == figure
                };
                let figure = |name: &str| {
                    about
                        .rows
                        .iter()
                        .find(|r| own(r, name))
                        .and_then(|r| r.values[at])
                };
                MapFacts {
                    note: both(map.note.as_deref(), self.note.as_deref()),
                    ..map_facts(map, figure)
                }
            };
            let maps = seen.maps.iter().zip(&about.explainers).map(facts).collect();
            ViewRecord {
                predicted,
                probability,
                explained: seen.explained[i],
                maps,
            }
        };
        self.seen.iter().map(view).collect()
    }

    pub(super) fn pictures(&self, i: usize) -> Vec<ViewPictures> {
        let one = |seen: &Seen| {
            let maps = seen.maps.iter().map(|maps| MapPicture {
                values: maps[i].values.clone(),
                signed: maps[i].signed,
                disagreement: maps[i].disagreement.clone(),
            });
            ViewPictures {
                image: seen.image(i),
                maps: maps.collect(),
            }
        };
        self.seen.iter().map(one).collect()
    }

    /// `<image>.<method>.<input>`: the raw map as JSON, and the overlay as PNG, stamped where the
    /// map is withheld.
    pub(super) fn write_maps(
        &self,
        i: usize,
        about: &GalleryRecord,
        at: usize,
        folder: &Path,
    ) -> Result<()> {
        let image = &about.images[at];
        for (seen, view) in self.seen.iter().zip(&image.views) {
            let methods = about.explainers.iter().zip(&view.maps);
            for (maps, (method, facts)) in seen.maps.iter().zip(methods) {
                let (map, stem) = (
                    &maps[i],
                    format!("{}.{}.{}", image.stem, method.id, seen.name),
                );
                write(
                    &folder.join(format!("{stem}.png")),
                    &overlay_png(
                        &seen.image(i),
                        &map.values,
                        map.signed,
                        facts.withheld.is_some(),
                    )?,
                )?;
                let mut map = map.clone();
                map.note = both(map.note.as_deref(), self.note.as_deref());
                let record = json!({
                    "model": about.model, "image": image.name, "input": seen.name,
                    "predicted": view.predicted, "probability": view.probability,
                    "method": method.id, "parameters": method.parameters, "seed": about.seed,
                    "doubts": facts.doubts, "attribution": map,
                });
                write(
                    &folder.join(format!("{stem}.json")),
                    record.to_string().as_bytes(),
                )?;
            }
        }
        Ok(())
    }
}

/// What methods say of their own maps.
fn own_figures(seen: &[Seen], explainers: &[Box<dyn Explainer>]) -> Vec<FigureRow> {
    let mut rows = Vec::new();
    for seen in seen {
        for (explainer, maps) in explainers.iter().zip(&seen.maps) {
            let id = explainer.id();
            let row = |figure, better, values| {
                FigureRow::new([id, id, figure, &seen.name], better, values)
            };
            let agreement = figures(maps, |m| m.agreement);
            rows.push(row("agreement", Direction::Higher, agreement));
            let gap = figures(maps, |m| m.completeness_gap);
            rows.push(row("completeness-gap", Direction::Lower, gap));
        }
    }
    rows
}

/// A figure of each map that is not the same everywhere.
fn figures(maps: &[Attribution], figure: impl Fn(&Attribution) -> Option<f64>) -> Vec<Option<f64>> {
    maps.iter()
        .map(|m| figure(m).filter(|_| !m.is_empty()))
        .collect()
}

/// Two notes as one.
fn both(first: Option<&str>, second: Option<&str>) -> Option<String> {
    let notes: Vec<&str> = first.into_iter().chain(second).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

impl Seen {
    fn new(
        input: &EvaluationInput,
        logits: &Tensor,
        probabilities: &dyn Fn(&[f64]) -> Vec<f64>,
    ) -> Self {
        let classes = logits.shape()[1];
        let rows = logits.to_f64();
        Self {
            name: input.name.clone(),
            x: input.x.clone(),
            explained: input.targets.clone(),
            probabilities: rows.chunks_exact(classes).map(probabilities).collect(),
            maps: Vec::new(),
        }
    }

    /// The class of the largest probability, the first of equals.
    fn answer(&self, i: usize) -> (usize, f64) {
        let p = &self.probabilities[i];
        let best = (1..p.len()).fold(0, |best, c| if p[c] > p[best] { c } else { best });
        (best, p[best])
    }

    fn image(&self, i: usize) -> MapRecord {
        let shape = self.x.shape();
        MapRecord {
            channels: shape[1],
            height: shape[2],
            width: shape[3],
            values: self.x.rows(i, 1).to_f32(),
        }
    }
}
