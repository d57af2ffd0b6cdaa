//! Which file of a crate uses which, read from the syntax of its sources.
//!
//! Test code is left out item by item: whatever stands behind `#[cfg(test)]`, and nothing else. A
//! name that a face hands on counts as the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// Module path inside a crate; empty for its root.
type Module = Vec<String>;

/// The sources of one crate, by path below `src`.
pub(crate) struct Crate {
    files: BTreeMap<String, syn::File>,
}

/// What a file defines, hands on and names.
#[derive(Default)]
struct Contents {
    module: Module,
    defined: BTreeSet<String>,
    /// Name in this file, and the path behind it.
    imported: BTreeMap<String, Module>,
    globs: Vec<Module>,
    /// Paths named in code, as written.
    named: Vec<Module>,
    /// What stands in the file besides declarations of modules and `use`.
    items: Vec<String>,
    /// Whether the file includes a list of methods, which the build script writes.
    lists: bool,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let test = |a: &syn::Attribute| {
        a.path().is_ident("cfg")
            && a.parse_args::<syn::Path>()
                .is_ok_and(|p| p.is_ident("test"))
    };
    attributes.iter().any(test)
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Macro(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Trait(i) => &i.attrs,
        syn::Item::Type(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn name(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(i) => i.ident.to_string(),
        syn::Item::Enum(i) => i.ident.to_string(),
        syn::Item::Fn(i) => i.sig.ident.to_string(),
        syn::Item::Macro(i) => i.ident.as_ref()?.to_string(),
        syn::Item::Static(i) => i.ident.to_string(),
        syn::Item::Struct(i) => i.ident.to_string(),
        syn::Item::Trait(i) => i.ident.to_string(),
        syn::Item::Type(i) => i.ident.to_string(),
        _ => return None,
    })
}

/// Module of a file: `attack/mod.rs` is `attack`, `attack/pgd.rs` is `attack::pgd`.
fn module_of(file: &str) -> Module {
    let stem = file.trim_end_matches(".rs");
    let parts = stem
        .split('/')
        .filter(|p| !["mod", "lib", "main"].contains(p));
    parts.map(str::to_owned).collect()
}

/// Whether the file is a face.
pub(crate) fn is_face(file: &str) -> bool {
    file == "lib.rs" || file.ends_with("mod.rs")
}

impl Contents {
    fn of(file: &str, syntax: &syn::File) -> Self {
        let mut out = Self {
            module: module_of(file),
            ..Self::default()
        };
        out.visit_file(syntax);
        for item in syntax.items.iter().filter(|i| !is_test(attributes(i))) {
            out.defined.extend(name(item));
            let declares = matches!(item, syn::Item::Use(_) | syn::Item::ExternCrate(_))
                || matches!(item, syn::Item::Mod(m) if m.content.is_none());
            if !declares {
                out.items
                    .push(name(item).unwrap_or_else(|| "an item".into()));
            }
        }
        out
    }

    fn import(&mut self, prefix: &Module, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(p) => {
                let mut longer = prefix.clone();
                longer.push(p.ident.to_string());
                self.import(&longer, &p.tree);
            }
            syn::UseTree::Group(g) => g.items.iter().for_each(|t| self.import(prefix, t)),
            syn::UseTree::Glob(_) => self.globs.push(prefix.clone()),
            syn::UseTree::Name(n) if n.ident == "self" => {
                let last = prefix.last().cloned().unwrap_or_default();
                self.imported.insert(last, prefix.clone());
            }
            syn::UseTree::Name(n) => {
                let mut path = prefix.clone();
                path.push(n.ident.to_string());
                self.imported.insert(n.ident.to_string(), path);
            }
            syn::UseTree::Rename(r) => {
                let mut path = prefix.clone();
                path.push(r.ident.to_string());
                // Traits imported as `_` need names of their own here.
                let name = format!("{} {}", r.rename, path.join("::"));
                let name = if r.rename == "_" {
                    name
                } else {
                    r.rename.to_string()
                };
                self.imported.insert(name, path);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Contents {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&Module::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.named
            .push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// `pub(crate)` holds a path that is no use of the root.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    /// The text of a macro call is no syntax; paths in it are read from its words.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.lists |= call.path.is_ident("include");
        let text = call.tokens.to_string().replace(" :: ", "::");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        for word in words.filter(|w| w.contains("::")) {
            self.named
                .push(word.split("::").map(str::to_owned).collect());
        }
        visit::visit_macro(self, call);
    }
}

fn read(folder: &Path, below: &Path, out: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            read(&path, below, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(below).unwrap().to_string_lossy();
            out.insert(name.into_owned(), std::fs::read_to_string(&path).unwrap());
        }
    }
}

impl Crate {
    /// The crate whose sources are in this folder.
    pub(crate) fn read(src: &Path) -> Self {
        let mut out = BTreeMap::new();
        read(src, src, &mut out);
        Self::new(out)
    }

    /// A crate from texts by file name.
    pub(crate) fn new(texts: BTreeMap<String, String>) -> Self {
        let parse = |(name, text): (String, String)| {
            let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, syntax)
        };
        let mut files: BTreeMap<String, syn::File> = texts.into_iter().map(parse).collect();
        // Files of modules that exist in tests alone.
        let mut tests = BTreeSet::new();
        for (file, syntax) in &files {
            for item in &syntax.items {
                if let syn::Item::Mod(m) = item
                    && m.content.is_none()
                    && is_test(&m.attrs)
                {
                    let mut module = module_of(file);
                    module.push(m.ident.to_string());
                    tests.insert(module);
                }
            }
        }
        let in_tests = |m: &Module| (0..=m.len()).any(|k| tests.contains(&m[..k]));
        files.retain(|file, _| !in_tests(&module_of(file)));
        Self { files }
    }

