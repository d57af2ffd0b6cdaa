//! The answers of a model that were paid for.
//!
//! A journal has a line before each request, with the number of its images, and a line behind it,
//! with its answers. A run that was killed takes the answers from there, and so comes to the same
//! end. What was asked and never answered is known, too, so that a budget holds over kills.
//!
//! An answer is found by the SHA-256 of its image's little-endian `f32` bytes. The model is taken
//! to answer the same image alike.

use crate::error::Result;
use crate::store::journal::Journal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// So many images are about to be asked.
    Ask(u64),
    /// Hashes of images, each with the bits of its logits.
    Answers(Vec<(String, Vec<u32>)>),
}

/// Logits of images, by the hash of the image.
#[derive(Default)]
pub(crate) struct KeptAnswers {
    journal: Option<Journal>,
    known: HashMap<String, Vec<f32>>,
    asked: u64,
}

impl KeptAnswers {
    /// Those of the journal at `path`, which is started if it is not there.
    ///
    /// # Errors
    /// [`Error::Record`](crate::Error::Record) when it belongs to another run than `header` names,
    /// or is damaged.
    pub(crate) fn open(path: &Path, header: &impl Serialize) -> Result<Self> {
        let mut out = Self::default();
        let journal = Journal::open(path, header, |line: Line| {
            match line {
                Line::Ask(n) => out.asked += n,
                Line::Answers(all) => out.take(all),
            }
            Ok(true)
        })?;
        out.journal = Some(journal);
        Ok(out)
    }

    fn take(&mut self, all: Vec<(String, Vec<u32>)>) {
        let numbers = |bits: Vec<u32>| bits.into_iter().map(f32::from_bits).collect();
        let all = all.into_iter().map(|(hash, bits)| (hash, numbers(bits)));
        self.known.extend(all);
    }

    /// Images asked so far, each time that one was.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    /// Images that were asked and not answered: a request failed, or the run was killed.
    pub(crate) fn unanswered(&self) -> u64 {
        self.asked.saturating_sub(self.known.len() as u64)
    }

    pub(crate) fn get(&self, hash: &str) -> Option<&[f32]> {
        self.known.get(hash).map(Vec::as_slice)
    }

    /// Counts images that are about to be asked. It is on the disk when this returns.
    pub(crate) fn ask(&mut self, n: usize) -> Result<()> {
        let line = Line::Ask(n as u64);
        if let Some(journal) = &mut self.journal {
            journal.append(&line)?;
        }
        self.asked += n as u64;
        Ok(())
    }

    /// Keeps answers, one a hash. They are on the disk when this returns.
    pub(crate) fn put(&mut self, hashes: Vec<String>, logits: &[f32]) -> Result<()> {
        let rows = logits.chunks_exact((logits.len() / hashes.len().max(1)).max(1));
        let bits = rows.map(|row| row.iter().map(|v| v.to_bits()).collect());
        let all: Vec<(String, Vec<u32>)> = hashes.into_iter().zip(bits).collect();
        let line = Line::Answers(all);
        if let Some(journal) = &mut self.journal {
            journal.append(&line)?;
        }
        if let Line::Answers(all) = line {
            self.take(all);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_and_what_was_asked_outlive_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let open = |seed: u64| KeptAnswers::open(&path, &json!({ "seed": seed }));
        let mut first = open(1).unwrap();
        first.ask(2).unwrap();
        // A number that decimal digits would have to be careful with, and a zero with a sign.
        let logits = [0.1f32 + f32::EPSILON, -0.0, f32::MIN_POSITIVE / 2.0, 1.0];
        first.put(vec!["a".into(), "b".into()], &logits).unwrap();
        first.ask(3).unwrap();
        drop(first);
        let second = open(1).unwrap();
        assert_eq!((second.asked(), second.unanswered()), (5, 3));
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(second.get("a").unwrap()), bits(&logits[..2]));
        assert_eq!(bits(second.get("b").unwrap()), bits(&logits[2..]));
        assert_eq!(second.get("c"), None);
        let refused = open(2).err().unwrap().to_string();
        assert!(refused.contains("another seed"), "{refused}");
    }
}
