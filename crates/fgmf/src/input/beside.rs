//! What lies beside a model file and says how images are prepared and classes are called.
//!
//! | file | what is read |
//! | --- | --- |
//! | `fgmf.toml` | what flags say, by their names |
//! | metadata of the ONNX file | `fgmf.preprocessing`, which hardened models carry |
//! | `preprocessor_config.json` (Hugging Face) | rescaling, mean and deviation, resizing |
//! | `config.json` (timm) | `pretrained_cfg`: mean, std, crop and filter; `label_names` |
//! | `config.json` (Hugging Face) | `id2label` |
//! | `imagenet_class_index.json` (Keras) | WordNet id and name of each class |
//! | `labels.txt`, `classes.txt`, `synset.txt`, `imagenet_classes.txt` | a name a line |
//! | metadata of the ONNX file | `Image.NominalPixelRange`, `Image.BitmapPixelFormat` |

use crate::data::scaling::Scaling;
use crate::error::{Error, Result};
use crate::input::reading::{json, numbers, text};
use crate::input::resampling;
use crate::input::settings_file;
use crate::record::Preprocessing;
use fgmf_net::Network;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files with a name a line.
const LISTS: [&str; 4] = [
    "labels.txt",
    "classes.txt",
    "synset.txt",
    "imagenet_classes.txt",
];
/// The list of Keras.
const INDEX: &str = "imagenet_class_index.json";

/// Where a model file says how images are prepared for it: [`Preprocessing`] as JSON.
pub(crate) const PREPROCESSING_KEY: &str = "fgmf.preprocessing";

/// What was found beside a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// Preprocessing, and where it stands.
    pub preprocessing: Option<(Preprocessing, String)>,
    /// Class names in the order of the scores, and where they stand.
    pub labels: Option<(Vec<String>, String)>,
    /// Whether `fgmf.toml` names them: then they stand above names inside the model.
    pub labels_stated: bool,
    /// How pictures of other sizes are scaled, and where it stands.
    pub scaling: Option<(Scaling, String)>,
    /// What was found and is not used, with the reason.
    pub notes: Vec<String>,
}

/// Looks beside the model file, and into its metadata. The first file of the table that says
/// something is taken, for the values of pixels, for their scaling and for the names apart.
///
/// # Errors
/// [`Error::Record`] when a file that is looked at is damaged or says something impossible.
pub fn find_beside(model: &Path, net: &Network) -> Result<Beside> {
    let folder = model.parent().unwrap_or(Path::new(""));
    let [channels, ..] = net.image_shape();
    let mut found = Beside::default();
    let hugging = folder.join("preprocessor_config.json");
    let path = folder.join("config.json");
    let config = json(&path)?;
    let metadata = PathBuf::from("the model's metadata");
    let own_file = folder.join(settings_file::NAME);
    let settings = settings_file::read(&own_file, net.image_shape())?.unwrap_or_default();
    let hugging_face = json(&hugging)?;
    let scalings = [
        settings.scaling.map(|s| (Ok(s), &own_file)),
        hugging_face
            .as_ref()
            .and_then(|v| resampling::of_hugging_face(v, net.image_shape()))
            .map(|s| (s, &hugging)),
        config
            .as_ref()
            .and_then(|v| resampling::of_timm(v, net.image_shape()))
            .map(|s| (s, &path)),
    ];
    for (scaling, place) in scalings.into_iter().flatten() {
        let place = place.display();
        match scaling {
            Ok(scaling) => {
                found.scaling = Some((scaling, place.to_string()));
                break;
            }
            Err(odd) => {
                let note = format!("{place} is not followed in how it resizes pictures: {odd}");
                found.notes.push(note);
            }
        }
    }
    let stated = [
        Some((Ok(settings.preprocessing), own_file.clone())),
        Some((of_own_metadata(net, channels, model), metadata.clone())),
        hugging_face.map(|v| (of_hugging_face(&v, channels, &hugging), hugging.clone())),
        config
            .as_ref()
            .map(|v| (of_timm(v, channels, &path), path.clone())),
        Some((Ok(of_metadata(net, channels)), metadata)),
    ];
    for (stated, place) in stated.into_iter().flatten() {
        if let Some(preprocessing) = stated? {
            found.preprocessing = Some((preprocessing, place.display().to_string()));
            break;
        }
    }
    if let Some(file) = settings.labels {
        let labels = read_labels(&file, net.classes())?;
        found.labels = Some((labels, file.display().to_string()));
        found.labels_stated = true;
        return Ok(found);
    }
    let lists = std::iter::once(INDEX).chain(LISTS);
    let lists = lists.map(|name| folder.join(name)).filter(|p| p.is_file());
    let of_config = config.iter().map(|v| (Ok(labels_of(v)), path.clone()));
    for (labels, path) in of_config.chain(lists.map(|p| (labels_in(&p), p))) {
        let Some(labels) = labels? else {
            continue;
        };
        let (n, k) = (labels.len(), net.classes());
        if n == k {
            found.labels = Some((labels, path.display().to_string()));
            break;
        }
        let path = path.display();
        found
            .notes
            .push(format!("{path} is not used: {n} class names, {k} classes"));
    }
    Ok(found)
}

