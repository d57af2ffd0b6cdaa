//! Images whose feature maps are kept, so that variants of them cost what they change.

use super::cache::Cache;
use super::compiled::Plan;
use super::memory::{Arenas, Slot};
use super::places::{Around, Region};
use super::run::Run;
use crate::error::Result;
use crate::graph::Network;
use crate::rule::Rules;
use crate::run::engine::Purpose;
use crate::tensor::{Precision, Tensor};
use std::sync::Arc;

/// Images with their feature maps, of a plan that computes the logits.
#[derive(Debug)]
pub(crate) struct Kept {
    plan: Arc<Plan>,
    images: usize,
    values: Vec<Slot>,
}

impl Kept {
    /// Computes images `[n, c, h, w]` in single precision and keeps every feature map.
    pub(crate) fn new(net: &Network, cache: &Cache, x: &Tensor) -> Result<Self> {
        let purpose = Purpose::values(vec![net.output()], Precision::F32);
        let plan = cache.plan(net, &purpose)?;
        let rules = Rules::exact();
        let mut run = Run::new(&plan.places, net, &rules, x, cache.arenas.take());
        for step in &plan.steps {
            step.forward(&mut run);
        }
        let map = |id: usize| net.values()[id].shape.len() == 4;
        let mut values: Vec<Slot> = net.values().iter().map(|_| Slot::default()).collect();
        for (id, kept) in values.iter_mut().enumerate().filter(|(id, _)| map(*id)) {
            std::mem::swap(kept, &mut run.values[id]);
        }
        let (arena, _) = run.finish();
        cache.arenas.give(arena);
        Ok(Self {
            plan,
            images: x.shape()[0],
            values,
        })
    }

    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// Logits of variants: variant i is image `owner[i]` with the pixels of `window` replaced by
    /// `patches[i]`. The network, with its weights, is that of [`Self::new`]; sizes fit.
    pub(crate) fn logits(
        &self,
        net: &Network,
        arenas: &Arenas,
        window: &Region,
        owner: &[usize],
        patches: &Tensor,
    ) -> Tensor {
        let rules = Rules::exact();
        let mut run = Run::new(&self.plan.places, net, &rules, patches, arenas.take());
        run.values[net.input().0] = Slot::default();
        let mut values = run.arena.take(patches.len());
        values.copy_from_slice(&patches.values::<f32>());
        run.around = Some(Around {
            base: &self.values,
            owner,
            patches: net.values().iter().map(|_| None).collect(),
        });
        run.put_patch(net.input(), window.clone(), values);
        for (step, dead) in self.plan.steps.iter().zip(&self.plan.dead) {
            if !step.window(&mut run) {
                step.forward(&mut run);
            }
            dead.iter().for_each(|&id| run.release(id));
        }
        let logits = run.tensor(net.output());
        let (arena, _) = run.finish();
        arenas.give(arena);
        logits
    }
}
