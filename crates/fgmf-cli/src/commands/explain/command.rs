//! `fgmf explain`.

use crate::arguments::{Arguments, Explain};
use crate::commands::attacked::Attacker;
use crate::commands::chosen::{Settings, chosen, metrics};
use crate::commands::class::class_of;
use crate::commands::explain::block::Block;
use crate::commands::explain::written::WrittenFiles;
use crate::commands::images::Images;
use crate::commands::memory::{images_at_once, work_of};
use crate::commands::model::{UserModel, identity};
use crate::commands::shared::{ExplainedModel, data_record, ended_without, percent};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::class_names;
use fgmf::explain::{Context, Explainer, applicable, ids, with_parameters};
use fgmf::model::Oracle;
use fgmf::store::{Folder, Whole, write};
use fgmf_record::{GalleryRecord, ImageRecord, MethodRecord};
use fgmf_report::{gallery_head, gallery_image, gallery_tail, page_png};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

/// Images in memory at a time: as many as `evaluate` judges together.
const BLOCK: usize = 64;

pub(crate) fn run(global: &Arguments, a: &Explain) -> Result<Outcome> {
    let settings = Settings::read(a.settings.as_deref())?;
    let mut user = UserModel::open(&a.model, &a.input)?;
    let mut images = Images::new(&a.inputs, Some(a.limit), user.fit, &user.net)?;
    if let Some(data) = images.data() {
        user.guard(data)?;
    }
    let mut model = ExplainedModel::new(user)?;
    let net = &mut model.net;
    let names = class_names(net);
    let class = a.class.as_deref();
    let class = class.map(|text| class_of(text, names.as_deref(), net.classes()));
    let class = class.transpose()?;
    let wanted = if a.metrics == ["none"] {
        &[][..]
    } else {
        a.metrics.as_slice()
    };
    let metrics = metrics(wanted, &settings)?;
    let [c, h, w] = net.image_shape();
    // A block, attacked, in both precisions, and its maps.
    let held = BLOCK * (8 * c + 8 * a.methods.len()) * h * w;
    let (mib, work) = (a.memory.memory, work_of(&a.methods, &metrics));
    let cap = images_at_once(&mut [&mut *net], mib, a.memory.cap, held, work)?;
    let oracle = Oracle::new(&model.net);
    let explainers = explainers(a, &settings, &oracle, cap)?;
    settings.check(
        &explainers
            .iter()
            .map(|e| e.id())
            .chain(metrics.iter().map(|m| m.info().id))
            .collect::<Vec<_>>(),
    )?;
    let (data, of) = (images.data(), identity(&model.file));
    let attacker = Attacker::new(&a.attacked, "none", [c, h, w], data, &of, a.seed)?;
    images.check(&model.net)?;
    let folders = ["", "maps", "pages"].map(|folder| a.out.join(folder));
    let claimed = folders.iter().map(|folder| Folder::claim(folder));
    let _claims = claimed.collect::<fgmf::Result<Vec<Folder>>>()?;
    let mut written = WrittenFiles::open(&a.out)?;

    let mut about = GalleryRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        model: model.file.clone(),
        data: images.data().map(data_record),
        threat: None,
        seed: a.seed,
        inputs: Vec::new(),
        explainers: explainers
            .iter()
            .map(|e| MethodRecord {
                id: e.id().into(),
                parameters: e.parameters(),
            })
            .collect(),
        metrics: metrics
            .iter()
            .map(|m| MethodRecord {
                id: m.info().id.into(),
                parameters: m.parameters(),
            })
            .collect(),
        rows: Vec::new(),
        images: Vec::new(),
        classes: names.unwrap_or_default(),
        left_out: images.left_out(),
    };
    let stems = images.stems();
    let bar = console::bar(global.quiet, images.len(), "explaining");
    // The images' part of the page, which is put together once the figures above it are known; a
    // file without a name, gone however this ends.
    let mut sections = tempfile::tempfile_in(&a.out).map_err(Error::io(&a.out))?;
    for start in (0..images.len()).step_by(BLOCK) {
        let x = images.batch(&model.net, start, BLOCK.min(images.len() - start))?;
        let inputs = attacker.inputs(&oracle, &x, start, class)?;
        let context = Context {
            seed: a.seed,
            names: None,
            cap,
        };
        let block = Block::new(
            &model,
            &oracle,
            &explainers,
            &metrics,
            &inputs,
            attacker.threat(),
            context,
        )?;
        about.inputs = inputs
            .iter()
            .map(|i| MethodRecord {
                id: i.name.clone(),
                parameters: i.parameters.clone(),
            })
            .collect();
        if start == 0 {
            written.expect(files(&stems, &about))?;
        }
        about.threat = (inputs.len() > 1).then(|| attacker.threat().record());
        block.add_rows(&mut about.rows, start);
        for i in 0..block.len() {
            let at = start + i;
            let (name, stem) = (images.name(at), stems[at].clone());
            let views = block.views(i, &about, at);
            about.images.push(ImageRecord {
                name,
                stem,
                truth: images.truth(at),
                views,
            });
            let pictures = block.pictures(i);
            block.write_maps(i, &about, at, &a.out.join("maps"))?;
            write(
                &a.out.join("pages").join(format!("{}.png", stems[at])),
                &page_png(&about, at, &pictures)?,
            )?;
            sections
                .write_all(gallery_image(&about, at, &pictures).as_bytes())
                .map_err(Error::io(&a.out))?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let page = a.out.join("gallery.html");
    join(
        &page,
        &gallery_head(&about),
        sections,
        &gallery_tail(&about),
    )?;
    let json = serde_json::to_string_pretty(&about)?;
    write(&a.out.join("gallery.json"), json.as_bytes())?;
    written.finish()?;
    console::result(&if global.json {
        json
    } else {
        format!("{}\n{}", table(&about), page.display())
    })?;
    Ok(ended_without(&about.left_out))
}

fn explainers(
    a: &Explain,
    settings: &Settings,
    oracle: &Oracle<'_>,
    cap: usize,
) -> Result<Vec<Box<dyn Explainer>>> {
    let layer = a.layer.as_ref().map(|l| ("layer", "layer", json!(l)));
    let grid = a.grid.map(|g| ("grid", "token_grid", json!(g)));
    let flags: Vec<(&'static str, &'static str, Value)> = layer.into_iter().chain(grid).collect();
    let takes = |id: &str, key: &str, value: &Value| {
        with_parameters(id, json!({ key: value.clone() })).is_ok()
    };
    let make = |id: &str| {
        let mut parameters = settings.of(id);
        for (_, key, value) in &flags {
            if takes(id, key, value)
                && let Some(fields) = parameters.as_object_mut()
            {
                fields.insert((*key).into(), value.clone());
            }
        }
        with_parameters(id, parameters)
    };
    let all = if a.methods == ["all"] {
        applicable(oracle, cap, &make)
    } else {
        Vec::new()
    };
    for (flag, key, value) in &flags {
        let mut used = a
            .methods
            .iter()
            .map(String::as_str)
            .chain(all.iter().copied());
        if !used.any(|id| takes(id, key, value)) {
            let mut able = ids();
            able.retain(|id| takes(id, key, value));
            let expected = format!("a method that looks at a layer: {}", able.join(", "));
            return Err(Error::parameter(flag, expected, a.methods.join(", ")).into());
        }
    }
    chosen(&a.methods, &all, make)
}

/// Every file of a run, in its folder.
fn files(stems: &[String], about: &GalleryRecord) -> Vec<String> {
    let mut files = vec!["gallery.html".to_owned(), "gallery.json".to_owned()];
    for stem in stems {
        files.push(format!("pages/{stem}.png"));
        for (method, input) in about
            .explainers
            .iter()
            .flat_map(|e| about.inputs.iter().map(move |i| (&e.id, &i.id)))
        {
            for kind in ["png", "json"] {
                files.push(format!("maps/{stem}.{method}.{input}.{kind}"));
            }
        }
    }
    files
}

/// A file from its parts.
fn join(page: &Path, head: &str, mut middle: File, tail: &str) -> Result<()> {
    let mut out = Whole::create(page)?;
    let mut put = || -> std::io::Result<()> {
        out.write_all(head.as_bytes())?;
        middle.rewind()?;
        std::io::copy(&mut middle, &mut out)?;
        out.write_all(tail.as_bytes())
    };
    put().map_err(Error::io(page))?;
    Ok(out.finish()?)
}

/// Two lines or more an image: what is answered, and what is to be said of each map.
fn table(about: &GalleryRecord) -> String {
    let mut lines = Vec::new();
    for (at, image) in about.images.iter().enumerate() {
        for (input, view) in about.inputs.iter().zip(&image.views) {
            let (predicted, explained) = (
                one_line(&about.class_name(view.predicted)),
                one_line(&about.class_name(view.explained)),
            );
            lines.push(format!(
                "{}, {}: {predicted} ({}), explained {explained}",
                one_line(&image.name),
                input.id,
                percent(view.probability)
            ));
            for (method, map) in about.explainers.iter().zip(&view.maps) {
                let own =
                    |r: &&fgmf_record::FigureRow| r.explainer == method.id && r.input == input.id;
                let figures = about
                    .rows
                    .iter()
                    .filter(own)
                    .filter_map(|r| Some(format!("{} {:.3}", r.figure, r.values[at]?)));
                let layer = map.layer.iter().map(|l| format!("layer {l}"));
                let all: Vec<String> = layer.chain(figures).chain(map.marks()).collect();
                lines.push(format!("  {}: {}", method.id, all.join(", ")));
            }
        }
    }
    lines.join("\n")
}
