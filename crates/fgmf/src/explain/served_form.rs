//! Served form: any explainer, and of its map only what a server gives out: few cells, few bits,
//! with or without signs.
//!
//! Three steps. (1) Sign: `signed` keeps the map M; `unsigned` takes |M|; `positive` takes max(M,
//! 0). (2) Size: the map becomes k x k cells, each the mean of the map over its area, with k =
//! min(side, h, w); without `side` it keeps its size. (3) Bits: with v a cell divided by the
//! largest |cell|, and L = 2^bits − 1 levels of an unsigned map, v becomes round(v L) / L. A signed
//! map has L = 2^(bits − 1) − 1 levels on each side of 0; with one bit only the sign of v is left,
//! and 0 counts as positive. Without `bits` cells stay as they are. The map that is shown is that
//! of the cells, resampled (bilinear) to h x w.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `side` | 14 | most rows and columns of cells, 1 or more, or none |
//! | `bits` | 3 | bits a cell, 1 to 8, or none |
//! | `sign` | `positive` | `signed`, `unsigned`, `positive` |
//! | `inner` | `gradient-x-input` | id and parameters of any explainer |
//!
//! Values in `[-1, 1]`, or `[0, 1]` without signs; in the unit of the inner map without `bits`.
//! Bits served: k² times `bits`, 32 a cell without `bits`. The largest |cell| is not served. Cost:
//! that of the inner method.
//!
//! Differences from the papers on leaking explanations: they add noise to maps, or clip them. Here
//! nothing is drawn, so that a server that is asked twice gives nothing away by it. Reference:
//! `quan2022`, whose attacks such a map is to be of no use to.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod, Inner, Make};
use crate::explain::parts::map::{area_means, upsample};
use crate::model::access::Gradients;
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "served-form",
    line: "Gives of another method's map only few cells of few bits.",
    revision: 1,
    reference: "quan2022",
    example: r#"{"side": 7, "bits": 2, "sign": "positive", "inner": {"id": "saliency"}}"#,
    build: |settings, make| Ok(Box::new(read::<ServedFormParams>(settings)?.check(make)?)),
}];

/// What is left of the signs of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapSign {
    /// Both signs.
    Signed,
    /// Magnitudes.
    Unsigned,
    /// Evidence for the class; what speaks against it is 0.
    Positive,
}

impl std::str::FromStr for MapSign {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "signed" => Ok(Self::Signed),
            "unsigned" => Ok(Self::Unsigned),
            "positive" => Ok(Self::Positive),
            _ => Err(Error::parameter(
                "map-sign",
                "signed, unsigned or positive",
                word,
            )),
        }
    }
}

/// Settings of [`ServedForm`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServedFormParams {
    /// Most rows and columns of cells; `None` for the size of the image.
    pub side: Option<usize>,
    /// Bits a cell; `None` for the cells as they are.
    pub bits: Option<u8>,
    /// What is left of the signs.
    pub sign: MapSign,
    /// The explainer.
    pub inner: Inner,
}

impl Default for ServedFormParams {
    fn default() -> Self {
        Self {
            side: Some(14),
            bits: Some(3),
            sign: MapSign::Positive,
            inner: Inner {
                id: "gradient-x-input".into(),
                parameters: serde_json::json!({}),
            },
        }
    }
}

impl ServedFormParams {
    /// The checked wrapper.
    pub fn check(self, make: &Make) -> Result<ServedForm> {
        let inner = make(&self.inner)?;
        self.around(inner)
    }

    /// The checked wrapper around an explainer that exists already. It does not look at `inner`.
    pub fn around(self, inner: Box<dyn Explainer>) -> Result<ServedForm> {
        if self.side == Some(0) {
            return Err(Error::parameter("side", "1 or more", 0));
        }
        if let Some(bits) = self.bits.filter(|b| !(1..=8).contains(b)) {
            return Err(Error::parameter("bits", "1 to 8", bits));
        }
        Ok(ServedForm {
            params: self,
            inner,
        })
    }

    /// Rows and columns of the cells of a map of this size.
    fn cells(&self, [h, w]: [usize; 2]) -> [usize; 2] {
        self.side.map_or([h, w], |side| [side.min(h).min(w); 2])
    }

    /// Bits served with a map of this size.
    pub fn bits_served(&self, size: [usize; 2]) -> usize {
        let [rows, columns] = self.cells(size);
        rows * columns * self.bits.map_or(32, usize::from)
    }

    /// What is shown of a map `[h, w]`: the cells that are served, put back to the size of the map.
    ///
    /// Values that are not finite stay so, or spread over what is shown.
    pub fn shown(&self, map: &[f64], size: [usize; 2]) -> Vec<f64> {
        let signed = |v: &f64| match self.sign {
            MapSign::Signed => *v,
            MapSign::Unsigned => v.abs(),
            // `max` would drop a value that is no number.
            MapSign::Positive if *v < 0.0 => 0.0,
            MapSign::Positive => *v,
        };
        let kept: Vec<f64> = map.iter().map(signed).collect();
        let to = self.cells(size);
        let mut cells = area_means(&kept, size, to);
        if let Some(bits) = self.bits {
            quantise(&mut cells, bits, self.sign == MapSign::Signed);
        }
        upsample(&cells, to, size)
    }
}

