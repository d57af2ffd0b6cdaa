//! Objects of a view: what can be erased from it.

use crate::agent::base::{AgentSpec, PlaneKind};

/// A count on a cell of a plane of entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewObject {
    /// Plane.
    pub plane: usize,
    /// Row and column of the view.
    pub cell: [usize; 2],
}

impl ViewObject {
    /// Position in a view `[c, h, w]`.
    pub fn at(&self, spec: &AgentSpec) -> usize {
        let [_, h, w] = spec.view;
        (self.plane * h + self.cell[0]) * w + self.cell[1]
    }
}

/// The objects of a raw view `[c, h, w]`: entries of planes of entities that are not 0, in the
/// order of the view.
pub fn objects(spec: &AgentSpec, raw: &[u8]) -> Vec<ViewObject> {
    let [_, h, w] = spec.view;
    let entity = |p: usize| spec.planes[p].kind == PlaneKind::Entity;
    let there = raw.iter().enumerate().filter(|(_, v)| **v > 0);
    let object = |(at, _): (usize, &u8)| ViewObject {
        plane: at / (h * w),
        cell: [at / w % h, at % w],
    };
    there.map(object).filter(|o| entity(o.plane)).collect()
}