/// Class names of a file named by the user, as many as there are `classes`.
///
/// # Errors
/// [`Error::Record`] when the file cannot be read as one of the table, or has another number of
/// names.
pub fn read_labels(path: &Path, classes: usize) -> Result<Vec<String>> {
    let labels = labels_in(path)?.unwrap_or_default();
    if labels.len() == classes {
        return Ok(labels);
    }
    let found = labels.len();
    Err(Error::record(
        path,
        format!("expected {classes} class names, found {found}"),
    ))
}

/// What a model that was hardened here says of itself.
fn of_own_metadata(net: &Network, channels: usize, model: &Path) -> Result<Option<Preprocessing>> {
    let Some(text) = net.metadata.get(PREPROCESSING_KEY) else {
        return Ok(None);
    };
    let p: Preprocessing = serde_json::from_str(text).map_err(|e| Error::record(model, e))?;
    if p.mean.len() != channels || p.std.len() != channels {
        let found = format!(
            "expected `{PREPROCESSING_KEY}` with {channels} numbers of each kind, found {text}"
        );
        return Err(Error::record(model, found));
    }
    Ok(Some(p))
}

fn of_hugging_face(v: &Value, channels: usize, path: &Path) -> Result<Option<Preprocessing>> {
    let on = |key: &str| v[key].as_bool();
    let says_nothing = ["do_rescale", "do_normalize", "image_mean", "image_std"];
    if says_nothing.iter().all(|key| v[*key].is_null()) {
        return Ok(None);
    }
    let mut p = Preprocessing::none(channels);
    // Its factor is for bytes.
    p.scale = match (on("do_rescale"), v["rescale_factor"].as_f64()) {
        (Some(false), _) => 255.0,
        (_, Some(factor)) => 255.0 * factor,
        _ => 1.0,
    };
    if on("do_normalize") != Some(false) {
        p.mean = numbers(v, "image_mean", channels, path)?.unwrap_or(p.mean);
        p.std = numbers(v, "image_std", channels, path)?.unwrap_or(p.std);
    }
    Ok(Some(p))
}

fn of_timm(v: &Value, channels: usize, path: &Path) -> Result<Option<Preprocessing>> {
    let v = &v["pretrained_cfg"];
    let (mean, std) = (
        numbers(v, "mean", channels, path)?,
        numbers(v, "std", channels, path)?,
    );
    Ok(mean.zip(std).map(|(mean, std)| Preprocessing {
        mean,
        std,
        ..Preprocessing::none(channels)
    }))
}

fn of_metadata(net: &Network, channels: usize) -> Option<Preprocessing> {
    let range = net.metadata.get("Image.NominalPixelRange")?;
    let mut p = Preprocessing::none(channels);
    match range.as_str() {
        "NominalRange_0_255" => p.scale = 255.0,
        "Normalized_0_1" => {}
        "Normalized_1_1" => (p.mean, p.std) = (vec![0.5; channels], vec![0.5; channels]),
        _ => return None,
    }
    let format = net.metadata.get("Image.BitmapPixelFormat");
    p.bgr = channels == 3 && format.is_some_and(|f| f.starts_with("Bgr"));
    Some(p)
}

/// Class names of a file, by its form; `None` where it holds none.
fn labels_in(path: &Path) -> Result<Option<Vec<String>>> {
    let none = || Error::record(path, "expected a file of class names, found none");
    if path.extension().is_some_and(|e| e == "json") {
        return Ok(labels_of(&json(path)?.ok_or_else(none)?));
    }
    let text = text(path)?.ok_or_else(none)?;
    let lines = text.lines().map(|l| l.trim().to_owned());
    let labels = lines.filter(|l| !l.is_empty()).map(|l| (l, None));
    Ok(Some(distinct(labels.collect())))
}

