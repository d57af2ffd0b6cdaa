//! Data sets: one split of labelled images, from the embedded Fashion-MNIST slice, IDX files,
//! CIFAR-10 binary files or a folder of images. They are held in memory as bytes; large folders are
//! decoded batch by batch instead. Images handed out lie in `[0, 1]`; normalisation belongs to the
//! network.

pub(crate) mod batch;
pub(crate) mod cifar;
pub(crate) mod dataset;
pub(crate) mod embedded;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod idx;
pub(crate) mod labelling;
pub(crate) mod limits;
pub(crate) mod picture;
pub(crate) mod pixels;
pub(crate) mod recipe;
pub(crate) mod request;
pub(crate) mod scaling;
pub(crate) mod source;

pub use crate::record::Split;
pub use batch::{Batch, batch_of};
pub use dataset::Dataset;
pub use labelling::{class_names, name_classes};
pub use picture::{
    StillImage, is_decoding, read_image, read_image_of, read_image_scaled, read_image_to_fit,
};
pub use recipe::{Fit, read_picture};
pub use request::DataRequest;
pub use scaling::{Interpolation, ScaledTo, Scaling};
pub use source::{EMBEDDED, load, load_part};
