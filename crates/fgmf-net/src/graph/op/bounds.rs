//! What a node may cost, against what it reads and writes: the sizes in a file decide what a kernel
//! copies and how often it loops.

use super::base::MAX_VALUES;
use fgmf_kernels::{Conv2d, Pool2d, conv_copies, conv_phases};

/// Copies, or steps of a loop, for one image and each number that a node reads or writes. Windows
/// of 31 x 31 over a plane take 961, and few networks have larger ones.
const EACH: usize = 1 << 10;
/// What is free however little a node reads and writes: 64 MiB in single precision. Windows that
/// are spaced for large images also run on small ones.
const FREE: usize = 1 << 24;
/// Most cells of a step of a convolution's window. A patch of 256 x 256 pixels has as many.
const LARGEST_STEP: usize = 1 << 16;
/// Longest side of a pooling window that is longer than its input. Sides of images are shorter.
const LONGEST: usize = 1 << 16;

/// An error unless a node may do `what` so often, having so many numbers to read and write; `cap`
/// holds for nodes of any size.
fn within(what: &str, found: usize, numbers: usize, cap: usize) -> Result<(), String> {
    let most = numbers.saturating_mul(EACH).clamp(FREE, cap);
    if found <= most {
        return Ok(());
    }
    Err(format!(
        "expected at most {most} {what} for one image of {numbers} inputs and outputs, \
            found {found}"
    ))
}

/// An error if a convolution copies too much. Its shape passed the check of the kernels.
pub(super) fn convolution(s: &Conv2d) -> Result<(), String> {
    let one = Conv2d { n: 1, ..*s };
    let numbers = one.x_len().saturating_add(one.y_len());
    within("copied numbers", conv_copies(&one), numbers, MAX_VALUES)?;
    let step = conv_phases(&one);
    if step <= LARGEST_STEP {
        return Ok(());
    }
    Err(format!(
        "expected a step of at most {LARGEST_STEP} cells, found {step} in strides {:?}",
        s.stride
    ))
}

/// An error if a pooling window is too long. To be asked before the check of the kernels, which
/// looks at every window.
pub(super) fn pooling_window(s: &Pool2d) -> Result<(), String> {
    let fits = |i: usize| s.kernel[i] <= [s.h, s.w][i].max(LONGEST);
    if fits(0) && fits(1) {
        return Ok(());
    }
    Err(format!(
        "expected a window of at most {LONGEST} cells along a side, or no longer than its input, \
            found {:?}",
        s.kernel
    ))
}

/// An error if pooling takes too many steps. Its shape passed the check of the kernels.
pub(super) fn pooling(s: &Pool2d) -> Result<(), String> {
    let [oh, ow] = s.out_size();
    let taps = |i: usize| s.kernel[i].min([s.h, s.w][i]);
    let steps = [ow, taps(0), taps(1)]
        .iter()
        .fold(oh, |a, &b| a.saturating_mul(b));
    let cells = s.h.saturating_mul(s.w);
    within(
        "steps of a plane's windows",
        steps,
        cells.saturating_add(oh.saturating_mul(ow)),
        usize::MAX,
    )
}
