//! Damaged images and data files, each from a number and a seed alone: read or refused, no panic.
//!
//! `FGMF_FUZZ_MUTANTS` says how many of each kind of file (some hundred without it).
//! `FGMF_FUZZ_SEED` sets the seed. Files lie in memory where the system has a place for that.

use fgmf::data::{Split, load, read_image};
use fgmf_testkit::corrupt::corruptions;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat};
use rayon::prelude::*;
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

const MUTANTS: u64 = 480;
const SEED: u64 = 20_261_128;
/// Mutants made together.
const BLOCK: u64 = 160;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Calls `read` on a file for each mutant of each original; returns how many were read. `mend`
/// gives a mutant checksums that fit, where the format has them.
fn survive(
    originals: &[(&str, Vec<u8>)],
    mend: impl Fn(&mut [u8]) + Sync,
    read: impl Fn(&Path, &str, &[u8]) -> bool + Sync,
) -> u64 {
    let (seed, count) = (
        number("FGMF_FUZZ_SEED", SEED),
        number("FGMF_FUZZ_MUTANTS", MUTANTS),
    );
    let jobs: Vec<(usize, u64)> = (0..originals.len())
        .flat_map(|o| (0..count.div_ceil(BLOCK)).map(move |b| (o, b)))
        .collect();
    let one = |&(o, block): &(usize, u64)| {
        let (name, original) = &originals[o];
        let place = folder();
        let mut accepted = 0;
        let mutants = corruptions(original, seed ^ block, BLOCK as usize);
        for (i, (what, mut mutant)) in mutants.into_iter().enumerate() {
            // Half keep their wrong checksums.
            if (i / 16 + i) % 2 == 0 {
                mend(&mut mutant);
            }
            let call = || read(place.path(), name, &mutant);
            match catch_unwind(AssertUnwindSafe(call)) {
                Ok(fine) => accepted += u64::from(fine),
                Err(_) => panic!("{name}, seed {seed}, block {block}, {what}"),
            }
        }
        accepted
    };
    jobs.par_iter().map(one).sum()
}

/// Every chunk of a PNG file gets the checksum of what it holds.
fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 4) {
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(end) = at.checked_add(8).and_then(|a| a.checked_add(len)) else {
            return;
        };
        let Some(body) = bytes.get(at + 4..end) else {
            return;
        };
        let mut sum = flate2::Crc::new();
        sum.update(body);
        let sum = sum.sum().to_be_bytes();
        match bytes.get_mut(end..end + 4) {
            Some(slot) => slot.copy_from_slice(&sum),
            None => return,
        }
        at = end + 4;
    }
}

fn picture() -> DynamicImage {
    let pixel = |x: u32, y: u32| image::Rgba([(x * 9) as u8, (y * 7) as u8, (x ^ y) as u8, 255]);
    DynamicImage::ImageRgba8(image::RgbaImage::from_fn(28, 28, pixel))
}

fn png(image: &DynamicImage) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

#[test]
fn damaged_images_are_read_or_refused() {
    let all = picture();
    let palette = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/palette_length.png");
    let pngs = [
        ("grey.png", png(&DynamicImage::ImageLuma8(all.to_luma8()))),
        (
            "grey16.png",
            png(&DynamicImage::ImageLuma16(all.to_luma16())),
        ),
        (
            "alpha.png",
            png(&DynamicImage::ImageLumaA8(all.to_luma_alpha8())),
        ),
        ("colour.png", png(&DynamicImage::ImageRgb8(all.to_rgb8()))),
        ("rgba.png", png(&all)),
        ("palette.png", std::fs::read(palette).unwrap()),
    ];
    let jpeg = |image: &DynamicImage, quality: u8| {
        let mut out = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut out, quality);
        image.write_with_encoder(encoder).unwrap();
        out
    };
    let jpegs = [
        (
            "grey.jpg",
            jpeg(&DynamicImage::ImageLuma8(all.to_luma8()), 90),
        ),
        (
            "colour.jpg",
            jpeg(&DynamicImage::ImageRgb8(all.to_rgb8()), 40),
        ),
    ];
    let read = |place: &Path, name: &str, bytes: &[u8]| {
        let path = place.join(name);
        std::fs::write(&path, bytes).unwrap();
        read_image(&path).is_ok()
    };
    let read_some = survive(&pngs, mend_png, read) + survive(&jpegs, |_| {}, read);
    assert!(read_some > 0, "some damage goes unseen");
}

#[test]
fn damaged_data_files_are_read_or_refused() {
    let small: Vec<u8> = (0..4 * 784).map(|i| (i * 31 % 251) as u8).collect();
    let head = [0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 28, 0, 0, 0, 28];
    let images: Vec<u8> = head.into_iter().chain(small.iter().copied()).collect();
    let labels = [0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 2, 9];
    let cifar: Vec<u8> = (0..3 * 3073)
        .map(|i| {
            if i % 3073 == 0 {
                7
            } else {
                (i * 29 % 241) as u8
            }
        })
        .collect();
    let packed = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let files = [
        ("t10k-images-idx3-ubyte", images.clone()),
        ("t10k-labels-idx1-ubyte", labels.to_vec()),
        ("t10k-images-idx3-ubyte.gz", packed(&images)),
        ("inside t10k-images-idx3-ubyte.gz", images.clone()),
        ("test_batch.bin", cifar),
    ];
    let read = |place: &Path, name: &str, bytes: &[u8]| {
        let source = place.display().to_string();
        let put = |name: &str, bytes: &[u8]| std::fs::write(place.join(name), bytes).unwrap();
        if name != "test_batch.bin" {
            put("t10k-images-idx3-ubyte", &images);
            put("t10k-labels-idx1-ubyte", &labels);
        }
        match name.strip_prefix("inside ") {
            Some(name) => put(name, &packed(bytes)),
            None => put(name, bytes),
        }
        if name.ends_with(".gz") {
            std::fs::remove_file(place.join("t10k-images-idx3-ubyte")).unwrap();
        }
        load(&source, Split::Test).is_ok()
    };
    let read_some = survive(&files, |_| {}, read);
    assert!(read_some > 0, "some damage goes unseen");
}
