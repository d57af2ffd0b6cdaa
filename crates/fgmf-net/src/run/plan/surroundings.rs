//! Images whose feature maps are kept, so that variants of them cost what they change.

use super::compiled::Plan;
use super::memory::Slot;
use super::outcome::Purpose;
use super::places::Around;
use super::run::Run;
use crate::error::{Error, Result};
use crate::graph::Network;
use crate::graph::op::Mode;
use crate::rule::Rules;
use crate::tensor::{Precision, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// Images with their feature maps, which variants of them share outside of what a window reaches.
#[derive(Debug)]
pub struct Surroundings {
    plan: Arc<Plan>,
    n: usize,
    values: Vec<Slot>,
}

impl Surroundings {
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
        let plan = self.cache.plan(self, &purpose)?;
        let rules = Rules::exact();
        let mut run = Run::new(&plan.places, self, &rules, x, self.cache.arenas.take());
        for step in &plan.steps {
            step.forward(&mut run);
        }
        let map = |id: usize| self.values()[id].shape.len() == 4;
        let mut values: Vec<Slot> = (0..self.values().len()).map(|_| Slot::default()).collect();
        for (id, kept) in values.iter_mut().enumerate().filter(|(id, _)| map(*id)) {
            std::mem::swap(kept, &mut run.values[id]);
        }
        let (arena, _) = run.finish();
        self.cache.arenas.give(arena);
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
            &base.plan.places,
            self,
            &rules,
            patches,
            self.cache.arenas.take(),
        );
        run.values[self.input().0] = Slot::default();
        let mut values = run.arena.take(patches.len());
        values.copy_from_slice(&patches.values::<f32>());
        run.around = Some(Around {
            base: &base.values,
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
        self.cache.arenas.give(arena);
        Ok(logits)
    }
}
