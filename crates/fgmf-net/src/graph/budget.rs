//! What a network may hold in all. A file of a few bytes can name sizes that no memory holds.

/// Most nodes. The largest networks that are exported have some ten thousand.
pub(crate) const MOST_NODES: usize = 1 << 16;
/// Most numbers that nodes make of one image, all values together: 4 GiB in single precision. The
/// widest network of the zoo makes ten million.
const MOST_MADE: usize = 1 << 30;
/// Most stored numbers: 8 GiB in single precision, and no file larger than 2 GiB can be written.
const MOST_STORED: usize = 1 << 31;

/// What a network holds so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    nodes: usize,
    made: usize,
    stored: usize,
}

fn add(sum: &mut usize, more: usize, most: usize, what: &str) -> Result<(), String> {
    let found = sum.saturating_add(more);
    if found > most {
        return Err(format!(
            "expected at most {most} {what} in the network, found {found} up to here"
        ));
    }
    *sum = found;
    Ok(())
}

impl Budget {
    /// One more node, which makes so many numbers of one image.
    pub(super) fn node(&mut self, numbers: usize) -> Result<(), String> {
        add(&mut self.nodes, 1, MOST_NODES, "nodes")?;
        let what = "numbers in the values of one image";
        add(&mut self.made, numbers, MOST_MADE, what)
    }

    /// One more stored array.
    pub(super) fn stored(&mut self, numbers: usize) -> Result<(), String> {
        add(&mut self.stored, numbers, MOST_STORED, "stored numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sum_has_an_end() {
        let mut b = Budget::default();
        for _ in 0..MOST_NODES {
            b.node(1).unwrap();
        }
        assert!(b.node(1).unwrap_err().contains("nodes"));
        let mut b = Budget::default();
        b.node(MOST_MADE).unwrap();
        assert!(b.node(1).unwrap_err().contains("one image"));
        assert!(b.node(usize::MAX).is_err());
        b.stored(MOST_STORED).unwrap();
        assert!(b.stored(1).unwrap_err().contains("stored"));
    }
}
