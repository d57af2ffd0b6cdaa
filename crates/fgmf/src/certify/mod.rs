//! Proofs: what no patch of a size can do to an answer, wherever it stands, and what no image of a
//! ball can.

pub(crate) mod defence;
pub(crate) mod fill;
pub(crate) mod intervals;
pub(crate) mod mask_set;
pub(crate) mod proof;
pub(crate) mod round;

pub use defence::{DefendedAnswer, defended_answer};
pub use fill::BlindFill;
pub use intervals::{IntervalMargin, Intervals};
pub use mask_set::MaskSet;
pub use proof::{Certificate, certify_image};
pub use round::Masked;
