//! One list of all methods. The generated pages in `docs/methods/` and the checks that no method
//! file is forgotten read it.

/// Kind of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Breaks models.
    Attack,
    /// Rewrites models.
    Defence,
    /// Trains models.
    Objective,
    /// Explains models.
    Explainer,
    /// Scores explanations.
    Metric,
}

/// A method.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Id in kebab case, as on the command line and in records.
    pub id: &'static str,
    /// Kind.
    pub family: Family,
    /// Raised by one whenever the method's numbers may change.
    pub revision: u32,
    /// Key in `REFERENCES.bib`.
    pub reference: &'static str,
    /// Its file, below `src`.
    pub file: &'static str,
    /// Text of that file; the page is its leading comment.
    pub source: &'static str,
}

impl Method {
    /// The method's page: the leading comment of its file, as Markdown.
    pub fn page(&self) -> String {
        let lines = self.source.lines().take_while(|l| l.starts_with("//!"));
        let text: Vec<&str> = lines
            .map(|l| l.trim_start_matches("//!").strip_prefix(' ').unwrap_or(""))
            .collect();
        format!(
            "# `{}`\n\nFamily: {:?}. Revision: {}. Reference: `{}` in `REFERENCES.bib`. \
                Code: `crates/fgmf/src/{}`, whose leading comment this page is.\n\n{}\n",
            self.id,
            self.family,
            self.revision,
            self.reference,
            self.file,
            text.join("\n")
        )
    }
}

macro_rules! method {
    ($id:literal, $family:ident, $revision:literal, $reference:literal, $file:literal) => {
        Method {
            id: $id,
            family: Family::$family,
            revision: $revision,
            reference: $reference,
            file: $file,
            source: include_str!($file),
        }
    };
}

