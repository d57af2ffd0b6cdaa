//! How the files beside a model say that pictures are scaled.

use crate::data::scaling::{Interpolation, ScaledTo, Scaling};
use serde_json::Value;

/// timm's defaults.
const CROP_PCT: f64 = 0.875;
/// Images from which Hugging Face's `crop_pct` has no effect, in pixels a side.
const LARGE: usize = 384;

/// What a file says, or why it is not used.
pub(crate) type Stated = std::result::Result<Scaling, String>;

fn side(v: &Value) -> Option<usize> {
    v.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// `[height, width]` of a number or of an object with these fields.
fn sides(v: &Value) -> Option<[usize; 2]> {
    let pair = side(&v["height"]).zip(side(&v["width"]));
    side(v).map(|n| [n, n]).or(pair.map(|(h, w)| [h, w]))
}

/// Height and width of the images that Hugging Face's `preprocessor_config.json` makes.
pub(crate) fn size_of_hugging_face(v: &Value) -> Option<[usize; 2]> {
    let cut = Some(&v["crop_size"]).filter(|c| !c.is_null() && v["do_center_crop"] != false);
    let exact = sides(cut.unwrap_or(&v["size"]));
    let shorter = side(&v["size"]["shortest_edge"]).map(|n| [n, n]);
    // Of a shorter side alone, what is cut out has this size: ConvNeXT.
    let whole = exact.or(shorter.filter(|_| cut.is_none() && !v["crop_pct"].is_null()));
    whole.filter(|size| !size.contains(&0))
}

/// Height and width that timm's `config.json` says.
pub(crate) fn size_of_timm(v: &Value) -> Option<[usize; 2]> {
    let size = v["pretrained_cfg"]["input_size"].as_array()?;
    let [_, height, width] = size.as_slice() else {
        return None;
    };
    let size = [side(height)?, side(width)?];
    (!size.contains(&0)).then_some(size)
}

/// What Hugging Face's `preprocessor_config.json` says; `None` where it resizes nothing.
pub(crate) fn of_hugging_face(v: &Value, [_, height, width]: [usize; 3]) -> Option<Stated> {
    let size = &v["size"];
    if size.is_null() || v["do_resize"] == false {
        return None;
    }
    let interpolation = match v["resample"].as_u64() {
        None | Some(2) => Interpolation::Bilinear,
        Some(3) => Interpolation::Bicubic,
        Some(_) => return Some(Err(format!("resample {}", v["resample"]))),
    };
    let made = |to| Some(Ok(Scaling { to, interpolation }));
    let wanted = [height, width];
    let crops = v["do_center_crop"] == true || !v["crop_size"].is_null();
    let crops = crops && v["do_center_crop"] != false;
    let shorter = side(&size["shortest_edge"]);
    // An older form: one number, of the shorter side where something is cut out.
    let shorter = shorter.or_else(|| side(size).filter(|_| crops || !v["crop_pct"].is_null()));
    match (shorter, sides(size), v["crop_pct"].as_f64()) {
        // Of `crop_pct` and nothing else (ConvNeXT): no middle is cut from large images.
        (Some(n), _, Some(pct)) if wanted == [n, n] && n < LARGE => {
            let shape = [1, height, width];
            Some(Scaling::cropped(shape, pct, interpolation).map_err(|e| e.to_string()))
        }
        (Some(n), _, Some(_)) if wanted == [n, n] => made(ScaledTo::WholeImage),
        (Some(n), _, None) if crops && sides(&v["crop_size"]).is_none_or(|c| c == wanted) => {
            match n >= height.max(width) {
                true => made(ScaledTo::ShorterSide(n)),
                false => Some(Err(format!("a shorter side of {n}"))),
            }
        }
        (None, Some(exact), None) if !crops && exact == wanted => made(ScaledTo::WholeImage),
        _ => {
            let (size, crop) = (&v["size"], &v["crop_size"]);
            Some(Err(format!("size {size}, crop_size {crop}")))
        }
    }
}

/// What timm's `config.json` says; `None` where it says nothing.
pub(crate) fn of_timm(v: &Value, shape: [usize; 3]) -> Option<Stated> {
    let v = &v["pretrained_cfg"];
    if v["crop_pct"].is_null() && v["interpolation"].is_null() {
        return None;
    }
    let [_, height, width] = shape;
    let size = v["input_size"].as_array().map(|s| s.iter().map(side));
    let other = size.filter(|s| !s.clone().skip(1).eq([Some(height), Some(width)]));
    if other.is_some() {
        return Some(Err(format!("input_size {}", v["input_size"])));
    }
    let interpolation = match v["interpolation"].as_str().unwrap_or("bicubic").parse() {
        Ok(interpolation) => interpolation,
        Err(_) => return Some(Err(format!("interpolation {}", v["interpolation"]))),
    };
    let pct = v["crop_pct"].as_f64().unwrap_or(CROP_PCT);
    Some(match v["crop_mode"].as_str().unwrap_or("center") {
        "center" => Scaling::cropped(shape, pct, interpolation).map_err(|e| e.to_string()),
        "squash" if (pct - 1.0).abs() < 1e-9 => Ok(Scaling {
            to: ScaledTo::WholeImage,
            interpolation,
        }),
        mode => Err(format!("crop_mode {mode} with crop_pct {pct}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHAPE: [usize; 3] = [3, 224, 224];

    fn shorter(side: usize, interpolation: Interpolation) -> Option<Stated> {
        let to = ScaledTo::ShorterSide(side);
        Some(Ok(Scaling { to, interpolation }))
    }

    fn whole(interpolation: Interpolation) -> Option<Stated> {
        let to = ScaledTo::WholeImage;
        Some(Ok(Scaling { to, interpolation }))
    }

    #[test]
    fn hugging_face_is_read_in_all_its_forms() {
        use Interpolation::{Bicubic, Bilinear};
        let read = |v: Value| of_hugging_face(&v, SHAPE);
        let clip = json!({"do_resize": true, "size": {"shortest_edge": 224}, "resample": 3,
            "do_center_crop": true, "crop_size": {"height": 224, "width": 224}});
        assert_eq!(read(clip), shorter(224, Bicubic));
        let resnet = json!({"size": {"shortest_edge": 256}, "crop_size": 224, "resample": 2});
        assert_eq!(read(resnet), shorter(256, Bilinear));
        let convnext = json!({"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3});
        assert_eq!(read(convnext), shorter(256, Bicubic));
        let vit = json!({"size": {"height": 224, "width": 224}, "resample": 2});
        assert_eq!(read(vit), whole(Bilinear));
        assert_eq!(read(json!({"size": 224})), whole(Bilinear));
        let older = json!({"size": 256, "do_center_crop": true, "crop_size": 224});
        assert_eq!(read(older), shorter(256, Bilinear));
        assert_eq!(read(json!({"size": 224, "do_resize": false})), None);
        assert_eq!(read(json!({"image_mean": 0.5})), None);
        for odd in [
            json!({"size": 224, "resample": 1}),
            json!({"size": {"height": 256, "width": 256}}),
            json!({"size": {"shortest_edge": 200}, "crop_size": 224}),
            json!({"size": {"shortest_edge": 256}, "crop_size": 240}),
            json!({"size": "large"}),
        ] {
            assert!(matches!(read(odd.clone()), Some(Err(_))), "{odd}");
        }
        let large = json!({"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3});
        assert_eq!(of_hugging_face(&large, [3, 384, 384]), whole(Bicubic));
    }

    #[test]
    fn the_size_of_images_is_read() {
        let cut = json!({"size": {"shortest_edge": 256}, "crop_size": {"height": 9, "width": 7}});
        assert_eq!(size_of_hugging_face(&cut), Some([9, 7]));
        let convnext = json!({"size": {"shortest_edge": 224}, "crop_pct": 0.875});
        assert_eq!(size_of_hugging_face(&convnext), Some([224, 224]));
        let kept = json!({"size": 32, "crop_size": 28, "do_center_crop": false});
        assert_eq!(size_of_hugging_face(&kept), Some([32, 32]));
        // A shorter side alone says nothing of the longer one.
        for open in [
            json!({"size": {"shortest_edge": 8}}),
            json!({"size": 0}),
            json!({}),
        ] {
            assert_eq!(size_of_hugging_face(&open), None, "{open}");
        }
        let timm = json!({"pretrained_cfg": {"input_size": [3, 192, 224]}});
        assert_eq!(size_of_timm(&timm), Some([192, 224]));
        assert_eq!(
            size_of_timm(&json!({"pretrained_cfg": {"input_size": [3]}})),
            None
        );
    }

    #[test]
    fn timm_is_read() {
        use Interpolation::{Bicubic, Bilinear};
        let read = |v: Value| of_timm(&json!({ "pretrained_cfg": v }), SHAPE);
        let resnet = json!({"input_size": [3, 224, 224], "interpolation": "bilinear",
            "crop_pct": 0.95, "crop_mode": "center"});
        assert_eq!(read(resnet), shorter(235, Bilinear));
        assert_eq!(
            read(json!({"interpolation": "bicubic"})),
            shorter(256, Bicubic)
        );
        let squash = json!({"crop_pct": 1.0, "crop_mode": "squash"});
        assert_eq!(read(squash), whole(Bicubic));
        assert_eq!(read(json!({"mean": [0.5]})), None);
        for odd in [
            json!({"crop_pct": 0.9, "crop_mode": "border"}),
            json!({"crop_pct": 0.9, "input_size": [3, 288, 288]}),
            json!({"interpolation": "lanczos"}),
            json!({"crop_pct": 0.0}),
        ] {
            assert!(matches!(read(odd.clone()), Some(Err(_))), "{odd}");
        }
    }
}
