//! Variants of images that differ from them inside one window of pixels.
//!
//! A feature map of a variant is that of its image outside a region, which grows from layer to
//! layer; steps that know how compute the region alone, from what surrounds it in the image's own
//! map. Where the region is most of the map, and for steps that see all of it, the map is put
//! together.

use super::memory::{Buffer, Slot};
use super::run::Run;
use super::{Home, LANES, Plan, Purpose, lock};
use crate::error::{Error, Result};
use crate::network::{Network, ValueId};
use crate::op::Mode;
use crate::rule::Rules;
use crate::tensor::{Precision, Tensor};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Share of a map from which on all of it is computed.
const MOST: f64 = 0.6;

/// Rows and columns of a map.
pub(super) type Region = [Range<usize>; 2];

/// Images with their feature maps, which variants of them share outside of what a window reaches.
#[derive(Debug)]
pub struct Surroundings {
    plan: Arc<Plan>,
    n: usize,
    values: Vec<Slot>,
}

/// What variants differ from, and where.
pub(super) struct Around<'a> {
    base: &'a Surroundings,
    /// The image that each variant comes from.
    owner: &'a [usize],
    pub(super) patches: Vec<Option<Patch>>,
}

/// A value of all variants inside a region, in the layout of the value.
pub(super) struct Patch {
    region: Region,
    pub(super) values: Buffer,
}

fn area(region: &Region) -> usize {
    region[0].len() * region[1].len()
}

impl Run<'_> {
    /// Where a value differs from that of the images, if it is known there alone.
    pub(super) fn region(&self, id: ValueId) -> Option<Region> {
        let patch = self.around.as_ref()?.patches[id.0].as_ref()?;
        self.values[id.0].is_empty().then(|| patch.region.clone())
    }

    /// The value inside its region.
    pub(super) fn patch(&self, id: ValueId) -> &[f32] {
        let patch = self.around.as_ref().and_then(|a| a.patches[id.0].as_ref());
        &patch
            .unwrap_or_else(|| unreachable!("a value with a region"))
            .values
    }

    pub(super) fn put_patch(&mut self, id: ValueId, region: Region, values: Buffer) {
        if let Some(around) = &mut self.around {
            around.patches[id.0] = Some(Patch { region, values });
        }
    }

    /// Whether a region of a map of that size is small enough to be computed alone.
    pub(super) fn pays(region: &Region, [h, w]: [usize; 2]) -> bool {
        area(region) > 0 && area(region) as f64 <= MOST * (h * w) as f64
    }

    /// Planes of an image's value, numbers of a cell, and rows and columns of a map.
    fn layout(&self, id: ValueId) -> (usize, usize, [usize; 2]) {
        let shape = self.shape(id);
        let size = [shape[2], shape[3]];
        if self.plan.homes[id.0] == Home::Blocked {
            (shape[1].div_ceil(LANES), LANES, size)
        } else {
            (shape[1], 1, size)
        }
    }

    /// Rows and columns `corner + 0..size` of a value that is known in a region, with what
    /// surrounds it; zeros outside of the map. The layout is the value's.
    pub(super) fn crop(&mut self, id: ValueId, corner: [isize; 2], size: [usize; 2]) -> Buffer {
        let (planes, lanes, map) = self.layout(id);
        let len = planes * size[0] * size[1] * lanes;
        let mut out = self.arena.take(self.n * len);
        let Some(around) = &self.around else {
            unreachable!("a value with a region")
        };
        let base = around.base.of(id);
        let Some(Patch { region, values }) = &around.patches[id.0] else {
            unreachable!("a value with a region")
        };
        // What both have of a line: from, to, length.
        let shared = |from: &Range<isize>, to: &Range<isize>| {
            let (first, end) = (from.start.max(to.start), from.end.min(to.end));
            (first < end).then(|| {
                (
                    (first - from.start) as usize,
                    (first - to.start) as usize,
                    (end - first) as usize,
                )
            })
        };
        let [rows, cols] = [0, 1].map(|a| corner[a]..corner[a] + size[a] as isize);
        let signed = |r: &Range<usize>| r.start as isize..r.end as isize;
        let inside = rows.start >= 0
            && cols.start >= 0
            && rows.end <= map[0] as isize
            && cols.end <= map[1] as isize;
        if !inside {
            out.fill(0.0);
        }
        let copy = |from: &[f32], held: [Range<isize>; 2], to: &mut [f32]| {
            let (Some(r), Some(c)) = (shared(&held[0], &rows), shared(&held[1], &cols)) else {
                return;
            };
            let wide = held[1].len();
            for i in 0..r.2 {
                let (from, to) = (
                    &from[((r.0 + i) * wide + c.0) * lanes..],
                    &mut to[((r.1 + i) * size[1] + c.1) * lanes..],
                );
                to[..c.2 * lanes].copy_from_slice(&from[..c.2 * lanes]);
            }
        };
        let (whole, part) = (map[0] * map[1] * lanes, area(region) * lanes);
        for ((image, out), patch) in around
            .owner
            .iter()
            .zip(out.chunks_exact_mut(len))
            .zip(values.chunks_exact(planes * part))
        {
            let base = &base[image * planes * whole..][..planes * whole];
            for (p, out) in out.chunks_exact_mut(size[0] * size[1] * lanes).enumerate() {
                copy(
                    &base[p * whole..][..whole],
                    [0..map[0] as isize, 0..map[1] as isize],
                    out,
                );
                copy(
                    &patch[p * part..][..part],
                    [signed(&region[0]), signed(&region[1])],
                    out,
                );
            }
        }
        out
    }

    /// Puts a value together that is known inside a region alone.
    pub(super) fn complete(&mut self, id: ValueId) {
        if self.region(id).is_none() {
            return;
        }
        let (_, lanes, map) = self.layout(id);
        let whole = self.crop(id, [0, 0], map);
        if lanes == 1 {
            let mut rows = self.arena.take_rows(whole.len());
            rows.copy_from_slice(&whole);
            self.arena.give(whole);
            self.put_rows(id, rows);
        } else {
            self.put_blocked(id, whole);
        }
    }
}

