//! `fgmf info`.

use crate::arguments::{Arguments, Info};
use crate::commands::model::UserModel;
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::data::class_names;
use fgmf::explain::choose_layer;
use fgmf_net::{Network, Source};
use serde_json::json;
use std::collections::BTreeMap;

pub(crate) fn run(global: &Arguments, a: &Info) -> Result<Outcome> {
    let model = UserModel::read(&a.model, &a.input)?;
    console::result(&if global.json {
        serde_json::to_string_pretty(&facts(&model))?
    } else {
        text(&model)
    })?;
    Ok(Outcome::Done)
}

fn operators(net: &Network) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    net.nodes()
        .iter()
        .for_each(|n| *counts.entry(n.op.name()).or_default() += 1);
    counts
}

fn shape(net: &Network, id: fgmf_net::ValueId) -> String {
    net.value(id)
        .shape
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("x")
}

/// Numbers stored in a node's parameters.
fn weights(net: &Network, node: &fgmf_net::Node) -> usize {
    node.inputs
        .iter()
        .filter(|id| matches!(net.value(**id).source, Source::Parameter { .. }))
        .filter_map(|id| net.parameter(*id))
        .map(|t| t.len())
        .sum()
}

fn facts(model: &UserModel) -> serde_json::Value {
    let (net, sha256) = (&model.net, &model.file.sha256);
    let layer = choose_layer(net).ok();
    let reason = layer.as_ref().map(|l| l.reason);
    let layer = layer.map(|l| l.name);
    let nodes: Vec<_> = net
        .nodes()
        .iter()
        .map(|n| {
            let output = |id| json!({ "name": net.value(id).name, "shape": shape(net, id) });
            let outputs: Vec<serde_json::Value> = n.outputs.iter().copied().map(output).collect();
            json!({
                "name": n.name, "operator": n.op.name(), "outputs": outputs,
                "parameters": weights(net, n),
            })
        })
        .collect();
    json!({
        "name": net.name, "sha256": sha256, "image": net.image_shape(), "classes": net.classes(),
        "parameters": net.parameter_count(),
        "flops_per_image": net.flops(), "explained_layer": layer,
        "explained_layer_reason": reason, "operators": operators(net),
        "metadata": net.metadata, "nodes": nodes,
        "preprocessing": model.file.preprocessing, "notes": model.notes,
    })
}

/// The number of classes, and their names where the model carries them.
fn classes(net: &Network) -> String {
    let names = class_names(net).map(|names| format!(": {}", one_line(&names.join(", "))));
    format!("{}{}", net.classes(), names.unwrap_or_default())
}

fn text(model: &UserModel) -> String {
    let (net, sha256) = (&model.net, &model.file.sha256);
    let prepared = model.file.preprocessing.as_ref();
    let prepared = prepared.map_or("as they are".to_owned(), |p| p.flags());
    let [c, h, w] = net.image_shape();
    let mut lines = vec![
        format!("{}  (sha256 {sha256})", one_line(&net.name)),
        format!("images      {c}x{h}x{w} in [0, 1]"),
        format!("prepared    {prepared}"),
        format!("classes     {}", classes(net)),
        format!("parameters  {} trainable", net.parameter_count()),
        format!(
            "cost        {:.2} MFLOP an image, forward (convolutions and products)",
            net.flops() as f64 / 1e6
        ),
        format!(
            "explained   {}",
            one_line(&choose_layer(net).map_or_else(
                |e| e.to_string(),
                |l| format!("{}, {}: {}", l.name, l.kind, l.reason)
            ))
        ),
        format!(
            "operators   {}",
            operators(net)
                .iter()
                .map(|(n, k)| format!("{n} {k}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        String::new(),
        format!(
            "{:<28}{:<20}{:<20}{:>12}",
            "node", "operator", "output", "parameters"
        ),
    ];
    for node in net.nodes() {
        let output = node
            .outputs
            .first()
            .map(|id| shape(net, *id))
            .unwrap_or_default();
        lines.push(format!(
            "{:<28}{:<20}{output:<20}{:>12}",
            one_line(&node.name),
            node.op.name(),
            weights(net, node)
        ));
    }
    lines.join("\n")
}
