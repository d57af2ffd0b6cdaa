//! Proofs against patches: what no patch of a size can do to an answer, wherever it stands.

pub(crate) mod defence;
pub(crate) mod fill;
pub(crate) mod mask_set;
pub(crate) mod proof;
pub(crate) mod round;

pub use defence::{DefendedAnswer, defended_answer};
pub use fill::BlindFill;
pub use mask_set::MaskSet;
pub use proof::{Certificate, certify_image};
pub use round::Masked;
