//! The instruction sets, and the one in use.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::portable::Portable;
use super::vector::{Kernel, Vector};
use pulp::Arch;
#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;
use std::sync::OnceLock;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// All that this processor has, the best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                all.push(Self::Avx512);
            }
            if avx2 {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Runs a kernel on this instruction set.
    ///
    /// # Safety
    ///
    /// `self` is one of [`Isa::available`], and the kernel's own conditions hold.
    pub(crate) unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // Safety: passed on to the caller.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => Avx512::isolated(kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => Avx2::isolated(kernel),
                Self::Portable => Portable::isolated(kernel),
            }
        }
    }
}

/// The instruction set in use: the best there is, or the one that the environment variable
/// `FGMF_ISA` names (`avx512`, `avx2`, `portable`), if the processor has it.
pub(crate) fn isa() -> Isa {
    #[cfg(test)]
    if let Some(isa) = FORCED.get() {
        return isa;
    }
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let available = Isa::available();
        let asked = std::env::var("FGMF_ISA").ok();
        asked
            .and_then(|name| available.iter().copied().find(|i| i.name() == name))
            .unwrap_or(available[0])
    })
}

/// Name of the instruction set that `f32` kernels run on: `avx512`, `avx2` or `portable`.
#[must_use]
pub fn instruction_set() -> &'static str {
    isa().name()
}

/// What kernels over any float run on: never above the instruction set in use, so that a lower one
/// gives the same bytes on every processor that has it.
pub(crate) fn arch() -> Arch {
    #[cfg(target_arch = "x86_64")]
    match isa() {
        Isa::Avx512 => Arch::new(),
        Isa::Avx2 => V3::try_new().map_or(Arch::Scalar, Arch::V3),
        Isa::Portable => Arch::Scalar,
    }
    #[cfg(not(target_arch = "x86_64"))]
    Arch::new()
}

/// Runs a kernel on the instruction set in use.
///
/// # Safety
///
/// The kernel's own conditions hold.
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // Safety: `isa` returns available sets only.
    unsafe { isa().run(kernel) }
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// Calls `f` once for each instruction set of this processor, from the one in use down (`FGMF_ISA`
/// is an upper bound), with the kernels of this thread on it.
#[cfg(test)]
pub(crate) fn on_each(f: impl Fn(Isa)) {
    FORCED.set(None);
    let best = isa();
    for isa in Isa::available().into_iter().skip_while(|&i| i != best) {
        FORCED.set(Some(isa));
        f(isa);
    }
    FORCED.set(None);
}