/// Along one side: outputs of a sliding window that see inputs `changed`, of `outputs` in all.
pub(super) fn reached(
    changed: &Range<usize>,
    [kernel, stride, dilation, pad]: [usize; 4],
    outputs: usize,
) -> Range<usize> {
    let first = (changed.start + pad)
        .saturating_sub((kernel - 1) * dilation)
        .div_ceil(stride);
    let end = ((changed.end + pad - 1) / stride + 1).min(outputs);
    first.min(end)..end
}

/// Along one side: first input, and number of inputs, that outputs `seen` of a sliding window see.
pub(super) fn seen_by(
    outputs: &Range<usize>,
    [kernel, stride, dilation, pad]: [usize; 4],
) -> (isize, usize) {
    (
        (outputs.start * stride) as isize - pad as isize,
        (outputs.len() - 1) * stride + (kernel - 1) * dilation + 1,
    )
}

/// The smallest region that holds both.
pub(super) fn hull(a: &Region, b: &Region) -> Region {
    [0, 1].map(|i| a[i].start.min(b[i].start)..a[i].end.max(b[i].end))
}

impl Surroundings {
    /// The numbers of a map, in the layout that a step made it in: some are there in both.
    fn of(&self, id: ValueId) -> Cow<'_, [f32]> {
        let Slot { rows, blocked, .. } = &self.values[id.0];
        match (self.plan.homes[id.0], rows, blocked) {
            (Home::Blocked, _, Some(b)) => Cow::Borrowed(b),
            (Home::Rows, Some(rows), _) => rows.values::<f32>(),
            _ => unreachable!("every map that a step makes is kept"),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }
}

impl Network {
    /// Computes images `[n, c, h, w]` in single precision and keeps what [`Self::window_logits`]
    /// needs of them: every feature map.
    pub fn surroundings(&self, x: &Tensor) -> Result<Surroundings> {
        self.check_images(x)?;
        if x.precision() != Precision::F32 {
            return Err(Error::call("variants of images", "images in F32", "F64"));
        }
        let purpose = Purpose {
            mode: Mode::Evaluate,
            values: vec![self.output()],
            gradients: Vec::new(),
            ruled: Vec::new(),
        };
        let plan = self.plan(&purpose)?;
        let rules = Rules::exact();
        let mut run = Run::new(
            &plan,
            self,
            &rules,
            x,
            lock(&self.cache.arenas).pop().unwrap_or_default(),
        );
        for step in &plan.steps {
            step.forward(&mut run);
        }
        let map = |id: usize| self.values()[id].shape.len() == 4;
        let mut values: Vec<Slot> = (0..self.values().len()).map(|_| Slot::default()).collect();
        for (id, kept) in values.iter_mut().enumerate().filter(|(id, _)| map(*id)) {
            std::mem::swap(kept, &mut run.values[id]);
        }
        let (arena, _) = run.finish();
        lock(&self.cache.arenas).push(arena);
        Ok(Surroundings {
            plan,
            n: x.shape()[0],
            values,
        })
    }

    /// Logits `[n, k]` of variants of images: variant i is image `owner[i]` of `base` with the
    /// pixels of `window` (rows, columns) replaced by `patches[i]`, `[n, c, rows, columns]`. As
    /// from [`Self::logits`] on the whole variants but for rounding.
    ///
    /// An error if the window is empty or not inside the images, or a size does not fit.
    pub fn window_logits(
        &self,
        base: &Surroundings,
        window: &[Range<usize>; 2],
        owner: &[usize],
        patches: &Tensor,
    ) -> Result<Tensor> {
        let [c, h, w] = self.image_shape();
        let shape = [owner.len(), c, window[0].len(), window[1].len()];
        if window[0].is_empty() || window[1].is_empty() || window[0].end > h || window[1].end > w {
            return Err(Error::call(
                "variants of images",
                format!("a window inside {h} rows and {w} columns"),
                format!("{window:?}"),
            ));
        }
        if owner.is_empty() || patches.shape() != shape || patches.precision() != Precision::F32 {
            return Err(Error::call(
                "variants of images",
                format!("patches of shape {shape:?} in F32"),
                format!("{:?}", patches.shape()),
            ));
        }
        if let Some(image) = owner.iter().find(|&&i| i >= base.n) {
            return Err(Error::call(
                "variants of images",
                format!("images below {}", base.n),
                image,
            ));
        }
        let rules = Rules::exact();
        let mut run = Run::new(
            &base.plan,
            self,
            &rules,
            patches,
            lock(&self.cache.arenas).pop().unwrap_or_default(),
        );
        run.values[self.input().0] = Slot::default();
        let mut values = run.arena.take(patches.len());
        values.copy_from_slice(&patches.values::<f32>());
        run.around = Some(Around {
            base,
            owner,
            patches: self.values().iter().map(|_| None).collect(),
        });
        run.put_patch(self.input(), window.clone(), values);
        for (step, dead) in base.plan.steps.iter().zip(&base.plan.dead) {
            if !step.window(&mut run) {
                step.forward(&mut run);
            }
            dead.iter().for_each(|&id| run.release(id));
        }
        let logits = run.tensor(self.output());
        let (arena, _) = run.finish();
        lock(&self.cache.arenas).push(arena);
        Ok(logits)
    }
}
