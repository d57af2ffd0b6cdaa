//! The class-balanced Fashion-MNIST slice that is part of the library (see `assets/README.md`).

use crate::data::dataset::Dataset;
use crate::data::idx;
use crate::data::request::DataRequest;
use crate::error::Result;
use crate::record::Split;
use std::path::Path;

/// Name under which [`super::load`] finds it.
pub(crate) const NAME: &str = "fashion-mnist-mini";

const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

macro_rules! asset {
    ($file:literal) => {
        (
            concat!("assets/fashion-mnist-mini/", $file),
            include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../assets/fashion-mnist-mini/",
                $file
            ))
            .as_slice(),
        )
    };
}

/// 6000 training or 1000 test images of 1x28x28, as many of each of the ten classes, in the order
/// of the official files.
pub(crate) fn load(split: Split, wanted: &DataRequest) -> Result<Dataset> {
    let (images, labels) = match split {
        Split::Train => (asset!("train-images.idx.gz"), asset!("train-labels.idx.gz")),
        Split::Test => (asset!("test-images.idx.gz"), asset!("test-labels.idx.gz")),
    };
    let ([_, height, width], pixels) =
        idx::images(Path::new(images.0), images.1, images.1.len() as u64, wanted)?;
    let labels = idx::labels(Path::new(labels.0), labels.1, labels.1.len() as u64)?;
    let labels = labels.into_iter().map(usize::from);
    let labels: Vec<usize> = labels.take(pixels.len() / (height * width)).collect();
    let classes = CLASSES.map(str::to_owned).to_vec();
    Dataset::new(NAME, split, classes, [1, height, width], pixels, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_balanced_and_in_official_order() {
        for (split, n, per_class, first_sum) in [
            (Split::Train, 6000, 600, 76_247),
            (Split::Test, 1000, 100, 33_456),
        ] {
            let data = load(split, &DataRequest::default()).unwrap();
            assert_eq!(
                (data.len(), data.shape(), data.split()),
                (n, [1, 28, 28], split)
            );
            assert_eq!(data.class_counts(), vec![per_class; 10]);
            assert_eq!(data.classes()[data.label(0)], "Ankle boot");
            let sum: f32 = data
                .image(0)
                .unwrap()
                .iter()
                .map(|value| value * 255.0)
                .sum();
            assert_eq!(sum.round() as u32, first_sum);
            let few = load(split, &DataRequest::new(Some(7), None)).unwrap();
            assert_eq!((few.len(), few.labels()), (7, &data.labels()[..7]));
            assert_eq!(few.image(6).unwrap(), data.image(6).unwrap());
        }
    }
}
