//! The files of a gallery, block by block.

use crate::arguments::Arguments;
use crate::commands::explain::block::Block;
use crate::commands::explain::written::WrittenFiles;
use crate::commands::images::Images;
use crate::commands::shared::{data_record, ended_without, percent};
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::class_names;
use fgmf::explain::Explainer;
use fgmf::store::{Folder, Whole, write};
use fgmf::study::EvaluationInput;
use fgmf::threat::ThreatModel;
use fgmf_net::{Network, Tensor};
use fgmf_record::{GalleryRecord, ImageRecord, MethodRecord, ModelFile};
use fgmf_report::{gallery_head, gallery_image, gallery_tail, page_png};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

/// Images in memory at a time: as many as `evaluate` judges together.
pub(super) const BLOCK: usize = 64;

/// What a gallery is of.
pub(super) struct GalleryJob<'a> {
    /// Claimed.
    pub(super) out: &'a Path,
    pub(super) images: &'a Images,
    /// With the shape of the images, and the names of the classes.
    pub(super) net: &'a Network,
    pub(super) file: &'a ModelFile,
    pub(super) explainers: &'a [Box<dyn Explainer>],
    pub(super) metrics: Vec<MethodRecord>,
    pub(super) threat: &'a ThreatModel,
    pub(super) seed: u64,
    /// What is promised of the maps that are shown.
    pub(super) promise: Option<String>,
}

/// Makes the folders of a gallery and claims them.
pub(super) fn claimed(out: &Path) -> Result<Vec<Folder>> {
    let folders = ["", "maps", "pages"].map(|folder| out.join(folder));
    let claimed = folders.iter().map(|folder| Folder::claim(folder));
    Ok(claimed.collect::<fgmf::Result<Vec<Folder>>>()?)
}

/// What is known of some images, of which the first is the number given.
type Blocks<'a> = dyn FnMut(&Tensor, usize) -> Result<(Vec<EvaluationInput>, Block)> + 'a;

/// Writes the gallery of all images.
pub(super) fn write_gallery(
    global: &Arguments,
    job: &GalleryJob<'_>,
    blocks: &mut Blocks<'_>,
) -> Result<Outcome> {
    let images = job.images;
    let mut written = WrittenFiles::open(job.out)?;

    let mut about = GalleryRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        model: job.file.clone(),
        data: job.images.data().map(data_record),
        threat: None,
        seed: job.seed,
        inputs: Vec::new(),
        explainers: job
            .explainers
            .iter()
            .map(|e| MethodRecord {
                id: e.id().into(),
                parameters: e.parameters(),
            })
            .collect(),
        metrics: job.metrics.clone(),
        rows: Vec::new(),
        images: Vec::new(),
        classes: class_names(job.net).unwrap_or_default(),
        left_out: job.images.left_out(),
        promise: job.promise.clone(),
    };
    let stems = images.stems();
    let bar = console::bar(global.quiet, images.len(), "explaining");
    // The images' part of the page, which is put together once the figures above it are known; a
    // file without a name, gone however this ends.
    let mut sections = tempfile::tempfile_in(job.out).map_err(Error::io(job.out))?;
    for start in (0..images.len()).step_by(BLOCK) {
        let x = images.batch(job.net, start, BLOCK.min(images.len() - start))?;
        let (inputs, block) = blocks(&x, start)?;
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
        about.threat = (inputs.len() > 1).then(|| job.threat.record());
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
            block.write_maps(i, &about, at, &job.out.join("maps"))?;
            write(
                &job.out.join("pages").join(format!("{}.png", stems[at])),
                &page_png(&about, at, &pictures)?,
            )?;
            sections
                .write_all(gallery_image(&about, at, &pictures).as_bytes())
                .map_err(Error::io(job.out))?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let page = job.out.join("gallery.html");
    join(
        &page,
        &gallery_head(&about),
        sections,
        &gallery_tail(&about),
    )?;
    let json = serde_json::to_string_pretty(&about)?;
    write(&job.out.join("gallery.json"), json.as_bytes())?;
    written.finish()?;
    console::result(&if global.json {
        json
    } else {
        format!("{}\n{}", table(&about), page.display())
    })?;
    Ok(ended_without(&about.left_out))
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
    lines.extend(about.promise.clone());
    lines.join("\n")
}
