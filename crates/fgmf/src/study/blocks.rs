//! Images in blocks, each a line of a journal.

use crate::error::Result;
use crate::store::journal::Journal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// What was done to the images of a block: a line.
pub(crate) trait BlockLine: Serialize + DeserializeOwned {
    /// Index of its first image, if it has one.
    fn first(&self) -> Option<usize>;
}

/// Runs blocks of `size` of the first `n` images, in their order. `state` names the file that keeps
/// what was done, so that a run that was killed goes on where it was; `header` is what the state
/// belongs to, and `watch` hears of each block.
pub(crate) fn in_blocks<B: BlockLine>(
    [n, size]: [usize; 2],
    state: Option<&Path>,
    header: &impl Serialize,
    mut run: impl FnMut(&[usize]) -> Result<B>,
    mut watch: impl FnMut(&B),
) -> Result<Vec<B>> {
    let mut known: BTreeMap<usize, B> = BTreeMap::new();
    let mut open = |path: &Path| {
        Journal::open(path, header, |block: B| {
            let first = block.first().ok_or_else(|| "no images".to_owned())?;
            known.insert(first, block);
            Ok(true)
        })
    };
    let mut journal = state.map(&mut open).transpose()?;
    let rows: Vec<usize> = (0..n).collect();
    let mut blocks = Vec::new();
    for rows in rows.chunks(size) {
        let block = match known.remove(&rows[0]) {
            Some(block) => block,
            None => {
                let block = run(rows)?;
                if let Some(journal) = &mut journal {
                    journal.append(&block)?;
                }
                block
            }
        };
        watch(&block);
        blocks.push(block);
    }
    Ok(blocks)
}
