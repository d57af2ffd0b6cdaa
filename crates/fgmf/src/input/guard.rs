//! The guard: whether a model is right far more often when its images are prepared in another way.

use crate::data::batch::batch_of;
use crate::data::dataset::Dataset;
use crate::data::request::spread;
use crate::error::Result;
use crate::input::front::preprocessed;
use crate::measure::probability::sign_test;
use crate::model::answer::misclassified;
use crate::record::{Preprocessing, Proportion};
use fgmf_net::{Network, Session};

/// Labelled images that settings are compared on, at most.
const MOST: usize = 400;
/// Images after which a setting that is behind is dropped.
const FIRST: usize = 40;
/// Fewer prove nothing.
const LEAST: usize = 20;
/// Largest chance that a setting no better than the given one looks like the better one.
const CHANCE: f64 = 1e-3;
/// Images in a model call.
const CALL: usize = 20;

/// A setting that is better than the given one.
#[derive(Clone, Debug, PartialEq)]
pub struct Better {
    /// The setting.
    pub setting: Preprocessing,
    /// Right answers with it.
    pub right: Proportion,
    /// Right answers with the given one.
    pub given: Proportion,
}

/// Compares the `given` setting with those that are usual in the field, on at most 400 images
/// spread over the classes: values from 0 to 1, normalised as ImageNet, CLIP, MNIST and
/// Fashion-MNIST are, from −1 to 1, bytes, bytes less the mean of Caffe; each in both orders of the
/// colours. `net` is the model's own graph, without a front.
///
/// A setting is better when, of the images on which just one of the two is right, it is right on so
/// many that a fair coin would do it once in 1,000 times (exact sign test). The one that is right
/// most often comes back. `None` as well for fewer than 20 images.
///
/// # Errors
/// Those of the network and of [`preprocessed`].
pub fn better_setting(
    net: &Network,
    given: &Preprocessing,
    data: &Dataset,
) -> Result<Option<Better>> {
    let rows = spread(data.labels(), MOST);
    if rows.len() < LEAST {
        return Ok(None);
    }
    let (first, more) = rows.split_at(rows.len().min(FIRST));
    let right_on = |session: &Session, rows: &[usize]| -> Result<Vec<bool>> {
        let mut right = Vec::with_capacity(rows.len());
        for rows in rows.chunks(CALL) {
            let batch = batch_of(data, rows)?;
            let wrong = misclassified(&session.logits(&batch.x)?, &batch.labels);
            right.extend(wrong.iter().map(|w| !w));
        }
        Ok(right)
    };
    let session = Session::new(preprocessed(net, given)?);
    let own = [right_on(&session, first)?, right_on(&session, more)?].concat();
    drop(session);
    let count = |right: &[bool]| right.iter().filter(|r| **r).count();
    let mut best: Option<Better> = None;
    for setting in usual(given.mean.len()) {
        if setting == *given {
            continue;
        }
        let session = Session::new(preprocessed(net, &setting)?);
        let begun = right_on(&session, first)?;
        if count(&begun) < count(&own[..first.len()]) {
            continue;
        }
        let right = [begun, right_on(&session, more)?].concat();
        let most = best.as_ref().map_or(0, |b| b.right.count);
        if chance(&own, &right) < CHANCE && count(&right) > most {
            best = Some(Better {
                setting,
                right: Proportion::new(count(&right), rows.len()),
                given: Proportion::new(count(&own), rows.len()),
            });
        }
    }
    Ok(best)
}

/// The chance that `b` looks so much better than `a` when they are alike: the sign test on the
/// images on which just one of the two is right.
fn chance(a: &[bool], b: &[bool]) -> f64 {
    let only = |x: &[bool], y: &[bool]| x.iter().zip(y).filter(|(x, y)| **x && !**y).count();
    sign_test(only(b, a), only(a, b))
}

/// The settings that are usual for images with this many channels.
fn usual(channels: usize) -> Vec<Preprocessing> {
    let of = |scale: f64, mean: &[f64], std: &[f64]| Preprocessing {
        scale,
        mean: mean.to_vec(),
        std: std.to_vec(),
        bgr: false,
    };
    let all = |v: f64| vec![v; channels];
    let mut settings = vec![
        Preprocessing::none(channels),
        of(1.0, &all(0.5), &all(0.5)),
        of(255.0, &all(0.0), &all(1.0)),
    ];
    match channels {
        1 => {
            settings.push(of(1.0, &[0.1307], &[0.3081]));
            settings.push(of(1.0, &[0.286], &[0.353]));
        }
        3 => {
            settings.push(of(1.0, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]));
            let clip = [0.48145466, 0.4578275, 0.40821073];
            settings.push(of(1.0, &clip, &[0.26862954, 0.26130258, 0.27577711]));
            // Caffe's mean is stated with blue first; it is symmetrical enough for both orders.
            settings.push(of(255.0, &[103.939, 116.779, 123.68], &[1.0; 3]));
            let turned = settings.iter().map(|p| Preprocessing {
                bgr: true,
                ..p.clone()
            });
            settings.extend(turned.collect::<Vec<_>>());
        }
        _ => {}
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::{EMBEDDED, load};
    use crate::record::Split;
    use fgmf_net::onnx;
    use std::path::Path;

    /// The fixture as a network that takes images prepared as `p` says: its front undoes that.
    fn takes(p: &Preprocessing) -> Network {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/autoattack");
        let net = onnx::read(&fixtures.join("standard.onnx")).unwrap();
        let undone = Preprocessing {
            scale: p.std[0] / p.scale,
            mean: vec![-p.mean[0] / p.scale],
            ..Preprocessing::none(1)
        };
        preprocessed(&net, &undone).unwrap()
    }

    /// What is right raises no alarm; what was forgotten is named with the setting that is right,
    /// or one as good.
    #[test]
    fn a_forgotten_setting_is_found() {
        let data = load(EMBEDDED, Split::Test).unwrap();
        for right in usual(1) {
            let net = takes(&right);
            assert_eq!(better_setting(&net, &right, &data).unwrap(), None);
        }
        let [none, centred, bytes, ..] = &usual(1)[..] else {
            panic!("three settings");
        };
        let better = |right: &Preprocessing, given: &Preprocessing| {
            let found = better_setting(&takes(right), given, &data).unwrap();
            let found = found.unwrap_or_else(|| panic!("{right:?} taken for {given:?}"));
            assert!(found.right.value > found.given.value + 0.05, "{found:?}");
            found.setting
        };
        assert_eq!(&better(bytes, none), bytes);
        better(none, bytes);
        better(centred, none);
        let mut few = data.clone();
        few.truncate(19).unwrap();
        assert_eq!(better_setting(&takes(bytes), none, &few).unwrap(), None);
    }

    #[test]
    fn the_sign_test_is_exact() {
        let of = |wins: usize, losses: usize| {
            let b = [vec![true; wins], vec![false; losses], vec![true; 7]].concat();
            let a = [vec![false; wins], vec![true; losses], vec![true; 7]].concat();
            chance(&a, &b)
        };
        assert!((of(12, 2) - 106.0 / 16384.0).abs() < 1e-12);
        assert!((of(3, 0) - 0.125).abs() < 1e-12);
        assert!((of(0, 0) - 1.0).abs() < 1e-12 && (of(0, 4) - 1.0).abs() < 1e-12);
    }
}
