//! Falls of the logit where a cell is filled, as a map to follow.
//!
//! φ = max(0, f(x) − f(x_c)) at the pixels of cell c, x_c = (1 − M_c) x + M_c B x, M_c the cell, B
//! a blur or 0. Cells are a seventh of each side. ∇R = Σ over cells with a fall of U_c (g(x) − (1 −
//! M_c) g(x_c) − Bᵀ M_c g(x_c)), U_c the sum of u in the cell. First derivatives are all it needs.

use crate::attack::map::share::share;
use crate::error::Result;
use crate::explain::subject::Subject;
use crate::image::blur::Blur;
use crate::model::access::{Gradients, Scores};
use crate::model::oracle::Oracle;
use fgmf_net::Tensor;
use fgmf_net::head::Logit;
use std::ops::Range;

/// Rows and columns of each cell.
fn grid([_, h, w]: [usize; 3]) -> Vec<[Range<usize>; 2]> {
    let along = |side: usize| {
        let n = side.min(7);
        (0..n).map(move |i| i * side / n..(i + 1) * side / n)
    };
    along(h)
        .flat_map(|rows| along(w).map(move |columns| [rows.clone(), columns]))
        .collect()
}

/// ∇R at points; `blur` is the deviation of the fill, black without.
pub(crate) fn cells(
    subject: &Subject<'_>,
    smooth: &Oracle<'_>,
    x: &Tensor,
    top: &[Vec<bool>],
    blur: Option<f64>,
) -> Result<Vec<f64>> {
    let ([_, h, w], area, values, cells) = (
        subject.shape(),
        subject.area(),
        x.to_f64(),
        grid(subject.shape()),
    );
    let (size, each) = (values.len() / top.len(), cells.len() + 1);
    let inside = |cell: usize, pixel: usize| {
        let [rows, columns] = &cells[cell];
        rows.contains(&(pixel / w)) && columns.contains(&(pixel % w))
    };
    let planes = |values: &[f64], change: &dyn Fn(&[f64]) -> Vec<f64>| {
        values
            .chunks_exact(area)
            .flat_map(change)
            .collect::<Vec<f64>>()
    };
    let filled = blur.map_or_else(
        || vec![0.0; values.len()],
        |s| planes(&values, &|plane| Blur::whole([s; 2]).of(plane, [h, w])),
    );
    // Variant 0 of an image is the image itself, variant c + 1 lacks cell c.
    let variant = |item: usize| {
        let (i, cell) = (item / each, (item % each).checked_sub(1));
        let gone = move |j: usize| cell.is_some_and(|c| inside(c, j % area));
        (0..size)
            .map(|j| {
                if gone(j) {
                    filled[i * size + j]
                } else {
                    values[i * size + j]
                }
            })
            .collect::<Vec<f64>>()
    };
    let (mut falls, mut all) = (vec![0.0; top.len() * each], top.len() * each);
    for start in (0..all).step_by(subject.context.cap.max(1)) {
        let part = start..(start + subject.context.cap.max(1)).min(all);
        let classes: Vec<usize> = part
            .clone()
            .map(|item| subject.targets[item / each])
            .collect();
        let logits = smooth
            .logits(&subject.images(part.clone().flat_map(variant).collect()))?
            .to_f64();
        let k = logits.len() / part.len();
        part.zip(logits.chunks_exact(k))
            .zip(classes)
            .for_each(|((item, z), y)| falls[item] = z[y]);
    }
    // Weight of each variant's logit in R: those of cells without a fall are 0, the image's own is
    // minus their sum.
    let mut weights = vec![0.0; all];
    for (i, top) in top.iter().enumerate() {
        let mut map = vec![0.0; area];
        let fall = |c: usize| falls[i * each] - falls[i * each + c + 1];
        let of = |pixel: usize| (0..cells.len()).find(|&c| inside(c, pixel)).unwrap_or(0);
        map.iter_mut()
            .enumerate()
            .for_each(|(at, m)| *m = fall(of(at)).max(0.0));
        for (at, u) in share(&map, top).1.into_iter().enumerate() {
            weights[i * each + of(at) + 1] -= u;
            weights[i * each] += u;
        }
    }
    let used: Vec<usize> = (0..all).filter(|&item| weights[item].abs() > 0.0).collect();
    all = used.len();
    // What reaches the image as it is, and through the fill.
    let (mut out, mut through) = (vec![0.0; values.len()], vec![0.0; values.len()]);
    for start in (0..all).step_by(subject.context.cap.max(1)) {
        let part = &used[start..(start + subject.context.cap.max(1)).min(all)];
        let classes: Vec<usize> = part
            .iter()
            .map(|item| subject.targets[item / each])
            .collect();
        let batch = subject.images(part.iter().flat_map(|&item| variant(item)).collect());
        let g = smooth
            .loss_gradient(&batch, &Logit::new(&classes))?
            .gradient
            .to_f64();
        for (&item, g) in part.iter().zip(g.chunks_exact(size)) {
            let (i, cell) = (item / each, (item % each).checked_sub(1));
            for (j, g) in g.iter().enumerate() {
                let within = cell.is_some_and(|c| inside(c, j % area));
                let to = if within { &mut through } else { &mut out };
                to[i * size + j] += weights[item] * g;
            }
        }
    }
    if let Some(s) = blur {
        out.iter_mut()
            .zip(planes(&through, &|plane| {
                Blur::whole([s; 2]).back(plane, [h, w])
            }))
            .for_each(|(o, t)| *o += t);
    }
    Ok(out)
}
