//! A blocked operand as kernels read it.

use crate::simd::{LANES, Vector};

/// A blocked operand, read behind a gate: numbers count where the gate is greater than 0, or
/// everywhere without one. The gate is the output of a rectifier whose gradient the operand is.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub(super) values: &'a [f32],
    pub(super) gate: Option<&'a [f32]>,
}

impl<'a> Pass<'a> {
    /// The values as they are.
    #[must_use]
    pub fn new(values: &'a [f32]) -> Self {
        Self { values, gate: None }
    }

    /// The values where `gate` is positive.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[must_use]
    pub fn gated(values: &'a [f32], gate: &'a [f32]) -> Self {
        assert_eq!(values.len(), gate.len(), "a gate for each value");
        Self {
            values,
            gate: Some(gate),
        }
    }

    /// `len` values from `from` on, behind their gates.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use]
    pub fn slice(&self, from: usize, len: usize) -> Self {
        Self {
            values: &self.values[from..from + len],
            gate: self.gate.map(|g| &g[from..from + len]),
        }
    }

    /// Whether some values may not count.
    pub(super) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// Sixteen numbers from `at` on.
    ///
    /// # Safety
    ///
    /// They are inside the values.
    #[inline(always)]
    pub(super) unsafe fn read<V: Vector>(&self, at: usize) -> V {
        debug_assert!(at + LANES <= self.values.len());
        // Safety: stated above; a gate is as long as the values.
        unsafe {
            let v = V::load(self.values.as_ptr().add(at));
            match self.gate {
                Some(gate) => v.where_positive(V::load(gate.as_ptr().add(at))),
                None => v,
            }
        }
    }

    /// `len` numbers from `at` on behind the gate: where they are, or copied to `buffer`.
    ///
    /// # Safety
    ///
    /// They are inside the values, and `buffer` holds as many.
    #[inline(always)]
    pub(super) unsafe fn plain<V: Vector>(
        &self,
        at: usize,
        len: usize,
        buffer: *mut f32,
    ) -> *const f32 {
        debug_assert!(at + len <= self.values.len());
        // Safety: stated above.
        unsafe {
            if self.gate.is_none() {
                return self.values.as_ptr().add(at);
            }
            for i in (0..len).step_by(LANES) {
                self.read::<V>(at + i).store(buffer.add(i));
            }
        }
        buffer
    }
}