/// Class names in JSON, by its form; `None` where it holds none.
fn labels_of(v: &Value) -> Option<Vec<String>> {
    let named = |list: &Value| -> Option<Vec<(String, Option<String>)>> {
        let names = list.as_array()?.iter();
        names
            .map(|n| Some((n.as_str()?.to_owned(), None)))
            .collect()
    };
    let cfg = &v["pretrained_cfg"];
    let labels = by_number(&v["id2label"])
        .or_else(|| named(&cfg["label_names"]))
        .or_else(|| named(&v["label_names"]))
        .or_else(|| named(v))
        .or_else(|| by_number(v));
    labels.map(distinct)
}

/// `{"0": name}` or `{"0": [id, name]}`, for all numbers from 0 on.
fn by_number(v: &Value) -> Option<Vec<(String, Option<String>)>> {
    let entries = v.as_object()?.iter().map(|(key, v)| {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let label = match v {
            Value::Array(pair) => (text(pair.get(1)?)?, Some(text(pair.first()?)?)),
            one => (text(one)?, None),
        };
        Some((key.parse::<usize>().ok()?, label))
    });
    let labels: BTreeMap<usize, _> = entries.collect::<Option<_>>()?;
    let whole = labels.keys().copied().eq(0..labels.len());
    (whole && !labels.is_empty()).then(|| labels.into_values().collect())
}