/// All methods, by family.
pub const METHODS: [Method; 73] = [
    method!("pgd", Attack, 2, "madry2018", "attack/pgd.rs"),
    method!("apgd", Attack, 1, "croce2020", "attack/apgd/method.rs"),
    method!("fab", Attack, 1, "croce2020a", "attack/fab/method.rs"),
    method!(
        "square",
        Attack,
        1,
        "andriushchenko2020",
        "attack/square/method.rs"
    ),
    method!("eot", Attack, 2, "athalye2018", "attack/eot.rs"),
    method!(
        "random-search",
        Attack,
        1,
        "athalye2018",
        "attack/random.rs"
    ),
    method!("mi-fgsm", Attack, 1, "dong2018", "attack/mi_fgsm.rs"),
    method!("smooth", Attack, 1, "tramer2020", "attack/smooth.rs"),
    method!("carlini-wagner", Attack, 1, "carlini2017", "attack/cw.rs"),
    method!("deepfool", Attack, 1, "moosavi2016", "attack/deepfool.rs"),
    method!("ddn", Attack, 1, "rony2019", "attack/ddn.rs"),
    method!("fmn", Attack, 1, "pintor2021", "attack/fmn.rs"),
    method!("nes", Attack, 1, "ilyas2018", "attack/nes.rs"),
    method!("spsa", Attack, 1, "uesato2018", "attack/spsa.rs"),
    method!("evolution", Attack, 1, "meunier2019", "attack/evolution.rs"),
    method!(
        "hop-skip-jump",
        Attack,
        1,
        "chen2020",
        "attack/hop_skip_jump.rs"
    ),
    method!("transfer", Attack, 1, "papernot2017", "attack/transfer.rs"),
    method!("sgam", Defence, 1, "islam2024", "defend/sgam.rs"),
    method!("bit-depth", Defence, 1, "xu2018", "defend/bit_depth.rs"),
    method!("jpeg", Defence, 1, "guo2018", "defend/jpeg.rs"),
    method!(
        "thermometer",
        Defence,
        1,
        "buckman2018",
        "defend/thermometer.rs"
    ),
    method!(
        "logit-scaling",
        Defence,
        1,
        "papernot2016",
        "defend/logit_scaling.rs"
    ),
    method!("k-wta", Defence, 1, "xiao2020", "defend/k_wta.rs"),
    method!(
        "lying-gate",
        Defence,
        1,
        "athalye2018",
        "defend/lying_gate.rs"
    ),
    method!("additive-noise", Defence, 1, "liu2018", "defend/noise.rs"),
    method!("resize-pad", Defence, 1, "xie2018", "defend/resize_pad.rs"),
    method!(
        "standard",
        Objective,
        1,
        "goodfellow2015",
        "train/standard.rs"
    ),
    method!("pgd-at", Objective, 1, "madry2018", "train/pgd_at.rs"),
    method!(
        "distillation",
        Objective,
        1,
        "papernot2016",
        "train/distillation.rs"
    ),
    method!(
        "scor-pio",
        Objective,
        1,
        "tsiligkaridis2020",
        "train/scorpio.rs"
    ),
    method!(
        "saliency",
        Explainer,
        1,
        "simonyan2014",
        "explain/saliency.rs"
    ),
    method!(
        "gradient-x-input",
        Explainer,
        1,
        "shrikumar2016",
        "explain/gradient_x_input.rs"
    ),
    method!(
        "guided-backprop",
        Explainer,
        1,
        "springenberg2015",
        "explain/guided_backprop.rs"
    ),
    method!(
        "integrated-gradients",
        Explainer,
        1,
        "sundararajan2017",
        "explain/integrated_gradients.rs"
    ),
    method!(
        "gradient-shap",
        Explainer,
        1,
        "erion2021",
        "explain/gradient_shap.rs"
    ),
    method!(
        "deep-lift",
        Explainer,
        1,
        "shrikumar2017",
        "explain/deep_lift.rs"
    ),
    method!(
        "deep-shap",
        Explainer,
        1,
        "lundberg2017",
        "explain/deep_shap.rs"
    ),
    method!("lrp-epsilon", Explainer, 1, "bach2015", "explain/lrp.rs"),
    method!("lrp-alpha-beta", Explainer, 1, "bach2015", "explain/lrp.rs"),
    method!(
        "grad-cam",
        Explainer,
        1,
        "selvaraju2017",
        "explain/grad_cam.rs"
    ),
    method!(
        "grad-cam-pp",
        Explainer,
        1,
        "chattopadhay2018",
        "explain/grad_cam_pp.rs"
    ),
    method!(
        "layer-cam",
        Explainer,
        1,
        "jiang2021",
        "explain/layer_cam.rs"
    ),
    method!(
        "score-cam",
        Explainer,
        1,
        "wang2020",
        "explain/score_cam.rs"
    ),
    method!(
        "occlusion",
        Explainer,
        1,
        "zeiler2014",
        "explain/occlusion.rs"
    ),
    method!("rise", Explainer, 1, "petsiuk2018", "explain/rise.rs"),
    method!(
        "kernel-shap",
        Explainer,
        1,
        "lundberg2017",
        "explain/kernel_shap.rs"
    ),
    method!(
        "attention-rollout",
        Explainer,
        1,
        "abnar2020",
        "explain/attention_rollout.rs"
    ),
    method!(
        "transformer-attribution",
        Explainer,
        1,
        "chefer2021",
        "explain/transformer_attribution.rs"
    ),
    method!("pgca", Explainer, 1, "islam2024", "explain/pgca/method.rs"),
    method!(
        "smooth-grad",
        Explainer,
        1,
        "smilkov2017",
        "explain/noise_tunnel.rs"
    ),
    method!(
        "square-grad",
        Explainer,
        1,
        "hooker2019",
        "explain/noise_tunnel.rs"
    ),
    method!(
        "var-grad",
        Explainer,
        1,
        "adebayo2018",
        "explain/noise_tunnel.rs"
    ),
    method!(
        "contrast",
        Explainer,
        1,
        "prabhushankar2020",
        "explain/contrast.rs"
    ),
    method!("deletion", Metric, 1, "petsiuk2018", "metric/deletion.rs"),
    method!("insertion", Metric, 1, "petsiuk2018", "metric/insertion.rs"),
    method!(
        "lerf-minus-morf",
        Metric,
        1,
        "bluecher2024",
        "metric/lerf_morf.rs"
    ),
    method!("road", Metric, 1, "rong2022", "metric/road.rs"),
    method!("infidelity", Metric, 1, "yeh2019", "metric/infidelity.rs"),
    method!(
        "faithfulness-correlation",
        Metric,
        1,
        "bhatt2020",
        "metric/faithfulness_correlation.rs"
    ),
    method!(
        "sensitivity-n",
        Metric,
        1,
        "ancona2018",
        "metric/sensitivity_n.rs"
    ),
    method!(
        "sufficiency",
        Metric,
        1,
        "deyoung2020",
        "metric/sufficiency.rs"
    ),
    method!(
        "attacked-stability",
        Metric,
        3,
        "ghorbani2019",
        "metric/attacked_stability.rs"
    ),
    method!(
        "map-shift",
        Metric,
        1,
        "ghorbani2019",
        "metric/map_shift.rs"
    ),
    method!(
        "max-sensitivity",
        Metric,
        1,
        "yeh2019",
        "metric/max_sensitivity.rs"
    ),
    method!(
        "relative-stability",
        Metric,
        1,
        "agarwal2022",
        "metric/relative_stability.rs"
    ),
    method!(
        "sparseness",
        Metric,
        1,
        "chalasani2020",
        "metric/sparseness.rs"
    ),
    method!("entropy", Metric, 1, "bhatt2020", "metric/entropy.rs"),
    method!("mosaic", Metric, 1, "boehle2021", "metric/mosaic.rs"),
    method!("mprt", Metric, 1, "adebayo2018", "metric/mprt.rs"),
    method!(
        "smooth-mprt",
        Metric,
        1,
        "hedstroem2023",
        "metric/smooth_mprt.rs"
    ),
    method!(
        "efficient-mprt",
        Metric,
        1,
        "hedstroem2023",
        "metric/efficient_mprt.rs"
    ),
    method!("criteria", Metric, 1, "islam2024", "metric/criteria.rs"),
    method!(
        "certified-top-k",
        Metric,
        1,
        "levine2019",
        "metric/certified_top_k.rs"
    ),
];

/// `docs/methods/README.md`.
pub fn index() -> String {
    let row = |m: &Method| {
        format!(
            "| [`{0}`]({0}.md) | {1:?} | {2} | `{3}` |",
            m.id, m.family, m.revision, m.reference
        )
    };
    let rows: Vec<String> = METHODS.iter().map(row).collect();
    format!(
        "# Methods\n\nGenerated from `crates/fgmf/src/registry.rs`; `UPDATE_DOCS=1 cargo \
            test --release -p fgmf --test it` writes it anew.\n\n| method | family | \
            revision | reference |\n| --- | --- | --- | --- |\n{}\n",
        rows.join("\n")
    )
}
