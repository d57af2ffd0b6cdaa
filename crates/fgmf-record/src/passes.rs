//! What a run asked of a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Passes through a model, in examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passes {
    /// Forward passes.
    pub forward: u64,
    /// Backward passes.
    pub backward: u64,
    /// Hessian-vector products (two forward and two backward passes each, not counted above).
    pub hessian: u64,
}

impl Passes {
    /// The passes made since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            forward: self.forward - earlier.forward,
            backward: self.backward - earlier.backward,
            hessian: self.hessian - earlier.hessian,
        }
    }
}

impl std::ops::AddAssign for Passes {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.hessian += other.hessian;
    }
}
