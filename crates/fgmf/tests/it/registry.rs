//! The registry, the documentation made from it, and the method files agree.

use fgmf::registry::{Family, METHODS, index};
use std::path::Path;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `docs/methods` holds exactly the generated pages. `UPDATE_DOCS=1` writes them.
#[test]
fn pages_are_current() {
    let folder = root().join("docs/methods");
    let mut pages: Vec<(String, String)> = METHODS
        .iter()
        .map(|m| (format!("{}.md", m.id), m.page()))
        .collect();
    pages.push(("README.md".into(), index()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        pages
            .iter()
            .for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
    }
    for (name, text) in &pages {
        let found = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            found == *text,
            "docs/methods/{name} is out of date: run with UPDATE_DOCS=1"
        );
    }
    assert_eq!(
        std::fs::read_dir(folder).unwrap().count(),
        pages.len(),
        "docs/methods has a page of no method"
    );
}

#[test]
fn ids_are_unique_and_references_exist() {
    let bib = std::fs::read_to_string(root().join("REFERENCES.bib")).unwrap();
    for (i, m) in METHODS.iter().enumerate() {
        assert!(METHODS[..i].iter().all(|o| o.id != m.id), "{} twice", m.id);
        assert!(
            bib.contains(&format!("{{{},", m.reference)),
            "{}: no `{}` in REFERENCES.bib",
            m.id,
            m.reference
        );
        assert!(m.page().lines().count() > 4, "{}: no leading comment", m.id);
    }
}

/// What the command line offers is what the registry lists.
#[test]
fn command_line_names_are_registered() {
    let of = |family| {
        METHODS
            .iter()
            .filter(|m| m.family == family)
            .map(|m| m.id)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(of(Family::Explainer), fgmf::explain::IDS.into());
    assert_eq!(
        of(Family::Objective),
        fgmf::train::ObjectiveConfig::NAMES.into()
    );
    assert_eq!(
        of(Family::Metric),
        fgmf::metric::INFOS.iter().map(|i| i.id).collect()
    );
}

/// Metrics as data agree with the registry, no figure has two metrics, and `docs/metrics.md` is the
/// table made of them.
#[test]
fn metrics_are_current() {
    let mut seen = std::collections::BTreeSet::new();
    for info in fgmf::metric::INFOS {
        let method = METHODS.iter().find(|m| m.id == info.id).unwrap();
        assert_eq!(method.reference, info.reference, "{}", info.id);
        assert!(
            !info.figures.is_empty()
                && info
                    .figures
                    .iter()
                    .all(|f| seen.insert(f.id) && f.range[0] < f.range[1]),
            "{}",
            info.id
        );
    }
    let path = root().join("docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, fgmf::metric::table()).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == fgmf::metric::table(),
        "docs/metrics.md: run with UPDATE_DOCS=1"
    );
}
