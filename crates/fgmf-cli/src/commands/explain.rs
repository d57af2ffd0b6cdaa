//! `fgmf explain`.

use super::{create, percent, read_model, write};
use crate::Outcome;
use crate::arguments::{Arguments, Explain};
use crate::console;
use anyhow::Result;
use fgmf::Error;
use fgmf::attack::predictions;
use fgmf::data::read_image;
use fgmf::explain::{Context, Explainer, explain, with_parameters};
use fgmf::oracle::Oracle;
use fgmf::record::MapRecord;
use fgmf::report::overlay_png;
use fgmf_net::{Network, Tensor};
use serde_json::json;
use std::path::{Path, PathBuf};

pub(crate) fn run(global: &Arguments, a: &Explain) -> Result<Outcome> {
    let (net, sha256) = read_model(&a.model)?;
    let method = method(a)?;
    if let Some(c) = a.class.filter(|&c| c >= net.classes()) {
        return Err(Error::parameter("class", format!("below {}", net.classes()), c).into());
    }
    create(&a.out)?;
    let bar = console::bar(global.quiet, a.images.len(), "explaining");
    let mut results = Vec::new();
    let mut lines = Vec::new();
    for (i, path) in a.images.iter().enumerate() {
        let (image, x) = image(&net, path)?;
        let logits = net.logits(&x).map_err(Error::from)?;
        let predicted = predictions(&logits)[0];
        let probability = softmax(&logits.to_f64())[predicted];
        let target = a.class.unwrap_or(predicted);
        let context = Context { seed: a.seed, first_index: i as u64, cap: a.cap };
        let attribution = explain(method.as_ref(), &Oracle::new(&net), &x, &[target], &context)?.swap_remove(0);
        let stem = output_stem(&a.out, path, method.id());
        write(&stem.with_added_extension("png"), &overlay_png(&image, &attribution.values, attribution.signed)?)?;
        let record = json!({
            "model": { "file": a.model, "sha256": sha256 }, "image": path, "predicted": predicted, "probability": probability,
            "method": method.id(), "parameters": method.parameters(), "seed": a.seed, "attribution": attribution,
        });
        write(&stem.with_added_extension("json"), serde_json::to_string_pretty(&record)?.as_bytes())?;
        let figures = [
            attribution.layer.as_ref().map(|l| format!("layer {l}")),
            attribution.agreement.map(|v| format!("agreement {v:.2}")),
            attribution.completeness_gap.map(|v| format!("completeness gap {}", percent(v))),
            attribution.withheld.as_ref().map(|w| format!("not to be shown: {w}")),
        ];
        let figures: Vec<String> = figures.into_iter().flatten().collect();
        lines.push(format!("{}: class {target}, predicted {predicted} ({})  {}", path.display(), percent(probability), figures.join(", ")));
        lines.push(format!("  {}", stem.with_added_extension("png").display()));
        // Maps of all images need memory that grows with their number.
        if global.json {
            results.push(record);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    console::result(&if global.json { serde_json::to_string_pretty(&results)? } else { lines.join("\n") });
    Ok(Outcome::Done)
}

fn method(a: &Explain) -> Result<Box<dyn Explainer>> {
    let refused = |found: &dyn std::fmt::Display| Error::parameter("params", "a JSON object of settings by name", found);
    let given = a.params.as_deref().unwrap_or("{}");
    let mut parameters: serde_json::Value = serde_json::from_str(given).map_err(|e| refused(&e))?;
    let fields = parameters.as_object_mut().ok_or_else(|| refused(&given))?;
    if let Some(layer) = &a.layer {
        if !with_parameters(&a.method, json!({}))?.parameters().as_object().is_some_and(|p| p.contains_key("layer")) {
            let looks = "a method that looks at a layer: pgca, grad-cam, grad-cam-pp, layer-cam, score-cam";
            return Err(Error::parameter("layer", looks, layer).into());
        }
        fields.insert("layer".into(), layer.as_str().into());
    }
    Ok(with_parameters(&a.method, parameters)?)
}

/// An image file as a map for drawing and as a batch of one.
fn image(net: &Network, path: &Path) -> Result<(MapRecord, Tensor)> {
    let (channels, height, width, bytes) = read_image(path)?;
    let [c, h, w] = net.image_shape();
    if [channels, height, width] != [c, h, w] {
        return Err(Error::data(
            path,
            format!("an image of {c}x{h}x{w} (channels, rows, columns)"),
            format!("{channels}x{height}x{width}"),
        )
        .into());
    }
    let values: Vec<f32> = bytes.iter().map(|&b| f32::from(b) / 255.0).collect();
    Ok((MapRecord { channels, height, width, values: values.clone() }, Tensor::new(&[1, c, h, w], values)))
}

pub(super) fn softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = z.iter().map(|v| (v - top).exp()).collect();
    let total: f64 = e.iter().sum();
    e.iter().map(|v| v / total).collect()
}

/// `OUT/<image's folder and name>.<method>`, unique among images of one name in several folders.
fn output_stem(out: &Path, image: &Path, method: &str) -> PathBuf {
    let name = image.file_stem().map_or_else(|| "image".into(), |s| s.to_string_lossy().into_owned());
    let folder = image.parent().and_then(Path::file_name).map(|f| f.to_string_lossy().into_owned());
    out.join(match folder {
        Some(folder) => format!("{folder}-{name}.{method}"),
        None => format!("{name}.{method}"),
    })
}
