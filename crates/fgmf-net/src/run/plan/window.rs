//! Variants of images that differ from them inside one window of pixels.
//!
//! Outside a region, a feature map of a variant is that of its image. Each layer enlarges the
//! region a little. Steps that know how compute the region alone, from what surrounds it in the
//! image's own map. Where the region is most of the map, the map is put together. So it is for
//! steps that see all of it.

use super::memory::{Buffer, Slot};
use super::places::{Home, LANES, Patch, Region, area};
use super::run::Run;
use crate::graph::ValueId;
use std::borrow::Cow;
use std::ops::Range;

/// Share of a map from which on all of it is computed.
const MOST: f64 = 0.6;

/// The numbers of a map, in the layout that a step made it in: some are there in both.
fn numbers(map: &Slot, home: Home) -> Cow<'_, [f32]> {
    match (home, &map.rows, &map.blocked) {
        (Home::Blocked, _, Some(b)) => Cow::Borrowed(b),
        (Home::Rows, Some(rows), _) => rows.values::<f32>(),
        _ => unreachable!("every map that a step makes is kept"),
    }
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
        if self.places.homes[id.0] == Home::Blocked {
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
        let base = numbers(&around.base[id.0], self.places.homes[id.0]);
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
