//! Settings of PGCA; what they do is written in `method.rs`.

use crate::explain::base::Inner;
use crate::explain::parts::perturbation::Score;
use crate::explain::pgca::consensus::{Fusion, Scale};
use serde::{Deserialize, Serialize};

/// Settings of [`Pgca`](crate::explain::Pgca).
///
/// | field | `pgca` | `pgca-published` | range |
/// | --- | --- | --- | --- |
/// | `layer` | by rule | by rule | name of a value of the graph |
/// | `token_grid` | by rule | by rule | rows and columns of tokens, 1 or more each |
/// | `grid` | by rule | by rule | rows and columns of cells, each 1 to 256 |
/// | `levels` | 1 | 1 | 1 to 8 grids, each with twice the cells a side of the one before |
/// | `overlap` | true | false | windows half a cell further, too |
/// | `signed` | true | false | a rise of the score counts, as evidence against the class |
/// | `score` | logit | logit | logit, log-probability, probability |
/// | `zero` | false | true | at least one fill in all |
/// | `noise_draws` | 0 | 2 | 0 to 100 |
/// | `noise_mean` | 0 | 0 | finite, input units |
/// | `noise_sigma` | 0.25 | 0.25 | 0 or more and finite, input units |
/// | `blur` | 4 | 0: no such fill | 0 to 100, deviation in pixels of the blurred image |
/// | `gradient` | GradientSHAP | null: Grad-CAM++ | an explainer: `{"id": …, "parameters": {…}}` |
/// | `fusion` | mean | consensus | consensus, amplify, product, mean, least-squares |
/// | `others` | by rule | by rule | with `least-squares`: up to 2 explainers |
/// | `mu` | by rule | by rule | with `least-squares`: 1e-8 to 1e12 |
/// | `scale` | percentile | percentile | percentile, rank |
/// | `weight` | 0.5 | 0.5 | 0 to 1, of the gradient map in the mean |
/// | `percentiles` | 1, 99 | 1, 99 | 0 to 100, increasing |
/// | `kappa` | 1 | 1 | 0 to 100 |
/// | `flat` | 10⁻⁶ | 10⁻⁶ | 0 to 1, deviation of G relative to its maximum |
/// | `rho_min` | −1 | 0.2 | −1 to 1 |
/// | `rho_show` | −1 | 0 | −1 to 1; −1 withholds nothing |
/// | `contrast_quantile` | 0.8 | 0.8 | 0 to 1 |
/// | `contrast_width` | 100 | 0.25 | 0 to 100, interquartile ranges |
/// | `gamma` | 1 | 1 | 0.1 to 10 |
/// | `smoothing` | 0 | 0.5 | 0 to 8, sides of a cell |
/// | `smooth_first` | false | false | whether C is smoothed before the contrast, not after |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PgcaParams {
    /// Value of the graph for Grad-CAM++.
    pub layer: Option<String>,
    /// Rows and columns of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_grid: Option<[usize; 2]>,
    /// Rows and columns of cells.
    pub grid: Option<[usize; 2]>,
    /// Grids.
    pub levels: usize,
    /// Whether windows overlap by half.
    pub overlap: bool,
    /// Whether rises count.
    pub signed: bool,
    /// What falls.
    pub score: Score,
    /// Whether zero is one of the fills.
    pub zero: bool,
    /// Noise fills.
    pub noise_draws: usize,
    /// Mean of the noise.
    pub noise_mean: f64,
    /// Deviation of the noise.
    pub noise_sigma: f64,
    /// Deviation of the blur that fills.
    pub blur: f64,
    /// The gradient map.
    pub gradient: Option<Inner>,
    /// How the maps become one.
    pub fusion: Fusion,
    /// Further maps of the fusion by least squares: `deep-shap` and `layer-cam` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<Vec<Inner>>,
    /// How strongly weights are held together, in mean square lengths of what the maps say. Chosen
    /// by windows left out unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mu: Option<f64>,
    /// How each map is brought to a common scale.
    pub scale: Scale,
    /// Share of the gradient map in the mean.
    pub weight: f64,
    /// Percentiles that become 0 and 1.
    pub percentiles: [f64; 2],
    /// Weight of balance between P and G.
    pub kappa: f64,
    /// Relative deviation at and below which G counts as flat.
    pub flat: f64,
    /// Agreement below which P stands alone.
    pub rho_min: f64,
    /// Agreement below which the map is withheld.
    pub rho_show: f64,
    /// Quantile of C at the middle of the sigmoid.
    pub contrast_quantile: f64,
    /// Width of the sigmoid.
    pub contrast_width: f64,
    /// Exponent after the sigmoid.
    pub gamma: f64,
    /// Deviation of the smoothing.
    pub smoothing: f64,
    /// Whether smoothing comes before contrast.
    pub smooth_first: bool,
}

impl Default for PgcaParams {
    /// The form that was chosen on training images for LeRF minus MoRF under linear imputation: the
    /// fall of the logit, with its sign, where overlapping cells are blurred (deviation 4 pixels),
    /// averaged with GradientSHAP; no smoothing, almost linear contrast, no fallback.
    ///
    /// It departs from the source: neither of its fills, another gradient map than Grad-CAM++, and
    /// a mean, which is no consensus.
    fn default() -> Self {
        Self {
            overlap: true,
            signed: true,
            zero: false,
            noise_draws: 0,
            blur: 4.0,
            gradient: Some(Inner {
                id: "gradient-shap".into(),
                parameters: serde_json::json!({}),
            }),
            fusion: Fusion::Mean,
            rho_min: -1.0,
            rho_show: -1.0,
            contrast_width: 100.0,
            smoothing: 0.0,
            ..Self::published()
        }
    }
}

impl PgcaParams {
    /// The parts that the source names.
    pub fn published() -> Self {
        Self {
            layer: None,
            token_grid: None,
            grid: None,
            levels: 1,
            overlap: false,
            signed: false,
            score: Score::Logit,
            zero: true,
            noise_draws: 2,
            noise_mean: 0.0,
            noise_sigma: 0.25,
            blur: 0.0,
            gradient: None,
            fusion: Fusion::Consensus,
            others: None,
            mu: None,
            scale: Scale::Percentile,
            weight: 0.5,
            percentiles: [1.0, 99.0],
            kappa: 1.0,
            flat: 1e-6,
            rho_min: 0.2,
            rho_show: 0.0,
            contrast_quantile: 0.8,
            contrast_width: 0.25,
            gamma: 1.0,
            smoothing: 0.5,
            smooth_first: false,
        }
    }
}
