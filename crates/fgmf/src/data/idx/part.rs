//! The two files of a split: images and labels.

use crate::record::Split;

/// One of the two files of a split.
pub(crate) struct IdxPart {
    pub(crate) word: &'static str,
    pub(crate) magic: u32,
    pub(crate) dims: usize,
}

pub(crate) const IMAGES: IdxPart = IdxPart {
    word: "images",
    magic: 2051,
    dims: 3,
};
pub(crate) const LABELS: IdxPart = IdxPart {
    word: "labels",
    magic: 2049,
    dims: 1,
};

impl IdxPart {
    /// Whether `stem` (a file name without `.gz`) is an official or usual name of this part of
    /// `split`.
    pub(crate) fn is_named(&self, stem: &str, split: Split) -> bool {
        let prefixes: &[&str] = match split {
            Split::Train => &["train-"],
            Split::Test => &["t10k-", "test-"],
        };
        let rest = prefixes.iter().find_map(|prefix| stem.strip_prefix(prefix));
        rest.and_then(|rest| rest.strip_prefix(self.word))
            .is_some_and(|rest| {
                rest == ".idx"
                    || [
                        format!("-idx{}-ubyte", self.dims),
                        format!(".idx{}-ubyte", self.dims),
                    ]
                    .contains(&rest.to_owned())
            })
    }
}
