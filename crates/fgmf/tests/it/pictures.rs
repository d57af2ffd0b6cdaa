//! Pictures scaled for a model, beside Pillow.

use fgmf::data::{Interpolation, ScaledTo, Scaling, read_image, read_image_scaled};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures")
}

/// Right values by Pillow (`parity/pictures.py`), also of a picture that becomes larger.
#[test]
fn pictures_are_scaled_as_pillow_does() {
    let text = std::fs::read_to_string(fixtures().join("resized.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let side = |v: &Value| v.as_u64().unwrap() as usize;
        let interpolation = case["filter"].as_str().unwrap().parse().unwrap();
        let (shape, to) = match case["size"].as_array() {
            Some(size) => ([3, side(&size[0]), side(&size[1])], ScaledTo::WholeImage),
            None => {
                let size = side(&case["size"]);
                let to = ScaledTo::ShorterSide(side(&case["shorter"]));
                ([3, size, size], to)
            }
        };
        let scaling = Scaling { to, interpolation };
        let image = read_image_scaled(&fixtures().join("scene.png"), shape, &scaling).unwrap();
        let expected: Vec<u8> = serde_json::from_value(case["bytes"].clone()).unwrap();
        assert_eq!(expected.len(), image.bytes.len());
        let both = expected.iter().zip(&image.bytes);
        let most = both.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(most <= 1, "{shape:?} {scaling:?}: {most}");
    }
}

#[test]
fn what_cannot_be_scaled_is_refused() {
    let bilinear = Interpolation::Bilinear;
    let made = |crop_pct| Scaling::cropped([3, 224, 224], crop_pct, bilinear);
    assert_eq!(made(0.875).unwrap().to, ScaledTo::ShorterSide(256));
    assert_eq!(made(0.9).unwrap().to, ScaledTo::ShorterSide(248));
    for odd in [0.0, -1.0, 1.5, f64::NAN, 1e-9] {
        assert!(made(odd).is_err(), "{odd}");
    }
    assert!("nearest".parse::<Interpolation>().is_err());
    let path = fixtures().join("scene.png");
    let to = ScaledTo::ShorterSide(8);
    let short = Scaling {
        to,
        interpolation: bilinear,
    };
    let message = read_image_scaled(&path, [3, 16, 16], &short)
        .unwrap_err()
        .to_string();
    assert!(message.contains("scene.png: expected"), "{message}");
    assert!(read_image_scaled(&path, [2, 8, 8], &short).is_err());
    // The size of the model's images, at which nothing changes.
    let whole = Scaling {
        to: ScaledTo::WholeImage,
        interpolation: Interpolation::Bicubic,
    };
    let same = read_image_scaled(&path, [3, 45, 61], &whole).unwrap();
    assert_eq!(same, read_image(&path).unwrap());
}