/// Cells as the multiples of the largest magnitude that so many bits can tell; cells that are all 0
/// stay so.
fn quantise(cells: &mut [f64], bits: u8, signed: bool) {
    let largest = cells.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if largest <= 0.0 {
        return;
    }
    let levels = match (signed, bits) {
        (true, 1) => {
            let sign = |v: f64| {
                if v.is_nan() {
                    v
                } else {
                    1f64.copysign(v + 0.0)
                }
            };
            return cells.iter_mut().for_each(|v| *v = sign(*v));
        }
        (true, bits) => f64::from((1u16 << (bits - 1)) - 1),
        (false, bits) => f64::from((1u16 << bits) - 1),
    };
    cells
        .iter_mut()
        .for_each(|v| *v = (*v / largest * levels).round() / levels);
}

/// An explainer of whose maps a server gives a reduced form.
pub struct ServedForm {
    params: ServedFormParams,
    inner: Box<dyn Explainer>,
}

impl ServedForm {
    /// Its settings; `inner` may be another than what was wrapped.
    pub fn settings(&self) -> &ServedFormParams {
        &self.params
    }
}

impl Explainer for ServedForm {
    fn id(&self) -> &'static str {
        "served-form"
    }

    fn parameters(&self) -> serde_json::Value {
        let ServedFormParams {
            side, bits, sign, ..
        } = &self.params;
        let inner =
            serde_json::json!({ "id": self.inner.id(), "parameters": self.inner.parameters() });
        serde_json::json!({ "side": side, "bits": bits, "sign": sign, "inner": inner })
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        let mut found = self.inner.attribute(model, x, targets, context)?;
        for a in &mut found {
            let size = [a.values.height, a.values.width];
            let map: Vec<f64> = a.values.values.iter().map(|&v| f64::from(v)).collect();
            let shown = self.params.shown(&map, size);
            a.values.values = shown.into_iter().map(|v| v as f32).collect();
            a.signed &= self.params.sign == MapSign::Signed;
            // What is said of the inner map does not hold of what is left of it.
            (a.method, a.completeness_gap, a.disagreement) = (self.id(), None, None);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(side: Option<usize>, bits: Option<u8>, sign: MapSign) -> ServedFormParams {
        ServedFormParams {
            side,
            bits,
            sign,
            ..ServedFormParams::default()
        }
    }

    fn near(a: &[f64], b: &[f64]) {
        let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(same, "{a:?} against {b:?}");
    }

    /// Nothing asked for is nothing changed; a side above the image's is that of the image.
    #[test]
    fn the_whole_form_is_the_map() {
        let map: Vec<f64> = (0..12).map(|i| f64::from(i * 7 % 5) - 2.0).collect();
        near(&form(None, None, MapSign::Signed).shown(&map, [3, 4]), &map);
        let square = &map[..9];
        near(
            &form(Some(20), None, MapSign::Signed).shown(square, [3, 3]),
            square,
        );
        let plain: Vec<f64> = map.iter().map(|v| v.abs()).collect();
        near(
            &form(None, None, MapSign::Unsigned).shown(&map, [3, 4]),
            &plain,
        );
        let positive: Vec<f64> = map.iter().map(|v| v.max(0.0)).collect();
        near(
            &form(None, None, MapSign::Positive).shown(&map, [3, 4]),
            &positive,
        );
    }

    /// As many different values as the bits can tell, the ends among them, and no more.
    #[test]
    fn bits_tell_so_many_levels() {
        for bits in 1..=8u8 {
            let mut cells: Vec<f64> = (0..=2000).map(|i| f64::from(i) / 1000.0).collect();
            quantise(&mut cells, bits, false);
            cells.dedup();
            assert_eq!(cells.len(), 1 << bits, "{bits}");
            near(&[cells[0], cells[cells.len() - 1]], &[0.0, 1.0]);
            let mut cells: Vec<f64> = (-2000..=2000).map(|i| f64::from(i) / 1000.0).collect();
            quantise(&mut cells, bits, true);
            cells.dedup();
            let levels = if bits == 1 { 2 } else { (1 << bits) - 1 };
            assert_eq!(cells.len(), levels, "{bits} signed");
            near(&[cells[0], cells[cells.len() - 1]], &[-1.0, 1.0]);
        }
        // A map that was quantised already comes back as it is.
        let map = [0.0, 3.0 / 7.0, 1.0, 5.0 / 7.0];
        near(
            &form(None, Some(3), MapSign::Unsigned).shown(&map, [2, 2]),
            &map,
        );
        near(
            &form(Some(1), Some(3), MapSign::Signed).shown(&[0.0; 4], [2, 2]),
            &[0.0; 4],
        );
    }

    #[test]
    fn what_is_served_is_counted() {
        let served = |side, bits| form(side, bits, MapSign::Signed).bits_served([28, 28]);
        assert_eq!(served(Some(14), Some(3)), 588);
        assert_eq!(served(Some(7), Some(1)), 49);
        assert_eq!(served(None, None), 28 * 28 * 32);
        assert_eq!(
            form(Some(14), Some(1), MapSign::Positive).bits_served([8, 12]),
            64
        );
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, part) in [
            (serde_json::json!({"side": 0}), "side"),
            (serde_json::json!({"bits": 0}), "bits"),
            (serde_json::json!({"bits": 9}), "bits"),
            (serde_json::json!({"sign": "both"}), "sign"),
            (serde_json::json!({"inner": {"id": "magic"}}), "magic"),
        ] {
            let refused = crate::explain::with_parameters("served-form", settings);
            let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(part), "{message}");
        }
        assert!("none".parse::<MapSign>().is_err());
        assert_eq!("positive".parse::<MapSign>().unwrap(), MapSign::Positive);
    }
}
