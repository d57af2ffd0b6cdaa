//! How much memory training takes.

use crate::data::dataset::Dataset;
use crate::error::Result;
use crate::train::config::TrainConfig;
use crate::train::displaced::Displacements;
use crate::train::fit::fresh_network;
use crate::train::given::GivenModel;
use fgmf_net::chunks::TRAINING_CHUNK;
use fgmf_net::head::Logit;
use fgmf_net::{Precision, Rules, Session, Tensor};

/// Bytes that training takes beside what is in use already, on so many threads.
///
/// Chunks of training have a fixed size, so less memory would need other results. Counted are, with
/// w numbers in the network, p in its packed weights, v numbers of all values for one image, c
/// chunks in a step:
///
/// - 16 w for weights, their average and two moments, 4 w more where the best network is kept,
/// - 4 w (c + 2) for gradients, or 32 w for the state as it is saved or read, whichever is more,
/// - 8 p for packed weights, which train and are attacked,
/// - 6 v for each image of a chunk on every thread,
/// - 256 bytes for each number of the images of a step, 16 more for each further row of an example,
///   16 for each pixel of a salient map,
/// - 4 w + 8 p for each copy of the network that an objective makes,
/// - where searches are kept, 3 for each number of all images: as they are, as they are saved, and
///   in the file's bytes.
///
/// An estimate from above; docs/results/memory.md compares it with what processes take.
pub fn training_bytes(
    config: &TrainConfig,
    start: Option<&GivenModel>,
    data: &Dataset,
    threads: usize,
) -> Result<u64> {
    let (_, objective) = config.check()?;
    let net = Session::new(match start {
        Some(start) => start.network().clone(),
        None => fresh_network(config, data)?,
    });
    let [c, h, w] = net.image_shape();
    let image = Tensor::full(&[1, c, h, w], 0.0, Precision::F32);
    // Packs the weights.
    net.loss_gradients(&image, &Logit::new(&[0]), &[net.input()], &Rules::exact())?;
    let (weights, packed) = (net.stored_numbers() as u64, net.packed_numbers() as u64);
    let batch = config.batch.min(data.len());
    let chunks = (batch * objective.rows()).div_ceil(TRAINING_CHUNK) as u64;
    let at_work = TRAINING_CHUNK as u64 * chunks.min(threads.max(1) as u64);
    let best = if config.validation.is_some() { 4 } else { 0 };
    let salience = objective.salience().map_or(0, |_| 16 * data.len() * h * w);
    let kept = match objective.keeps_displacements() {
        true => 3 * Displacements::bytes_of(data.len(), c * h * w),
        false => 0,
    };
    let sums = [
        64 << 20,
        weights * (16 + best + (4 * (chunks + 2)).max(32 + 2 * best)),
        8 * packed,
        6 * net.numbers_per_image() as u64 * at_work,
        256 * (batch * c * h * w) as u64,
        16 * ((objective.rows() - 1) * batch * c * h * w) as u64,
        objective.copies() as u64 * (4 * weights + 8 * packed),
        salience as u64,
        kept,
    ];
    Ok(sums.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Split;

    #[test]
    fn more_images_threads_and_weights_take_more() {
        let data = |n: usize| {
            let classes = ["a", "b"].map(str::to_owned).to_vec();
            let labels = (0..n).map(|i| i % 2).collect();
            let pixels = vec![0; n * 64];
            Dataset::new("small", Split::Train, classes, [1, 8, 8], pixels, labels).unwrap()
        };
        let needed = |arch: &str, n: usize, threads: usize, batch: usize| {
            let architecture = fgmf_net::zoo::Architecture::parse(arch).unwrap();
            let objective =
                crate::train::ObjectiveConfig::new("standard", &serde_json::json!({})).unwrap();
            let mut config = TrainConfig::new("", architecture, objective, 0.1);
            config.batch = batch;
            training_bytes(&config, None, &data(n), threads).unwrap()
        };
        let usual = needed("cnn-tiny", 64, 2, 64);
        assert!(needed("cnn-tiny", 64, 1, 64) < usual);
        assert!(needed("cnn-tiny", 32, 2, 64) < usual);
        assert!(needed("cnn-tiny", 64, 2, 32) < usual);
        assert!(needed("cnn-small", 64, 2, 64) > usual);
        let of = |objective: &str| {
            let architecture = fgmf_net::zoo::Architecture::parse("cnn-tiny").unwrap();
            let objective = crate::train::ObjectiveConfig::parse(objective).unwrap();
            let config = TrainConfig::new("", architecture, objective, 0.1);
            training_bytes(&config, None, &data(64), 2).unwrap()
        };
        // Two rows an example, kept displacements, a copy of the network.
        assert!(of("pgd-at") < of("trades") && of("trades") < of("cure"));
        assert!(of("pgd-at") < of("scor-pio") && of("pgd-at") < of("awp"));
        // What there is no work for takes nothing.
        assert_eq!(needed("cnn-tiny", 64, 8, 64), usual);
    }
}
