//! The file of adversarial images that an attack run keeps.
//!
//! A safetensors file of n examples with four arrays:
//!
//! - `labels [n]`, I64: the true labels.
//! - `clean_sha256 [n, 64]`, U8: SHA-256 of the bytes of each clean image, in hexadecimal digits.
//! - `adversarial [n, c, h, w]`, F32: the adversarial images; the clean one where none was found.
//! - `adversarial_sha256 [n, 64]`, U8: SHA-256 of the little-endian bytes of each of them.
//!
//! Its metadata say what the images were made of ([`AdversarialOrigin`]). Whoever takes the images
//! checks them against the data, the threat and the model that they are meant for.

use crate::data::dataset::Dataset;
use crate::error::{Error, Result};
use crate::hash::{Hash, sha256};
use crate::record::{Split, ThreatRecord};
use crate::store::atomic::Whole;
use crate::study::found::{bytes, numbers};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

/// Longest header, in bytes.
const MAX_HEADER: u64 = 1 << 20;
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;
/// Clean images that are decoded together.
const DECODED: usize = 64;
/// The key of the digest of all other metadata.
const DIGEST: &str = "origin_sha256";

/// What adversarial images were made of: the metadata of their file.
#[derive(Clone, Debug, PartialEq)]
pub struct AdversarialOrigin {
    /// SHA-256 of the model's file.
    pub model_sha256: String,
    /// Name of the data set.
    pub data: String,
    /// Part of it.
    pub split: Split,
    /// SHA-256 of the images and labels attacked.
    pub data_sha256: String,
    /// What the attacker was allowed.
    pub threat: ThreatRecord,
    /// Seed of the attacks.
    pub seed: u64,
}