    /// Names of the files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// What each face defines besides modules and `use`.
    pub(crate) fn defined_in_faces(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (file, syntax) in self.files.iter().filter(|(f, _)| is_face(f)) {
            let items = Contents::of(file, syntax).items;
            out.extend(items.iter().map(|i| format!("{file} defines {i}")));
        }
        out
    }

    /// Types and traits by name, with the files that define them.
    pub(crate) fn types(&self) -> BTreeMap<String, Vec<&str>> {
        let mut out: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (file, syntax) in &self.files {
            for item in syntax.items.iter().filter(|i| !is_test(attributes(i))) {
                let is_type = matches!(
                    item,
                    syn::Item::Enum(_)
                        | syn::Item::Struct(_)
                        | syn::Item::Trait(_)
                        | syn::Item::Type(_)
                );
                if let Some(name) = name(item).filter(|_| is_type) {
                    out.entry(name).or_default().push(file);
                }
            }
        }
        out
    }

    /// For each file, the files that it uses. A file that includes a list of methods uses every
    /// file of its folder that defines some, as the included code does.
    pub(crate) fn uses(&self) -> BTreeMap<String, BTreeSet<String>> {
        let all: Vec<(&String, Contents)> = self
            .files
            .iter()
            .map(|(f, s)| (f, Contents::of(f, s)))
            .collect();
        let modules: BTreeMap<&Module, usize> = all
            .iter()
            .enumerate()
            .map(|(i, (_, c))| (&c.module, i))
            .collect();
        let names = Names { all: &all, modules };
        let mut out = BTreeMap::new();
        for (i, (file, contents)) in all.iter().enumerate() {
            let mut used = BTreeSet::new();
            let paths = contents
                .imported
                .values()
                .chain(&contents.globs)
                .chain(&contents.named);
            // What a face hands on, those who ask for it use.
            if !is_face(file) {
                for path in paths {
                    if let Some(at) = names
                        .absolute(i, path, 0)
                        .and_then(|p| names.resolve(&p, 0))
                        && at != i
                        && !is_face(all[at].0)
                    {
                        used.insert(all[at].0.clone());
                    }
                }
            }
            if contents.lists {
                let room = &contents.module[..1];
                let methods = all
                    .iter()
                    .filter(|(_, c)| c.module.starts_with(room) && c.defined.contains("METHODS"));
                used.extend(methods.map(|(f, _)| (*f).clone()));
            }
            out.insert((*file).clone(), used);
        }
        out
    }
}

struct Names<'a> {
    all: &'a [(&'a String, Contents)],
    modules: BTreeMap<&'a Module, usize>,
}

impl Names<'_> {
    /// The path from the crate's root, if it leads into this crate.
    fn absolute(&self, at: usize, path: &[String], depth: usize) -> Option<Module> {
        if depth > 8 {
            // Names that import each other's names in turn lead nowhere.
            return None;
        }
        let contents = &self.all[at].1;
        let (first, rest) = path.split_first()?;
        let module = &contents.module;
        let join = |base: &[String], rest: &[String]| [base, rest].concat();
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some(join(module, rest)),
            "super" => {
                let up = path.iter().take_while(|p| *p == "super").count();
                let base = &module[..module.len().checked_sub(up)?];
                Some(join(base, &path[up..]))
            }
            name => {
                if let Some(behind) = contents.imported.get(name)
                    && behind != path
                {
                    return self.absolute(at, &join(behind, rest), depth + 1);
                }
                let child = join(module, std::slice::from_ref(first));
                let known = self.modules.contains_key(&child);
                known.then(|| join(&child, rest))
            }
        }
    }

    /// The file that defines what the path names.
    fn resolve(&self, path: &[String], depth: usize) -> Option<usize> {
        let known = |k: &usize| self.modules.get(&path[..*k].to_vec()).copied();
        let (k, at) = (0..=path.len()).rev().find_map(|k| Some((k, known(&k)?)))?;
        let contents = &self.all[at].1;
        let Some(name) = path.get(k) else {
            return Some(at);
        };
        if contents.defined.contains(name) || depth > 8 {
            return Some(at);
        }
        if let Some(behind) = contents.imported.get(name) {
            let next = [behind.as_slice(), &path[k + 1..]].concat();
            return match self.absolute(at, &next, 0) {
                Some(next) => self.resolve(&next, depth + 1),
                None => Some(at),
            };
        }
        for glob in &contents.globs {
            let next = self.absolute(at, glob, 0)?;
            let found = self.resolve(&[next.as_slice(), &path[k..]].concat(), depth + 1)?;
            if self.all[found].1.defined.contains(name) {
                return Some(found);
            }
        }
        Some(at)
    }
}

/// Circles: groups of files each of which reaches the others (Tarjan 1972).
pub(crate) fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for next in uses.get(file).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        uses.keys().map(|f| (f, reach(f))).collect();
    let mut out: Vec<Vec<String>> = Vec::new();
    for file in uses.keys() {
        if !reached[file].contains(file) || out.iter().any(|c| c.contains(file)) {
            continue;
        }
        let back = |other: &&String| reached[file].contains(other) && reached[other].contains(file);
        out.push(uses.keys().filter(back).cloned().collect());
    }
    out
}
