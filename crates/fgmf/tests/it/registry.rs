//! The registry, the documentation made from it, and the lists of methods agree.

use fgmf::registry::{Family, METHODS, Registered, index, of, overview};
use fgmf::train::ObjectiveConfig;
use fgmf::{attack, defend, explain, metric, train};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Writes the file if `UPDATE_DOCS` is set; fails if it holds another text.
fn current(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == text,
        "{} is out of date: run with UPDATE_DOCS=1",
        path.display()
    );
}

/// `docs/methods` holds exactly the generated pages. `UPDATE_DOCS=1` writes them.
#[test]
fn pages_are_current() {
    let folder = root().join("docs/methods");
    for m in METHODS.iter() {
        current(&folder.join(format!("{}.md", m.id)), &m.page());
    }
    current(&folder.join("README.md"), &index());
    assert_eq!(
        std::fs::read_dir(folder).unwrap().count(),
        METHODS.len() + 1,
        "docs/methods has a page of no method"
    );
}

/// The README has the overview between two comments.
#[test]
fn readme_is_current() {
    let path = root().join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- methods: begin -->\n", "<!-- methods: end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let block = overview();
    current(&path, &format!("{before}{begin}\n{block}\n{end}{after}"));
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
        let line = m.line;
        let sentence = line.ends_with('.') && line.matches('.').count() == 1;
        assert!(sentence && line.len() <= 90, "{}: {line}", m.id);
    }
}

/// A method made from these settings, and all its settings.
fn made(m: &Registered, settings: Value) -> fgmf::Result<Value> {
    let weights = [vec![1.0; 4], vec![-1.0; 4]];
    let surrogate = fgmf_testkit::toys::linear(&weights, &[0.0; 2], [1, 2, 2]);
    let surrogate = surrogate.cast(fgmf_net::Precision::F32);
    Ok(match m.family {
        Family::Attack => attack::with_surrogate(m.id, settings, &surrogate)?.parameters(),
        Family::Defence => defend::with_parameters(m.id, settings)?.parameters(),
        Family::Explainer => explain::with_parameters(m.id, settings)?.parameters(),
        Family::Metric => metric::with_parameters(m.id, settings)?.parameters(),
        Family::Objective => {
            let config = ObjectiveConfig::new(m.id, &settings)?;
            config.check()?;
            let mut all = json!(config);
            all.as_object_mut().unwrap().remove("name");
            all
        }
    })
}

/// Every example builds, what was built tells its settings, and these build the same again. A
/// setting that does not exist is refused.
#[test]
fn examples_build_and_settings_round_trip() {
    for m in METHODS.iter() {
        let example: Value = serde_json::from_str(m.example).unwrap();
        // The evaluation computes this one itself: it compares two inputs.
        if m.id == "map-shift" {
            assert!(made(m, example).is_err());
            continue;
        }
        let all = made(m, example.clone()).unwrap_or_else(|e| panic!("{}: {e}", m.id));
        let given = example.as_object().unwrap();
        for name in given.keys().filter(|k| *k != "of") {
            assert!(all.get(name).is_some(), "{}: `{name}` is not told", m.id);
        }
        assert_eq!(made(m, all.clone()).unwrap(), all, "{}", m.id);
        let mut unknown = example;
        unknown["no such setting"] = json!(1);
        assert!(made(m, unknown).is_err(), "{}", m.id);
        assert!(made(m, json!([1])).is_err(), "{}", m.id);
    }
}

/// What each family offers is what the registry lists, and an unknown id is told the known ones.
#[test]
fn families_offer_what_is_registered() {
    let of = |family| of(family).map(|m| m.id).collect::<Vec<_>>();
    assert_eq!(of(Family::Attack), attack::ids());
    assert_eq!(of(Family::Defence), defend::ids());
    assert_eq!(of(Family::Objective), train::ids());
    assert_eq!(of(Family::Explainer), explain::ids());
    let metrics: BTreeSet<&str> = metric::infos().iter().map(|i| i.id).collect();
    assert_eq!(of(Family::Metric), Vec::from_iter(metrics));
    for m in METHODS.iter().filter(|m| m.id != "map-shift") {
        let unknown = Registered { id: "magic", ..*m };
        let told = made(&unknown, json!({})).unwrap_err().to_string();
        assert!(told.contains(m.id) && told.contains("magic"), "{told}");
    }
}

/// No figure has two metrics, and `docs/metrics.md` is the table made of them.
#[test]
fn metrics_are_current() {
    let mut seen = BTreeSet::new();
    for info in metric::infos() {
        assert!(!info.figures.is_empty(), "{}", info.id);
        for figure in info.figures {
            assert!(seen.insert(figure.id), "{}", figure.id);
            assert!(figure.range[0] < figure.range[1], "{}", figure.id);
        }
    }
    current(&root().join("docs/metrics.md"), &metric::table());
}

/// Every source and manifest below this folder, with its text.
fn sources(folder: &Path, out: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.to_string_lossy().replace('\\', "/");
            out.push((name, text));
        }
    }
}

/// What `CONTRIBUTING.md` promises: a method is one file and one line. Each family has a method for
/// tests, which is in its list as every other is. Outside their own files nothing names them but
/// one `mod` line in each face.
#[test]
fn a_method_is_one_file_and_one_line() {
    let name = ["dum", "my"].concat();
    let mut all = Vec::new();
    sources(&root().join("crates"), &mut all);
    let (own, others): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|(file, _)| file.ends_with(&format!("/{name}.rs")));
    assert_eq!(own.len(), 5, "a method of each family");
    let named = |text: &str| {
        let lines = text.lines().map(str::trim).map(str::to_owned);
        let lines = lines.filter(|l| l.to_lowercase().contains(&name));
        lines.collect::<Vec<String>>()
    };
    for (file, text) in others {
        let face = own.iter().any(|(o, _)| {
            let folder = o.trim_end_matches(&format!("{name}.rs"));
            *file == format!("{folder}mod.rs")
        });
        let expected = if face {
            vec![format!("mod {name};")]
        } else {
            Vec::new()
        };
        assert_eq!(named(text), expected, "{file}");
    }
}