impl AdversarialOrigin {
    fn metadata(&self) -> Result<HashMap<String, String>> {
        let threat = serde_json::to_string(&self.threat)
            .map_err(|e| Error::mismatch("write adversarial images", "a threat", e))?;
        let mut pairs = vec![
            ("model_sha256", self.model_sha256.clone()),
            ("data", self.data.clone()),
            ("split", self.split.name().to_owned()),
            ("data_sha256", self.data_sha256.clone()),
            ("threat", threat),
            ("seed", self.seed.to_string()),
        ];
        pairs.push((DIGEST, sha256(format!("{pairs:?}").as_bytes())));
        Ok(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    /// `None` where a field is missing or is none.
    fn of(metadata: &HashMap<String, String>) -> Option<Self> {
        let text = |key: &str| metadata.get(key).cloned();
        Some(Self {
            model_sha256: text("model_sha256")?,
            data: text("data")?,
            split: text("split")?.parse().ok()?,
            data_sha256: text("data_sha256")?,
            threat: serde_json::from_str(&text("threat")?).ok()?,
            seed: text("seed")?.parse().ok()?,
        })
    }
}

/// Writes the first `n` examples of the data, image by image: `image` gives the adversarial image
/// of an example, `None` where it has none and the clean image stands.
pub fn write_adversarial(
    path: &Path,
    origin: &AdversarialOrigin,
    data: &Dataset,
    n: usize,
    image: impl Fn(usize) -> Result<Option<Vec<f32>>>,
) -> Result<()> {
    let [c, h, w] = data.shape();
    let mut end = 0;
    let mut array = |name: &str, dtype, shape: &[usize], size: usize| {
        let begin = end;
        end += size * shape.iter().product::<usize>();
        let info = TensorInfo {
            dtype,
            shape: shape.to_vec(),
            data_offsets: (begin, end),
        };
        (name.to_owned(), info)
    };
    let arrays = vec![
        array("labels", Dtype::I64, &[n], 8),
        array("clean_sha256", Dtype::U8, &[n, DIGITS], 1),
        array("adversarial", Dtype::F32, &[n, c, h, w], 4),
        // Behind the images, which are not known before they are written.
        array("adversarial_sha256", Dtype::U8, &[n, DIGITS], 1),
    ];
    let wrong = |e: &dyn Display| Error::record(path, e);
    let metadata = Metadata::new(Some(origin.metadata()?), arrays).map_err(|e| wrong(&e))?;
    // By way of a value, whose keys are sorted: the same bytes each time.
    let header = serde_json::to_value(&metadata).map_err(|e| wrong(&e))?;
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = Whole::create(path)?;
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io(path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    for &label in &data.labels()[..n] {
        put(&(label as i64).to_le_bytes())?;
    }
    for i in 0..n {
        put(data.image_sha256(i).as_bytes())?;
    }
    let mut digests = Vec::with_capacity(n);
    let size = c * h * w;
    for first in (0..n).step_by(DECODED) {
        let rows = first..n.min(first + DECODED);
        let found: Vec<Option<Vec<f32>>> = rows.clone().map(&image).collect::<Result<_>>()?;
        let whole = rows.zip(&found).filter(|(_, found)| found.is_none());
        let clean = data.images(&whole.map(|(i, _)| i).collect::<Vec<_>>())?;
        let mut clean = clean.chunks_exact(size);
        for found in &found {
            let image = found
                .as_deref()
                .or_else(|| clean.next())
                .unwrap_or_default();
            let image = bytes(image);
            put(&image)?;
            digests.push(sha256(&image));
        }
    }
    for digest in digests {
        put(digest.as_bytes())?;
    }
    file.finish()
}

/// Adversarial images that were read and checked.
#[derive(Clone, Debug)]
pub struct AdversarialFile {
    /// `[n, c, h, w]`, an image for each of the data.
    pub x: Tensor,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What the images were made of, if the file says so.
    pub origin: Option<AdversarialOrigin>,
}

/// Reads the images of a file that belong to `data`: the first of the file, as many as the data
/// has. `transferred`: images that were made against another model than the one with this hash, or
/// against one that the file does not name, are wanted.
///
/// # Errors
/// [`Error::Record`] when the file is none or is cut, when it was made with another split, norm or
/// radius, or against another model, and when an image is not finite, is not of this data, has
/// another label, or is outside the ball or the bounds.
pub fn read_adversarial(
    path: &Path,
    data: &Dataset,
    threat: &ThreatModel,
    model_sha256: &str,
    transferred: bool,
) -> Result<AdversarialFile> {
    let wrong = |expected: &dyn Display, found: &dyn Display| {
        Error::record(path, format!("expected {expected}, found {found}"))
    };
    let (mut file, metadata) = Pieces::open(path)?;
    let stored = metadata.metadata().as_ref();
    let origin = stored.and_then(AdversarialOrigin::of);
    if let Some(origin) = &origin {
        let stated = stored.and_then(|m| m.get(DIGEST));
        let found = origin.metadata()?.remove(DIGEST);
        if stated.is_some() && stated != found.as_ref() {
            return Err(wrong(&"what the file was made of, whole", &"it changed"));
        }
        check_origin(origin, data, threat).map_err(|(e, f)| wrong(&e, &f))?;
    }
    let made_of = origin.as_ref().map(|o| o.model_sha256.as_str());
    if made_of != Some(model_sha256) && !transferred {
        let found = match made_of {
            Some(other) => format!("those of another model (SHA-256 {other})"),
            None => "a file that names no model".to_owned(),
        };
        let found = format!("{found}; to take them all the same, add --transferred");
        return Err(wrong(&"images made against this model", &found));
    }
    let [c, h, w] = data.shape();
    let n = data.len();
    let mut values = Vec::new();
    let (mut digests, mut stated) = (Vec::new(), Vec::new());
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let (dtype, inner): (Dtype, &[usize]) = match name.as_str() {
            "labels" => (Dtype::I64, &[]),
            "clean_sha256" | "adversarial_sha256" => (Dtype::U8, &[DIGITS]),
            "adversarial" => (Dtype::F32, &[c, h, w]),
            _ => {
                file.skip(info.data_offsets.1 - info.data_offsets.0)?;
                continue;
            }
        };
        let fits = |shape: &[usize]| matches!(shape, [m, rest @ ..] if *m >= n && rest == inner);
        if info.dtype != dtype || !fits(&info.shape) {
            let expected = format!("`{name}` of {n} or more x {inner:?} in {dtype:?}");
            return Err(wrong(
                &expected,
                &format!("{:?} in {:?}", info.shape, info.dtype),
            ));
        }
        let size = (info.data_offsets.1 - info.data_offsets.0) / info.shape[0];
        for i in 0..n {
            let row = file.take(size)?;
            let at = |expected: &dyn Display, found: &dyn Display| {
                wrong(&format!("image {i} {expected}"), found)
            };
            match name.as_str() {
                "labels" => {
                    let label = row
                        .as_chunks::<8>()
                        .0
                        .first()
                        .map(|b| i64::from_le_bytes(*b));
                    if label != i64::try_from(data.label(i)).ok() {
                        let found = label.map_or(0, |l| l);
                        return Err(at(&format!("with label {}", data.label(i)), &found));
                    }
                }
                "clean_sha256" => {
                    if row != data.image_sha256(i).as_bytes() {
                        let expected = format!("of {}, {} split", data.name(), data.split());
                        return Err(at(&expected, &"one made of another image"));
                    }
                }
                "adversarial_sha256" => stated.push(row),
                _ => {
                    digests.push(sha256(&row));
                    let image = numbers(&row);
                    check_image(&data.image(i)?, &image, threat).map_err(|(e, f)| at(&e, &f))?;
                    values.extend(image);
                }
            }
        }
        file.skip(size * (info.shape[0] - n))?;
    }
    if digests.is_empty() {
        return Err(wrong(&"an array `adversarial`", &"none"));
    }
    for (i, (stated, found)) in stated.iter().zip(&digests).enumerate() {
        if stated != found.as_bytes() {
            return Err(wrong(&format!("image {i} with its SHA-256"), &"it changed"));
        }
    }
    Ok(AdversarialFile {
        x: Tensor::new::<f32>(&[n, c, h, w], values),
        sha256: file.hash.finish(),
        origin,
    })
}

/// What was expected, and what was found.
type Unlike = (String, String);

/// Whether images were made of this data within this threat.
fn check_origin(
    origin: &AdversarialOrigin,
    data: &Dataset,
    threat: &ThreatModel,
) -> std::result::Result<(), Unlike> {
    let same = |what: &str, expected: &dyn Display, found: &dyn Display| {
        if expected.to_string() == found.to_string() {
            return Ok(());
        }
        Err((
            format!("images made with {what} {expected}"),
            found.to_string(),
        ))
    };
    let wanted = threat.record();
    same("split", &data.split(), &origin.split)?;
    same("norm", &wanted.norm, &origin.threat.norm)?;
    same("eps", &wanted.eps, &origin.threat.eps)?;
    let bounds = |threat: &ThreatRecord| format!("{:?}", threat.bounds);
    same("bounds", &bounds(&wanted), &bounds(&origin.threat))
}

/// Whether an image is finite, inside its bounds, and near enough to the clean one.
fn check_image(
    clean: &[f32],
    image: &[f32],
    threat: &ThreatModel,
) -> std::result::Result<(), Unlike> {
    let [lo, hi] = threat.bounds();
    let inside = |v: &&f32| (lo..=hi).contains(&f64::from(**v));
    if let Some(value) = image.iter().find(|v| !inside(v)) {
        return Err((format!("with values from {lo} to {hi}"), value.to_string()));
    }
    if !threat.contains(clean, image) {
        let (norm, eps) = (threat.norm(), threat.eps());
        let distance = threat.distance(clean, image);
        return Err((
            format!("at {norm} distance {eps} or less from its clean image"),
            distance.to_string(),
        ));
    }
    Ok(())
}

/// A safetensors file that is read once from front to end, and hashed on the way.
struct Pieces<'a> {
    path: &'a Path,
    file: BufReader<File>,
    hash: Hash,
}

impl<'a> Pieces<'a> {
    /// The file behind its header, and the header.
    fn open(path: &'a Path) -> Result<(Self, Metadata)> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut pieces = Self {
            path,
            file: BufReader::new(file),
            hash: Hash::default(),
        };
        let none = |found: String| {
            Error::record(path, format!("expected a safetensors file, found {found}"))
        };
        if length < 8 {
            return Err(none(format!("{length} bytes")));
        }
        let begin = pieces.take(8)?;
        let header = begin
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| u64::from_le_bytes(*b));
        let header = header.sum::<u64>();
        if header > MAX_HEADER.min(length - 8) {
            return Err(none(format!("a header of {header} bytes in {length}")));
        }
        let text = pieces.take(header as usize)?;
        let metadata: Metadata =
            serde_json::from_slice(&text).map_err(|e| none(format!("a header with {e}")))?;
        let expected = 8 + header + metadata.data_len() as u64;
        if expected != length {
            let text = format!("expected {expected} bytes, found {length}");
            return Err(Error::record(path, text));
        }
        Ok((pieces, metadata))
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = self.file.read_exact(&mut bytes);
        read.and_then(|()| self.hash.write_all(&bytes))
            .map_err(Error::io(self.path))?;
        Ok(bytes)
    }

    fn skip(&mut self, count: usize) -> Result<()> {
        let mut rest = self.file.by_ref().take(count as u64);
        std::io::copy(&mut rest, &mut self.hash).map_err(Error::io(self.path))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Norm;
    use std::path::PathBuf;

    /// Three images of 1x2x2 with labels 0, 1, 0.
    fn data(split: Split) -> Dataset {
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        let pixels = (0..12).map(|i| 20 * i + u8::from(split == Split::Train));
        let labels = vec![0, 1, 0];
        Dataset::new("small", split, classes, [1, 2, 2], pixels.collect(), labels).unwrap()
    }

    fn threat(eps: f64) -> ThreatModel {
        ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap()
    }

    fn origin(data: &Dataset, eps: f64) -> AdversarialOrigin {
        AdversarialOrigin {
            model_sha256: "ours".into(),
            data: data.name().into(),
            split: data.split(),
            data_sha256: data.sha256(),
            threat: threat(eps).record(),
            seed: 3,
        }
    }

    /// A file whose image 1 is `image`.
    fn written(folder: &tempfile::TempDir, image: &[f32]) -> PathBuf {
        let path = folder.path().join("adversarial.safetensors");
        let data = data(Split::Test);
        let found = |i: usize| Ok((i == 1).then(|| image.to_vec()));
        write_adversarial(&path, &origin(&data, 0.1), &data, 3, found).unwrap();
        path
    }

    /// Image 1, and what it is moved to.
    const CLEAN: [u8; 4] = [80, 100, 120, 140];
    fn moved(by: f32) -> Vec<f32> {
        CLEAN.iter().map(|&b| f32::from(b) / 255.0 + by).collect()
    }

    #[test]
    fn what_is_written_is_read_back_whole_and_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, &moved(-0.1));
        let mut data = data(Split::Test);
        let read = |data: &Dataset| read_adversarial(&path, data, &threat(0.1), "ours", false);
        let all = read(&data).unwrap();
        let expected = [data.image(0).unwrap(), moved(-0.1), data.image(2).unwrap()].concat();
        assert_eq!(
            (all.x.shape(), all.x.to_f32()),
            (&[3, 1, 2, 2][..], expected)
        );
        assert_eq!(all.origin, Some(origin(&data, 0.1)));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(all.sha256, crate::hash::sha256(&bytes));
        // Others read it, too.
        let others = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(others.tensor("labels").unwrap().shape(), [3]);
        data.truncate(2).unwrap();
        let two = read(&data).unwrap();
        assert_eq!((two.x.shape(), two.sha256), (&[2, 1, 2, 2][..], all.sha256));
    }

    /// Whichever byte of the file changes, and wherever it is cut: refused, or the same.
    #[test]
    fn a_damaged_file_is_refused_or_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, &moved(-0.1));
        let data = data(Split::Test);
        let read = || read_adversarial(&path, &data, &threat(0.1), "ours", false);
        let (whole, bytes) = (read().unwrap(), std::fs::read(&path).unwrap());
        let (mut refused, mut same) = (0, 0);
        let mut damaged = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            match read() {
                Err(_) => refused += 1,
                Ok(again) => {
                    assert_eq!(again.x.to_f32(), whole.x.to_f32());
                    assert!(again.origin.is_none_or(|o| Some(o) == whole.origin));
                    same += 1;
                }
            }
        };
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            damaged(&bytes);
        }
        (0..bytes.len()).for_each(|n| damaged(&bytes[..n]));
        assert!(refused > 20 * same, "{refused} refused, {same} the same");
    }

    #[test]
    fn images_that_do_not_fit_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path, split, eps, model| {
            read_adversarial(path, &data(split), &threat(eps), model, false)
                .unwrap_err()
                .to_string()
        };
        let usual = |image: &[f32]| refused(&written(&folder, image), Split::Test, 0.1, "ours");
        let message = usual(&[1e9; 4]);
        let expected = "expected image 1 with values from 0 to 1, found 1000000000";
        assert!(message.contains(expected), "{message}");
        for strange in [f32::NAN, f32::INFINITY, -0.001] {
            let mut image = moved(0.0);
            image[2] = strange;
            assert!(usual(&image).contains("image 1 with values from 0 to 1"));
        }
        let message = usual(&moved(0.2));
        let expected = "image 1 at linf distance 0.1 or less from its clean image, found 0.2";
        assert!(message.contains(expected), "{message}");

        let path = written(&folder, &moved(0.05));
        let message = refused(&path, Split::Train, 0.1, "ours");
        assert!(
            message.contains("made with split train, found test"),
            "{message}"
        );
        let message = refused(&path, Split::Test, 0.2, "ours");
        assert!(
            message.contains("made with eps 0.2, found 0.1"),
            "{message}"
        );
        let l2 = ThreatModel::new(Norm::L2, 0.1, [0.0, 1.0]).unwrap();
        let message = read_adversarial(&path, &data(Split::Test), &l2, "ours", false).unwrap_err();
        assert!(
            message
                .to_string()
                .contains("made with norm l2, found linf"),
            "{message}"
        );
        let message = refused(&path, Split::Test, 0.1, "theirs");
        let expected = "made against this model, found those of another model (SHA-256 ours)";
        assert!(
            message.contains(expected) && message.contains("--transferred"),
            "{message}"
        );
    }

    #[test]
    fn other_images_and_labels_of_the_same_name_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, &moved(0.05));
        let refused = |pixels: Vec<u8>, labels: Vec<usize>| {
            let classes = ["a", "b"].map(str::to_owned).to_vec();
            let data = Dataset::new("small", Split::Test, classes, [1, 2, 2], pixels, labels);
            let read = read_adversarial(&path, &data.unwrap(), &threat(0.1), "ours", false);
            read.unwrap_err().to_string()
        };
        let mut pixels: Vec<u8> = (0..12).map(|i| 20 * i).collect();
        let message = refused(pixels.clone(), vec![0, 1, 1]);
        assert!(
            message.contains("image 2 with label 1, found 0"),
            "{message}"
        );
        pixels[11] ^= 1;
        let message = refused(pixels.clone(), vec![0, 1, 0]);
        let expected = "image 2 of small, test split, found one made of another image";
        assert!(message.contains(expected), "{message}");
        // More images than the file has.
        pixels.extend([0; 4]);
        let message = refused(pixels, vec![0, 1, 0, 0]);
        assert!(message.contains("`labels` of 4 or more"), "{message}");
    }

    #[test]
    fn images_of_other_models_are_taken_on_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, &moved(0.05));
        let (data, threat) = (data(Split::Test), threat(0.1));
        let theirs = read_adversarial(&path, &data, &threat, "theirs", true).unwrap();
        assert_eq!(theirs.origin.unwrap().model_sha256, "ours");
        // A file of another tool: images alone.
        let images = [data.image(0).unwrap(), moved(0.05), data.image(2).unwrap()].concat();
        let images = bytes(&images);
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![3, 1, 2, 2], &images);
        let plain = safetensors::serialize([("adversarial", view.unwrap())], None).unwrap();
        std::fs::write(&path, plain).unwrap();
        let read = |transferred| read_adversarial(&path, &data, &threat, "ours", transferred);
        let message = read(false).unwrap_err().to_string();
        assert!(message.contains("a file that names no model"), "{message}");
        assert!(read(true).unwrap().origin.is_none());
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, &moved(0.05));
        let bytes = std::fs::read(&path).unwrap();
        let (data, threat) = (data(Split::Test), threat(0.1));
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_adversarial(&path, &data, &threat, "ours", true)
        };
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "cut to {end} bytes");
        }
        for (_, damaged) in fgmf_testkit::corrupt::corruptions(&bytes, 5, 300) {
            let _ = read(&damaged);
        }
        assert!(read(b"nothing").is_err() && read(&[0xff; 64]).is_err());
        assert!(read(&bytes).is_ok());
        let absent = folder.path().join("none");
        assert!(read_adversarial(&absent, &data, &threat, "ours", true).is_err());
    }
}