/// Names of which each stands once: what comes again gets its id, or its number. With ids each name
/// begins with it, so that folders named by ids are found.
fn distinct(labels: Vec<(String, Option<String>)>) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let labels = labels.into_iter().map(|(name, id)| match id {
        Some(id) => format!("{id} {name}"),
        None => name,
    });
    labels
        .map(|name| {
            let count = seen.entry(name.clone()).or_default();
            *count += 1;
            match *count {
                1 => name,
                again => format!("{name} ({again})"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::Builder;
    use fgmf_net::op::{Flatten, Op};

    /// Three channels of one pixel: three classes.
    fn net() -> Network {
        let mut b = Builder::new("m", "image", [3, 1, 1]).unwrap();
        let x = b.input();
        let z = b.node("z", Op::Flatten(Flatten { axis: 1 }), &[x]).unwrap();
        b.finish(z).unwrap()
    }

    fn beside(files: &[(&str, &str)]) -> Result<Beside> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        find_beside(&folder.path().join("m.onnx"), &net())
    }

    fn settings(files: &[(&str, &str)]) -> Option<Preprocessing> {
        beside(files).unwrap().preprocessing.map(|p| p.0)
    }

    #[test]
    fn each_form_is_read() {
        assert_eq!(beside(&[]).unwrap(), Beside::default());
        let none = Preprocessing::none(3);
        let hugging = r#"{"do_normalize": true, "image_mean": [0.1, 0.2, 0.3], "image_std": 0.5}"#;
        let found = settings(&[("preprocessor_config.json", hugging)]).unwrap();
        assert_eq!((found.scale, &found.mean[..]), (1.0, &[0.1, 0.2, 0.3][..]));
        assert_eq!(found.std, [0.5; 3]);
        let bytes = r#"{"do_rescale": false, "do_normalize": false}"#;
        let found = settings(&[("preprocessor_config.json", bytes)]).unwrap();
        let expected = Preprocessing {
            scale: 255.0,
            ..none.clone()
        };
        assert_eq!(found, expected);
        let timm = r#"{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
            "label_names": ["a", "b", "c"]}"#;
        let found = beside(&[("config.json", timm)]).unwrap();
        assert_eq!(found.preprocessing.unwrap().0.mean, [0.5; 3]);
        assert_eq!(found.labels.unwrap().0, ["a", "b", "c"]);
        let mut net = net();
        let mut set = |k: &str, v: &str| net.metadata.insert(k.into(), v.into());
        set("Image.NominalPixelRange", "NominalRange_0_255");
        set("Image.BitmapPixelFormat", "Bgr8");
        let found = find_beside(Path::new("nowhere/m.onnx"), &net).unwrap();
        let expected = Preprocessing {
            scale: 255.0,
            bgr: true,
            ..none
        };
        assert_eq!(found.preprocessing.unwrap().0, expected);
    }

    /// `fgmf.toml` stands above every other file, key by key of what belongs together.
    #[test]
    fn a_settings_file_is_first() {
        let hugging = r#"{"image_mean": 0.5, "image_std": 0.5, "size": 1, "resample": 3}"#;
        let hugging = ("preprocessor_config.json", hugging);
        let names = ("names.txt", "x\ny\nz\n");
        let toml = "scale = 255\nmean = [1, 2.5, 3]\nbgr = true\nlabels = \"names.txt\"\n";
        let found = beside(&[("fgmf.toml", toml), hugging, names]).unwrap();
        let (p, place) = found.preprocessing.unwrap();
        assert!(place.ends_with("fgmf.toml"));
        assert_eq!(
            (p.scale, p.bgr, &p.mean[..]),
            (255.0, true, &[1.0, 2.5, 3.0][..])
        );
        assert_eq!(p.std, [1.0; 3]);
        assert!(found.labels_stated && found.labels.unwrap().0 == ["x", "y", "z"]);
        let (scaling, place) = found.scaling.unwrap();
        assert!(place.ends_with("preprocessor_config.json"));
        assert!(scaling.words().contains("bicubic"), "{}", scaling.words());
        let toml = "crop_pct = 0.5\ninterpolation = \"bilinear\"\n";
        let found = beside(&[("fgmf.toml", toml), hugging]).unwrap();
        assert_eq!(found.preprocessing.unwrap().0.mean, [0.5; 3]);
        let (scaling, place) = found.scaling.unwrap();
        assert!(place.ends_with("fgmf.toml"));
        assert!(
            scaling.words().contains("of 2 (bilinear)"),
            "{}",
            scaling.words()
        );
        assert!(!found.labels_stated);
        let odd = ("preprocessor_config.json", r#"{"size": 1, "resample": 1}"#);
        let found = beside(&[odd]).unwrap();
        assert!(found.scaling.is_none() && found.notes[0].contains("resample 1"));
    }

    #[test]
    fn class_names_are_found_counted_and_made_distinct() {
        let labels = |name: &str, text: &str| beside(&[(name, text)]).unwrap().labels.unwrap().0;
        let keras = r#"{"0": ["n1", "crane"], "1": ["n2", "crane"], "2": ["n3", "tench"]}"#;
        assert_eq!(labels(INDEX, keras), ["n1 crane", "n2 crane", "n3 tench"]);
        let hugging = r#"{"id2label": {"0": "x", "2": "z", "1": "y"}}"#;
        assert_eq!(labels("config.json", hugging), ["x", "y", "z"]);
        assert_eq!(labels("labels.txt", "a\r\nb\na\n"), ["a", "b", "a (2)"]);
        let other = beside(&[("labels.txt", "a\nb\n")]).unwrap();
        assert_eq!(other.labels, None);
        assert!(
            other.notes[0].contains("2 class names, 3 classes"),
            "{:?}",
            other.notes
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.txt");
        std::fs::write(&path, "a\nb\n").unwrap();
        let message = read_labels(&path, 3).unwrap_err().to_string();
        assert!(
            message.contains("expected 3 class names, found 2"),
            "{message}"
        );
    }

    #[test]
    fn damaged_files_are_named() {
        for (name, text, part) in [
            ("fgmf.toml", "scal = 1", "`scal`"),
            (
                "fgmf.toml",
                "scal = 1",
                "scale, mean, std, bgr, labels, crop_pct",
            ),
            ("fgmf.toml", "scale = nan", "`scale` as a number"),
            ("fgmf.toml", "bgr = 1", "`bgr` as true or false"),
            ("fgmf.toml", "mean = [1, 2]", "`mean` with 3"),
            ("fgmf.toml", "crop_pct = 2", "crop_pct"),
            ("fgmf.toml", "interpolation = \"cubic\"", "interpolation"),
            ("fgmf.toml", "labels = \"none.txt\"", "none.txt"),
            ("fgmf.toml", "scale = ", "fgmf.toml"),
            ("preprocessor_config.json", "{", "preprocessor_config.json"),
            (
                "preprocessor_config.json",
                r#"{"image_mean": [1, 2]}"#,
                "`image_mean` with 3",
            ),
            (
                "config.json",
                r#"{"pretrained_cfg": {"mean": "x"}}"#,
                "`mean` with 3",
            ),
        ] {
            let message = beside(&[(name, text)]).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
