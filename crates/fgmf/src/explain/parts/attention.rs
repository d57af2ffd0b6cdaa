//! What the methods for transformers share: the attention of every layer, and tokens laid over the
//! image.

use crate::error::{Error, Result};
use crate::explain::parts::layer::{
    LayerKind, TokenGrid, answer_tokens, attention_weights, layer_of,
};
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
    /// Tokens that the answer is read from.
    read: Vec<usize>,
}

impl Attention {
    /// The attention of every layer, which must be of the same tokens throughout.
    pub(crate) fn of(net: &Network, method: &'static str, grid: TokenGrid) -> Result<Self> {
        let layers = attention_weights(net);
        let sides = |id: &ValueId| match net.value(*id).shape[..] {
            [Dim::Batch(1), .., Dim::Fixed(a), Dim::Fixed(b)] => Some([a, b]),
            _ => None,
        };
        let found: Vec<_> = layers.iter().map(sides).collect();
        let Some(first) = layers.first() else {
            return Err(Error::mismatch(
                method,
                "a network with attention (a softmax over products of tokens)",
                "none",
            ));
        };
        let shape = |id: &ValueId| {
            let sizes: Vec<String> = net.value(*id).shape.iter().map(Dim::to_string).collect();
            format!("[{}] at `{}`", sizes.join(", "), net.value(*id).name)
        };
        let tokens = found[0].map_or(0, |[t, _]| t);
        let other = |(_, sides): &(&ValueId, &Option<[usize; 2]>)| **sides != Some([tokens; 2]);
        if let Some((id, _)) = layers.iter().zip(&found).find(other) {
            return Err(Error::mismatch(
                method,
                "attention among the same tokens in every layer, [n, heads, t, t]",
                format!("{} and {}", shape(first), shape(id)),
            ));
        }
        let layer = layer_of(net, None, grid)?;
        match layer.kind {
            LayerKind::Tokens { h, w, prefix } if prefix + h * w <= tokens => Ok(Self {
                read: answer_tokens(net, tokens),
                layers,
                tokens,
                grid: [h, w],
                prefix,
            }),
            kind => Err(Error::mismatch(
                method,
                format!("{tokens} tokens that lie over the image"),
                format!("{kind} at `{}`", layer.name),
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

    /// Map of the image from what flowed from token to token, `[t, t]`: the mean row of the tokens
    /// that the answer is read from; resampled (bilinear) and stretched to `[0, 1]`.
    pub(crate) fn map(&self, flow: &[f64], size: [usize; 2]) -> Vec<f64> {
        let t = self.tokens;
        let mean = |j: usize| {
            self.read.iter().map(|&i| flow[i * t + j]).sum::<f64>() / self.read.len() as f64
        };
        let [h, w] = self.grid;
        let row: Vec<f64> = (self.prefix..self.prefix + h * w).map(mean).collect();
        map::min_max(&map::upsample(&row, self.grid, size))
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
        let of = |prefix, grid, tokens, read: &[usize]| Attention {
            layers: vec![],
            tokens,
            grid,
            prefix,
            read: read.to_vec(),
        };
        assert_eq!(
            of(0, [1, 2], 2, &[0, 1]).map(&[0.0, 1.0, 0.0, 3.0], [1, 2]),
            [0.0, 1.0]
        );
        // The class token's row, without itself.
        assert_eq!(
            of(1, [2, 1], 3, &[0]).map(&[9.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [2, 1]),
            [0.0, 1.0]
        );
    }
}
