//! What the methods for transformers share: the attention of every layer, and tokens laid over the
//! image.

use crate::error::{Error, Result};
use crate::explain::parts::layer::{LayerKind, attention_weights, choose_layer};
use crate::explain::parts::map;
use fgmf_net::{Dim, Network, Tensor, ValueId};

/// The attention of a network.
pub(crate) struct Attention {
    /// Softmax outputs in the order of the layers, `[n, …heads, t, t]`.
    pub(crate) layers: Vec<ValueId>,
    /// t.
    pub(crate) tokens: usize,
    /// Rows and columns of tokens.
    grid: [usize; 2],
    /// Tokens in front that have no place in the image.
    prefix: usize,
}

impl Attention {
    /// The attention of every layer, which must be of the same tokens throughout.
    pub(crate) fn of(net: &Network, method: &'static str) -> Result<Self> {
        let layers = attention_weights(net);
        let sides = |id: &ValueId| match net.value(*id).shape[..] {
            [Dim::Batch(_), .., Dim::Fixed(a), Dim::Fixed(b)] => [a, b],
            _ => [0, 0],
        };
        let found: Vec<[usize; 2]> = layers.iter().map(sides).collect();
        let Some(&[tokens, _]) = found.first() else {
            return Err(Error::mismatch(
                method,
                "a network with attention (a softmax over products of tokens)",
                "none",
            ));
        };
        if let Some(other) = found.iter().find(|s| **s != [tokens, tokens]) {
            let expected = format!(
                "attention among the same {tokens} tokens in every layer, [n, heads, \
                    {tokens}, {tokens}]"
            );
            return Err(Error::mismatch(method, expected, format!("{other:?}")));
        }
        let layer = choose_layer(net)?;
        match layer.kind {
            LayerKind::Tokens { h, w, prefix } if prefix + h * w == tokens => Ok(Self {
                layers,
                tokens,
                grid: [h, w],
                prefix,
            }),
            kind => Err(Error::mismatch(
                method,
                format!("{tokens} tokens that lie over the image"),
                format!("{kind:?} at `{}`", layer.name),
            )),
        }
    }

    /// The t x t matrices of one image, head by head.
    pub(crate) fn heads(&self, weights: &Tensor, n: usize) -> Vec<Vec<f64>> {
        let values = weights.to_f64();
        values
            .chunks_exact((values.len() / n).max(1))
            .map(<[f64]>::to_vec)
            .collect()
    }

    /// Map of the image from what flowed from token to token, `[t, t]`: the class token's row, or
    /// the mean of all rows where there is none; resampled (bilinear) and stretched to `[0, 1]`.
    pub(crate) fn map(&self, flow: &[f64], size: [usize; 2]) -> Vec<f64> {
        let t = self.tokens;
        let row: Vec<f64> = match self.prefix {
            0 => (0..t)
                .map(|j| (0..t).map(|i| flow[i * t + j]).sum::<f64>() / t as f64)
                .collect(),
            _ => flow[..t].to_vec(),
        };
        map::min_max(&map::upsample(&row[self.prefix..], self.grid, size))
    }
}

/// A B for matrices `[t, t]`.
pub(crate) fn product(a: &[f64], b: &[f64], t: usize) -> Vec<f64> {
    let mut out = vec![0.0; t * t];
    for (i, row) in out.chunks_exact_mut(t).enumerate() {
        for k in 0..t {
            let factor = a[i * t + k];
            row.iter_mut()
                .zip(&b[k * t..])
                .for_each(|(o, b)| *o += factor * b);
        }
    }
    out
}

/// The identity, `[t, t]`.
pub(crate) fn identity(t: usize) -> Vec<f64> {
    (0..t * t)
        .map(|i| f64::from(u8::from(i / t == i % t)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_rows() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 1.0, 1.0]);
        assert_eq!(product(&a, &b, 2), [2.0, 3.0, 4.0, 7.0]);
        assert_eq!(product(&identity(2), &b, 2), b);
        let of = |prefix, grid, tokens| Attention {
            layers: vec![],
            tokens,
            grid,
            prefix,
        };
        assert_eq!(
            of(0, [1, 2], 2).map(&[0.0, 1.0, 0.0, 3.0], [1, 2]),
            [0.0, 1.0]
        );
        // The class token's row, without itself.
        assert_eq!(
            of(1, [2, 1], 3).map(&[9.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [2, 1]),
            [0.0, 1.0]
        );
    }
}
