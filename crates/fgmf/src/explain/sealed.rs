//! The one entry to explainers: it checks what goes in and what comes out.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer};
use crate::explain::parts::ask::calls;
use crate::model::access::Gradients;
use fgmf_net::Tensor;

/// Explains each image of `x [n, c, h, w]` for its class.
///
/// Checks shapes, targets, precision and that pixels are finite; hands the method at most
/// [`Context::cap`] images at a time; checks that one finite map of the image's size came back for
/// each. A map that is the same everywhere is withheld: nothing was found for the class.
pub fn explain(
    explainer: &dyn Explainer,
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    context: &Context,
) -> Result<Vec<Attribution>> {
    check(model, x, targets, context)?;
    let names = context.names_of(x);
    let mut out = Vec::with_capacity(targets.len());
    for call in calls(targets.len(), context.cap) {
        let part = Context {
            names: Some(&names[call.clone()]),
            ..*context
        };
        let found = explainer.attribute(
            model,
            &x.rows(call.start, call.len()),
            &targets[call.clone()],
            &part,
        )?;
        if found.len() != call.len() {
            return Err(Error::mismatch(
                "explain",
                format!("{} maps from {}", call.len(), explainer.id()),
                found.len(),
            ));
        }
        out.extend(found);
    }
    let [_, h, w] = model.image_shape();
    for map in out.iter().map(|a| &a.values) {
        if [map.channels, map.height, map.width, map.values.len()] != [1, h, w, h * w] {
            let found = format!("{}x{}x{}", map.channels, map.height, map.width);
            return Err(Error::mismatch(
                "explain",
                format!("maps of 1x{h}x{w} from {}", explainer.id()),
                found,
            ));
        }
        if let Some(v) = map.values.iter().find(|v| !v.is_finite()) {
            return Err(Error::mismatch(
                "explain",
                format!("finite maps from {}", explainer.id()),
                v,
            ));
        }
    }
    for map in out.iter_mut().filter(|map| map.is_empty()) {
        map.withheld = Some(match map.withheld.take() {
            Some(reason) => format!("{NOTHING}: {reason}"),
            None => NOTHING.to_owned(),
        });
    }
    Ok(out)
}

/// What is said of a map that is the same everywhere.
const NOTHING: &str = "nothing found for this class";

pub(crate) fn check(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    context: &Context,
) -> Result<()> {
    let ([c, h, w], n) = (model.image_shape(), targets.len());
    if context.cap == 0 {
        return Err(Error::parameter("cap", "1 or more", 0));
    }
    if n == 0 || x.shape() != [n, c, h, w] {
        let expected =
            format!("one target an image, at least one, and images of shape [{n}, {c}, {h}, {w}]");
        return Err(Error::mismatch(
            "explain",
            expected,
            format!("{n} targets and images of shape {:?}", x.shape()),
        ));
    }
    if let Some(names) = context.names.filter(|names| names.len() != n) {
        return Err(Error::mismatch(
            "explain",
            format!("{n} names of images"),
            names.len(),
        ));
    }
    if let Some(y) = targets.iter().find(|&&y| y >= model.classes()) {
        return Err(Error::mismatch(
            "explain",
            format!("targets below {}", model.classes()),
            y,
        ));
    }
    if model
        .network()
        .precision()
        .is_some_and(|p| p != x.precision())
    {
        return Err(Error::mismatch(
            "explain",
            "images in the precision of the network",
            format!("{:?}", x.precision()),
        ));
    }
    if !x.is_finite() {
        return Err(Error::mismatch(
            "explain",
            "finite pixels",
            "NaN or an infinite value",
        ));
    }
    Ok(())
}
