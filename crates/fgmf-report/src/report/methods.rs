//! What the methods are, in plain words.

use crate::html::list;
use fgmf_record::ReportRecord;

const NOTES: [(&str, &str); 7] = [
    (
        "SCOR-PIO 2.0 (training)",
        "While training, each image is replaced by about the worst change within the \
            allowed radius, and the loss there is made small. The change is kept from one visit of \
            an image to the next, and each visit improves it by one averaged step, so that a \
            search of many steps costs as much as one. How straight the loss is along that step is \
            written to the log: it says when a search has gone past what its gradient knew. Our \
            reconstruction: the papers publish no complete algorithm.",
    ),
    (
        "SGAM (mask layer)",
        "A small network in front of the classifier that learns where Grad-CAM++ \
            looks, and masks the image accordingly. The mask can be looked at, which makes it a \
            second explanation. It is not counted as a defence by itself: attacks pass through it \
            and around it. Our reconstruction: the papers publish no complete algorithm.",
    ),
    (
        "PGCA (explanation)",
        "Two explanations made in different ways are brought together: how much the \
            score falls when a cell of a grid is blanked or filled with noise, and Grad-CAM++, \
            which follows the gradient. Only what both find is highlighted, and their agreement \
            is reported. Where they disagree too much, the map is withheld; this report still \
            prints it, behind a stamp, so that an auditor can see why. Our \
            reconstruction: the papers publish no complete algorithm.",
    ),
    (
        "Integrated Gradients",
        "Adds up the gradient of the true class on the way from a reference image to \
            the image. Orange pixels speak for the true class, blue pixels against it, and \
            together they add up to the difference in score.",
    ),
    (
        "Attacks",
        "PGD follows the gradient of the loss step by step. Random search tries changes at \
            random and needs no gradient. All attacks stay within the radius and the pixel range, \
            and pass through the whole model, mask layer included. An attack that finds nothing \
            does not prove that there is nothing to find.",
    ),
    (
        "Gradient masking",
        "A model whose gradient is flat, noisy or misleading stops a gradient attack \
            without being robust. The signs listed above are checked for this reason. Masking is \
            named and never counted as robustness.",
    ),
    (
        "Intervals",
        "Shares carry the Wilson score interval, means the normal approximation, \
            both at 95%. They cover the choice of test images, not the choice of seed: another \
            training run would give other figures.",
    ),
];

/// One short text a method.
pub(crate) fn notes(_: &ReportRecord) -> String {
    list("notes", NOTES)
}
