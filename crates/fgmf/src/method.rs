//! What a method says of itself, in its own file, and the list that its family has of such entries.
//!
//! A method file holds `pub(crate) const METHODS`, one [`Method`] for each id that it defines. The
//! build script finds these constants behind the `mod` lines of a family's face, and the family's
//! `list.rs` includes what it wrote. So the face is the only other file that names a method.

use crate::error::{Error, Result};

/// Kind of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Breaks models.
    Attack,
    /// Rewrites models.
    Defence,
    /// Trains models.
    Objective,
    /// Explains models.
    Explainer,
    /// Scores explanations.
    Metric,
}

/// A method, as its own file describes it. `build` makes it from settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method<B> {
    /// Id in kebab case, as on the command line and in records.
    pub(crate) id: &'static str,
    /// What it does, in one plain sentence.
    pub(crate) line: &'static str,
    /// Raised by one whenever the method's numbers may change.
    pub(crate) revision: u32,
    /// Key in `REFERENCES.bib`.
    pub(crate) reference: &'static str,
    /// Settings as JSON that the method takes.
    pub(crate) example: &'static str,
    /// How it is made.
    pub(crate) build: B,
}

/// A method file. The build script writes these.
pub(crate) struct MethodFile<B: 'static> {
    /// Path below `src`.
    pub(crate) file: &'static str,
    /// What is in it.
    pub(crate) text: &'static str,
    /// The methods that it defines.
    pub(crate) methods: &'static [Method<B>],
}

/// All methods of a family.
pub(crate) struct List<B: 'static> {
    family: Family,
    /// What errors call a method of this family.
    word: &'static str,
    sources: &'static [MethodFile<B>],
}

impl<B> List<B> {
    pub(crate) const fn new(
        family: Family,
        word: &'static str,
        sources: &'static [MethodFile<B>],
    ) -> Self {
        Self {
            family,
            word,
            sources,
        }
    }

    /// Files and their methods, by id: files come in no order that a reader could expect.
    fn pairs(&self) -> Vec<(&'static MethodFile<B>, &'static Method<B>)> {
        let of = |s: &'static MethodFile<B>| s.methods.iter().map(move |m| (s, m));
        let mut all: Vec<_> = self.sources.iter().flat_map(of).collect();
        all.sort_by_key(|(_, m)| m.id);
        all
    }

    /// The methods, by id.
    pub(crate) fn methods(&self) -> Vec<&'static Method<B>> {
        self.pairs().into_iter().map(|(_, m)| m).collect()
    }

    /// Their ids.
    pub(crate) fn ids(&self) -> Vec<&'static str> {
        self.methods().into_iter().map(|m| m.id).collect()
    }

    /// The method of that id. An error names those that are known.
    pub(crate) fn find(&self, id: &str) -> Result<&'static Method<B>> {
        let mut methods = self.sources.iter().flat_map(|s| s.methods);
        let unknown = || Error::parameter(self.word, self.ids().join(", "), id);
        methods.find(|m| m.id == id).ok_or_else(unknown)
    }

    /// The methods without what makes them, for documents and faces.
    pub(crate) fn registered(&self) -> Vec<Registered> {
        let one = |(s, m): (&MethodFile<B>, &Method<B>)| Registered {
            id: m.id,
            family: self.family,
            line: m.line,
            revision: m.revision,
            reference: m.reference,
            example: m.example,
            file: s.file,
            source: s.text,
        };
        self.pairs().into_iter().map(one).collect()
    }
}

/// A method, as documents and faces see it.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// Id in kebab case, as on the command line and in records.
    pub id: &'static str,
    /// Kind.
    pub family: Family,
    /// What it does, in one plain sentence.
    pub line: &'static str,
    /// Raised by one whenever the method's numbers may change.
    pub revision: u32,
    /// Key in `REFERENCES.bib`.
    pub reference: &'static str,
    /// Settings as JSON that the method takes.
    pub example: &'static str,
    /// Its file, below `src`.
    pub file: &'static str,
    /// Text of that file; the page is its leading comment.
    pub source: &'static str,
}

impl Registered {
    /// The method's page: what it says of itself, and the leading comment of its file, as Markdown.
    pub fn page(&self) -> String {
        let lines = self.source.lines().take_while(|l| l.starts_with("//!"));
        let text: Vec<&str> = lines
            .map(|l| l.trim_start_matches("//!").strip_prefix(' ').unwrap_or(""))
            .collect();
        format!(
            "# `{}`\n\nFamily: {:?}. Revision: {}. Reference: `{}` in `REFERENCES.bib`. \
                Code: `crates/fgmf/src/{}`, whose leading comment this page is. \
                Settings, an example: `{}`.\n\n{}\n",
            self.id,
            self.family,
            self.revision,
            self.reference,
            self.file,
            self.example,
            text.join("\n")
        )
    }
}
