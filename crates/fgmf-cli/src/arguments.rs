//! What can be typed.

use crate::radius::radius;
use crate::team_arguments::Agents;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};
use fgmf::registry::METHODS;
use std::path::PathBuf;

/// Takes these ids, each with what its method says of itself, and some further words.
fn known(ids: &[&'static str], words: &[(&'static str, &'static str)]) -> PossibleValuesParser {
    let line = |id: &&str| METHODS.iter().find(|m| m.id == *id).map_or("", |m| m.line);
    let methods = ids.iter().map(|id| (*id, line(id)));
    let all = words.iter().copied().chain(methods);
    all.map(|(id, line)| PossibleValue::new(id).help(line))
        .into()
}

/// Rows x columns such as 5x5, a side such as 5, or a share of the image such as 2%.
fn patch(text: &str) -> Result<PatchSize, String> {
    let share = text.strip_suffix('%').map(|s| s.trim().parse::<f64>());
    if let Some(share) = share {
        let share = share.map_err(|e| e.to_string())?;
        return Ok(PatchSize::Share(share / 100.0));
    }
    let side = text.parse().ok().map(|side| [side, side]);
    let sides = side.or_else(|| grid(text).ok()).map(PatchSize::Sides);
    sides.ok_or_else(|| "expected rows x columns such as 5x5, or a share such as 2%".to_owned())
}

/// How large a patch is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PatchSize {
    /// Rows and columns.
    Sides([usize; 2]),
    /// A square of this share of the image.
    Share(f64),
}

/// Rows and columns, such as 2x8.
fn grid(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once(['x', 'X']);
    let sides = sides.and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides
        .filter(|sides| !sides.contains(&0))
        .ok_or_else(|| "expected rows x columns, such as 2x8".to_owned())
}

const ALL_METRICS: (&str, &str) = ("all", "Every one but certified-top-k, which is slow.");

const ALL_METHODS: (&str, &str) = ("all", "Every one that applies to the model.");

/// Makes image classifiers robust, attacks them, and shows which pixels their answers rest on.
///
/// A gallery of a picture, with a model of your own:
///
///     fgmf explain model.onnx photo.png --out maps
///
/// Everything at once, on embedded images, in a minute or two:
///
///     fgmf demo
#[derive(Debug, Parser)]
#[command(name = "fgmf", version, max_term_width = 110, verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Threads; all cores if not given. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", help_heading = "Every command")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Print results as JSON.
    #[arg(long, global = true, help_heading = "Every command")]
    pub(crate) json: bool,
    /// No progress on standard error.
    #[arg(long, global = true, help_heading = "Every command")]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train, attack and explain a hardened model and a standard one on embedded images; write one
    /// HTML report.
    Demo(Demo),
    /// Train a network; writes model.onnx, run.json and log.jsonl.
    Train(Train),
    /// Make a model of your own robust: trains it further and writes the same file with other
    /// numbers, model.onnx, and a page that shows it before and after, report.html.
    Harden(Harden),
    /// Attack a model; writes attack.json and adversarial.safetensors.
    Attack(Attack),
    /// Prove that no patch, or no change of a norm, can change a model's answers; writes
    /// certify.json and certify.html.
    Certify(Certify),
    /// Explain what a model sees in images; writes gallery.html, a page (PNG) an image, and every
    /// map (PNG, JSON).
    Explain(Explain),
    /// Score explainers on clean and attacked images, side by side; writes evaluation.json.
    Evaluate(Evaluate),
    /// Teach a model to draw its own maps, for the cost of a forward pass: writes the same model
    /// with maps beside its scores, model.onnx, for `--explainers sgam`.
    Amortise(Amortise),
    /// Find from which agreement on maps are shown, so that few of them are bad; writes
    /// calibration.json for `explain --calibration`.
    Calibrate(Calibrate),
    /// Classify images: class names, probabilities, accuracy where labels are known.
    Predict(Predict),
    /// Measure what a policy asks for, and hold it against the policy's thresholds; writes a folder
    /// of evidence that others can check.
    Audit(Audit),
    /// Make a pair of keys for `sign`.
    Keygen(Keygen),
    /// Sign an audit; writes bundle.sigstore.json.
    Sign(Sign),
    /// Check an audit: signature, digests, every stored image, and a sample of searches.
    Verify(Verify),
    /// Two audits of the same images side by side, with paired tests.
    Compare(Compare),
    /// Show a model's graph, parameters, inputs and cost.
    Info(Info),
    /// Train, attack and explain teams of agents.
    Agents(Agents),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Folder for models, records and report.html.
    #[arg(long, default_value = "fgmf-demo")]
    pub(crate) out: PathBuf,
    /// Seed of everything.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The whole report in under a minute: fewer epochs and images, said so on the page.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Epochs of each model [default: 30, quick: 10].
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// Use only the first N training images [default: all, quick: 2000].
    #[arg(long)]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    /// `fashion-mnist-mini`, or a folder of IDX files, CIFAR-10 batches, or images in a folder per
    /// class.
    #[arg(long, required_unless_present = "config")]
    pub(crate) data: Option<String>,
    /// Folder for the results; run again with the same settings to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Network: cnn-tiny, cnn-small, preact-resnet18, wrn-28-10, vit-tiny, convvit-tiny.
    #[arg(long, default_value = "cnn-tiny")]
    pub(crate) arch: String,
    /// Nonlinearity: relu, gelu, softplus.
    #[arg(long, default_value = "relu")]
    pub(crate) activation: String,
    /// Objective.
    #[arg(long, default_value = "scor-pio", value_parser = known(&fgmf::train::ids(), &[]))]
    pub(crate) objective: String,
    /// Put the SGAM mask layer in front.
    #[arg(long)]
    pub(crate) sgam: bool,
    /// Replace rectifiers by k-winners-take-all with this share of winners (a planted defence).
    #[arg(long, value_name = "SHARE")]
    pub(crate) k_wta: Option<f64>,
    /// Resize and pad each training image at random, down to this share of its size (for a planted
    /// defence).
    #[arg(long, value_name = "LEAST")]
    pub(crate) resize_pad: Option<f64>,
    /// Hide two random masks of each training image, those that hide a patch of this size: for a
    /// network that `certify` is to prove.
    #[arg(long, value_name = "RxC", value_parser = grid)]
    pub(crate) mask_augment: Option<[usize; 2]>,
    /// With --mask-augment: masks along each axis.
    #[arg(long, value_name = "N", default_value_t = 6, requires = "mask_augment")]
    pub(crate) masks: usize,
    /// With --mask-augment: what stands in the place of hidden pixels, a value or `outside`.
    #[arg(long, default_value = "0.5", requires = "mask_augment")]
    pub(crate) fill: String,
    /// Temperature of distillation.
    #[arg(long)]
    pub(crate) temperature: Option<f64>,
    /// Model that distillation learns from (ONNX); without one labels are learned, which makes a
    /// teacher.
    #[arg(long, value_name = "FILE")]
    pub(crate) teacher: Option<PathBuf>,
    /// Norm trained against: linf, l2, l1.
    #[arg(long, default_value = "linf")]
    pub(crate) norm: String,
    /// Radius trained against, in pixel units of 0 to 1, such as 0.1 or 8/255.
    #[arg(long, default_value_t = 0.1, value_parser = radius)]
    pub(crate) eps: f64,
    /// Share of the run over which the radius grows, 0 to 1 [default: 0.2; of `ibp` 0.5]
    #[arg(long, value_name = "SHARE")]
    pub(crate) eps_warmup: Option<f64>,
    /// Passes over the data.
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// Examples a step.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Largest learning rate.
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Optimiser: adamw, sgd.
    #[arg(long, default_value = "adamw")]
    pub(crate) optimiser: String,
    /// Learning rate over the run: cyclic, cosine.
    #[arg(long, default_value = "cyclic")]
    pub(crate) schedule: String,
    /// This many training images: the first, or of class folders some of each class.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Most memory of the process in MiB; refused where training takes more [default: three
    /// quarters of what the system has left]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    /// All settings as JSON: a run.json, or the `config` in it. No flag that sets one of them can
    /// stand beside it.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "data", "arch", "activation", "objective", "sgam", "k_wta", "resize_pad", "mask_augment",
        "temperature", "teacher", "norm", "eps", "eps_warmup", "epochs", "batch", "lr", "optimiser",
        "schedule", "limit", "seed",
    ])]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Harden {
    /// Model (ONNX).
    pub(crate) model: PathBuf,
    /// Data, as for `train`: its training part trains, its test part judges.
    #[arg(long)]
    pub(crate) data: String,
    /// Folder for the results; run again with the same settings to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Radius trained against, in pixel units of 0 to 1, such as 0.1 or 8/255.
    #[arg(long, value_parser = radius)]
    pub(crate) eps: f64,
    /// Norm trained against: linf, l2, l1.
    #[arg(long, default_value = "linf")]
    pub(crate) norm: String,
    /// Objective.
    #[arg(long, default_value = "pgd-at", value_parser = known(&fgmf::train::ids(), &[]))]
    pub(crate) objective: String,
    /// Put the SGAM mask layer between preprocessing and graph; the file is then written anew.
    #[arg(long)]
    pub(crate) sgam: bool,
    /// Passes over the training images.
    #[arg(long, default_value_t = 10)]
    pub(crate) epochs: usize,
    /// Examples a step.
    #[arg(long, default_value_t = 64)]
    pub(crate) batch: usize,
    /// Largest learning rate; found by short trials if not given.
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Stored arrays that do not train, by name; `*` stands for any letters.
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',')]
    pub(crate) freeze: Vec<String>,
    /// Mirror half of the training images.
    #[arg(long)]
    pub(crate) flip: bool,
    /// Shift training images at random by up to N pixels.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) shift: usize,
    /// Share of the training images held out, which choose the epoch that is kept.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) validation: f64,
    /// This many training images: the first, or of class folders some of each class.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Test images of the page; 0 writes no page.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) judge: usize,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Most memory of the process in MiB; refused where training takes more [default: three
    /// quarters of what the system has left]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

/// What a model is asked about.
#[derive(Debug, Args)]
pub(crate) struct Inputs {
    /// Images (PNG, JPEG) of the model's size. One that cannot be read is left out, listed at the
    /// end, and makes the exit code 1.
    #[arg(required_unless_present = "data")]
    pub(crate) images: Vec<PathBuf>,
    /// Data instead of single images, as for `train`.
    #[arg(long, conflicts_with = "images")]
    pub(crate) data: Option<String>,
    /// Part of the data: test, train.
    #[arg(long, default_value = "test")]
    pub(crate) split: String,
}

/// What a model expects of its images, where neither the model nor a file beside it says so.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Images as the model takes them")]
pub(crate) struct ModelInput {
    /// Output that gives the scores, by name, where a file has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) output: Option<String>,
    /// Height and width of the images, where a file leaves them free, such as 224x224 or 224.
    #[arg(long, value_name = "HxW", value_parser = fgmf_net::onnx::ReadOptions::parse_size)]
    pub(crate) input_size: Option<[usize; 2]>,
    /// Mean of each channel, in units of --scale, such as 0.485,0.456,0.406; looked for beside the
    /// model if not given.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    pub(crate) mean: Option<Vec<f64>>,
    /// Deviation of each channel, such as 0.229,0.224,0.225.
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    pub(crate) std: Option<Vec<f64>>,
    /// Largest value of a pixel: 1, or 255 for models that take bytes.
    #[arg(long, value_name = "N")]
    pub(crate) scale: Option<f64>,
    /// The model takes blue first.
    #[arg(long)]
    pub(crate) bgr: bool,
    /// Class names in the order of the scores: a name a line, or JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Make pictures fit: cut to the middle, resized, grey or coloured as the model takes them.
    #[arg(long)]
    pub(crate) resize: bool,
    /// With --resize: pictures are scaled until their shorter side is that of the model's images
    /// divided by this, and their middle is cut out, such as 0.875.
    #[arg(long, value_name = "SHARE", requires = "resize")]
    pub(crate) crop_pct: Option<f64>,
    /// With --resize: how pictures are scaled, bilinear or bicubic, as Pillow does it.
    #[arg(long, value_name = "FILTER", requires = "resize")]
    pub(crate) interpolation: Option<fgmf::data::Interpolation>,
    /// Do not compare with other ways to prepare the images.
    #[arg(long)]
    pub(crate) as_it_is: bool,
}

/// How a model behind an address is asked.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Models behind an address (pipe:COMMAND, http://HOST/v2/models/NAME)"
)]
pub(crate) struct Remote {
    /// Most images ever asked about in this run, over kills too; searches end there.
    #[arg(long, value_name = "N")]
    pub(crate) queries: Option<u64>,
    /// Most images a second.
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,
    /// Seconds that a request may take [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
    /// How often a request that failed is sent again, after a wait that doubles [default: 2]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,
    /// Most images in a request [default: 64]
    #[arg(long, value_name = "N")]
    pub(crate) at_once: Option<usize>,
    /// What an http address answers with: logits, probabilities [default: logits]; a command says
    /// it itself.
    #[arg(long)]
    pub(crate) scores: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Attack {
    /// Model (ONNX), or an address: pipe:COMMAND, http://HOST:PORT/v2/models/NAME.
    pub(crate) model: PathBuf,
    /// Data, as for `train`.
    #[arg(long)]
    pub(crate) data: String,
    /// Folder for the results; run again with the same settings to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Part of the data: test, train.
    #[arg(long, default_value = "test")]
    pub(crate) split: String,
    /// This many images: the first, or of class folders some of each class.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Norm: linf, l2, l1.
    #[arg(long, default_value = "linf")]
    pub(crate) norm: String,
    /// Radius, in pixel units of 0 to 1, such as 0.1 or 8/255.
    #[arg(long, default_value_t = 0.1, value_parser = radius)]
    pub(crate) eps: f64,
    /// Attacks: quick, standard (AutoAttack), adaptive (that, and what goes around a defence),
    /// plus, rand; or names of attacks, separated by commas [default: adaptive; of an address
    /// square,nes,hop-skip-jump]
    #[arg(long)]
    pub(crate) suite: Option<String>,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Another model of the same task (ONNX), whose adversarial examples are tried too.
    #[arg(long, value_name = "MODEL")]
    pub(crate) surrogate: Option<PathBuf>,
    /// Exit 1 if the robust accuracy is below this share.
    #[arg(long, value_name = "SHARE")]
    pub(crate) min_robust: Option<f64>,
    /// Stop once it is known whether --min-robust holds; the figures then cover the images done.
    #[arg(long, requires = "min_robust")]
    pub(crate) stop_early: bool,
    /// Also run the whole suite at these radii: a security curve.
    #[arg(long, value_name = "EPS,…", value_delimiter = ',', value_parser = radius)]
    pub(crate) curve: Option<Vec<f64>>,
    /// Exit 1 unless the masking verdict is `trustworthy`.
    #[arg(long)]
    pub(crate) fail_on_masking: bool,
    /// Most memory of the process in MiB, which sets what is done at once; changes no result
    /// [default: three quarters of what the system has left]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) input: ModelInput,
    #[command(flatten)]
    pub(crate) served: Served,
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Most images that all attacks may ask an address about for one image; these are then attacked
    /// one after another. With --served: that each attack may ask about [default there: 1000]
    #[arg(long, value_name = "N")]
    #[arg(help_heading = "Models behind an address (pipe:COMMAND, http://HOST/v2/models/NAME)")]
    pub(crate) queries_per_image: Option<u64>,
}

/// What a server gives beside its scores.
#[derive(Debug, Args)]
#[command(next_help_heading = "What served maps give to attackers by scores")]
pub(crate) struct Served {
    /// Attack by what a server gives, with its maps and without them, and write leakage.json:
    /// scores alone, maps of an explainer, or the mask of an SGAM layer. --suite then takes square,
    /// nes, spsa, evolution [default there: square,nes,evolution]
    #[arg(long, value_name = "WHAT", value_parser = ["scores", "maps", "mask"])]
    pub(crate) served: Option<String>,
    /// Explainer whose maps are served [default: pgca]
    #[arg(long, value_name = "ID", requires = "served")]
    #[arg(value_parser = known(&fgmf::explain::ids(), &[]))]
    pub(crate) served_explainer: Option<String>,
    /// Its settings as JSON, such as '{"signed": true}'.
    #[arg(long, value_name = "JSON", requires = "served_explainer")]
    pub(crate) served_settings: Option<String>,
    /// Rows and columns of the served map, or `full`; of several values each is tried [default: 14]
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "served")]
    pub(crate) map_side: Vec<String>,
    /// Bits a cell, 1 to 8, or `exact` [default: 3]
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "served")]
    pub(crate) map_bits: Vec<String>,
    /// Signs: signed, unsigned (magnitudes), positive (evidence for the class) [default: positive]
    #[arg(
        long,
        value_name = "SIGN,…",
        value_delimiter = ',',
        requires = "served"
    )]
    pub(crate) map_sign: Vec<String>,
    /// Queries of an attack on one image that are answered with a map; the rest have scores alone.
    #[arg(long, value_name = "N", requires = "served")]
    pub(crate) map_budget: Option<u64>,
}

impl Served {
    /// Whether a flag says in which form maps are served.
    pub(crate) fn map_flags(&self) -> bool {
        let lists = [&self.map_side, &self.map_bits, &self.map_sign];
        lists.iter().any(|list| !list.is_empty()) || self.map_budget.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Certify {
    /// Model (ONNX).
    pub(crate) model: PathBuf,
    /// Data, as for `train`.
    #[arg(long)]
    pub(crate) data: String,
    /// Folder for the results; run again with the same settings to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Part of the data: test, train.
    #[arg(long, default_value = "test")]
    pub(crate) split: String,
    /// This many images: the first, or of class folders some of each class.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// What an attacker may do: patch, any values in a rectangle at any place; linf, l2, l1, any
    /// image within --eps in that norm.
    #[arg(long, default_value = "patch", value_parser = ["patch", "linf", "l2", "l1"])]
    pub(crate) threat: String,
    /// With --threat linf, l2, l1: the radius, in pixel units of 0 to 1, such as 0.1 or 8/255.
    #[arg(long, value_parser = radius)]
    #[arg(conflicts_with_all = ["patch", "patches", "masks", "fill", "attack", "settings"])]
    pub(crate) eps: Option<f64>,
    /// With --eps: attacks that are held against the proofs, as for `attack` [default: quick]
    #[arg(long, requires = "eps")]
    pub(crate) suite: Option<String>,
    /// Size of a patch: rows x columns such as 5x5, or a square of a share of the image such as 2%.
    #[arg(long, value_name = "RxC", value_parser = patch, required_unless_present = "eps")]
    pub(crate) patch: Option<PatchSize>,
    /// Patches that the attacker may put at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) patches: usize,
    /// Masks along each axis: more are smaller, prove more, and take longer.
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub(crate) masks: usize,
    /// What stands in the place of hidden pixels: a value in pixel units, or `outside`, the mean of
    /// what stays visible.
    #[arg(long, default_value = "0.5")]
    pub(crate) fill: String,
    /// Also search patches that break the model, and hold them against the proofs.
    #[arg(long, value_name = "ID,…", value_delimiter = ',', num_args = 0..=1)]
    #[arg(default_missing_value = "patch-pgd,patch-search,patch-universal")]
    #[arg(value_parser = known(&fgmf::attack::patch::patch_attacks(), &[]))]
    pub(crate) attack: Vec<String>,
    /// Settings of the attacks by id as JSON, such as '{"patch-pgd": {"restarts": 10}}'; what is
    /// left out has its default.
    #[arg(long, value_name = "JSON", requires = "attack")]
    pub(crate) settings: Option<String>,
    /// Seed of the attacks.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Exit 1 if the share that is proved right is below this.
    #[arg(long, value_name = "SHARE")]
    pub(crate) min_proved: Option<f64>,
    /// Most memory of the process in MiB, which sets what is done at once; changes no result
    /// [default: three quarters of what the system has left]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Model (ONNX), or an address: pipe:COMMAND, http://HOST:PORT/v2/models/NAME.
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Folder for the results.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// This many images of the data: the first, or of class folders some of each class.
    #[arg(long, short = 'n', default_value_t = 16)]
    pub(crate) limit: usize,
    /// Methods.
    #[arg(
        long,
        alias = "method",
        value_name = "ID,…",
        value_delimiter = ',',
        value_parser = known(&fgmf::explain::ids(), &[ALL_METHODS]),
        default_value = "pgca"
    )]
    pub(crate) methods: Vec<String>,
    /// Metrics that judge the maps, as for `evaluate`.
    #[arg(
        long,
        value_name = "ID,…",
        value_delimiter = ',',
        value_parser = known(&fgmf::metric::ids(), &[ALL_METRICS, ("none", "No metric.")]),
        default_value = "lerf-minus-morf,sparseness"
    )]
    pub(crate) metrics: Vec<String>,
    /// Settings of methods and metrics by id as JSON, such as '{"integrated-gradients": {"steps":
    /// 64}}'; what is left out has its default.
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
    /// Class explained, by its name or number; the predicted one if not given.
    #[arg(long)]
    pub(crate) class: Option<String>,
    /// Value of the graph that class activation maps are made of (see `fgmf info`); chosen if not
    /// given.
    #[arg(long)]
    pub(crate) layer: Option<String>,
    /// Rows x columns of a transformer's tokens, where they do not follow from the model and the
    /// image.
    #[arg(long, value_name = "RxC", value_parser = grid)]
    pub(crate) grid: Option<[usize; 2]>,
    /// Show only the maps that this calibration lets through, with its promise (see `calibrate`).
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) attacked: Attacked,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) memory: Memory,
    #[command(flatten)]
    pub(crate) input: ModelInput,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// How much is done at once; changes no result.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct Memory {
    /// Most images in a model call.
    #[arg(long, default_value_t = 256)]
    pub(crate) cap: usize,
    /// Most memory of the process in MiB, which sets what is done at once [default: three quarters
    /// of what the system has left]
    #[arg(long, value_name = "MIB", conflicts_with = "cap")]
    pub(crate) memory: Option<u64>,
}

/// Attacked images beside the clean ones.
#[derive(Debug, Args)]
#[command(next_help_heading = "Attacked images")]
pub(crate) struct Attacked {
    /// Attack on the prediction that makes the second input: pgd, apgd, none [default: pgd to
    /// evaluate, none to explain]
    #[arg(long)]
    pub(crate) attack: Option<String>,
    /// Take the attacked images from an adversarial.safetensors of `fgmf attack` on the same model
    /// and data, with the same norm and radius, instead.
    #[arg(long, value_name = "FILE", conflicts_with = "attack")]
    pub(crate) adversarial: Option<PathBuf>,
    /// The images of --adversarial may be those of another model; the record says so.
    #[arg(long, requires = "adversarial")]
    pub(crate) transferred: bool,
    /// Class explained on attacked images: the one explained on the clean image (clean), or the one
    /// predicted on the attacked one (own).
    #[arg(long, default_value = "clean")]
    pub(crate) explain: String,
    /// Norm of the threat: linf, l2, l1.
    #[arg(long, default_value = "linf")]
    pub(crate) norm: String,
    /// Its radius, in pixel units of 0 to 1: of attacked images and of what may be done to maps.
    #[arg(long, default_value_t = 0.1, value_parser = radius)]
    pub(crate) eps: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    /// Model (ONNX).
    pub(crate) model: PathBuf,
    /// Data, as for `train`.
    #[arg(long)]
    pub(crate) data: String,
    /// Folder for the results; run again with the same settings to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Part of the data: test, train.
    #[arg(long, default_value = "test")]
    pub(crate) split: String,
    /// This many images: the first, or of class folders some of each class.
    #[arg(long, short = 'n', default_value_t = 100)]
    pub(crate) limit: usize,
    /// Explainers.
    #[arg(
        long,
        value_name = "ID,…",
        value_delimiter = ',',
        value_parser = known(&fgmf::explain::ids(), &[ALL_METHODS]),
        default_value = "all"
    )]
    pub(crate) explainers: Vec<String>,
    /// Metrics.
    #[arg(
        long,
        value_name = "ID,…",
        value_delimiter = ',',
        value_parser = known(&fgmf::metric::ids(), &[ALL_METRICS]),
        default_value = "all"
    )]
    pub(crate) metrics: Vec<String>,
    /// Settings of explainers and metrics by id as JSON, such as '{"pgca": {"kappa": 0},
    /// "attacked-stability": {"steps": 40}}'; what is left out has its default.
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
    #[command(flatten)]
    pub(crate) attacked: Attacked,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) memory: Memory,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

#[derive(Debug, Args)]
pub(crate) struct Amortise {
    /// Model (ONNX).
    pub(crate) model: PathBuf,
    /// Data, as for `train`: its training part teaches, its test part judges.
    #[arg(long)]
    pub(crate) data: String,
    /// Folder for the results; run again with the same settings to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Radius of the attacks under which maps are to stay, in pixel units of 0 to 1, such as 0.1 or
    /// 8/255; 0 teaches clean images alone.
    #[arg(long, value_parser = radius)]
    pub(crate) eps: f64,
    /// Norm of these attacks: linf, l2, l1.
    #[arg(long, default_value = "linf")]
    pub(crate) norm: String,
    /// Explainer whose maps are learned.
    #[arg(
        long,
        value_name = "ID",
        value_parser = known(&fgmf::explain::ids(), &[]),
        default_value = "gradient-shap"
    )]
    pub(crate) teacher: String,
    /// Settings of the teacher by id as JSON, such as '{"gradient-shap": {"samples": 4}}' [default:
    /// gradient-shap is asked with 2 samples, other teachers with their defaults].
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
    /// Rows and columns of a map [default: half the side of the image, 28 at most].
    #[arg(long, value_name = "N")]
    pub(crate) cells: Option<usize>,
    /// Channels of the layers that draw maps.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) width: usize,
    /// Passes over the training images.
    #[arg(long, default_value_t = 10)]
    pub(crate) epochs: usize,
    /// Examples a step.
    #[arg(long, default_value_t = 64)]
    pub(crate) batch: usize,
    /// Largest learning rate.
    #[arg(long, default_value_t = 3e-3)]
    pub(crate) lr: f64,
    /// This many training images: the first, or of class folders some of each class.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Test images that maps are judged on; 0 judges none.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) judge: usize,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Most memory of the process in MiB; refused where training takes more [default: three
    /// quarters of what the system has left]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// Model (ONNX).
    pub(crate) model: PathBuf,
    /// Data, as for `train`: images like those that will be explained, and none of them.
    #[arg(long)]
    pub(crate) data: String,
    /// File for the result.
    #[arg(long, default_value = "calibration.json")]
    pub(crate) out: PathBuf,
    /// Part of the data: test, train.
    #[arg(long, default_value = "test")]
    pub(crate) split: String,
    /// This many images: the first, or of class folders some of each class.
    #[arg(long, short = 'n', default_value_t = 500)]
    pub(crate) limit: usize,
    /// Method, one whose maps have an agreement.
    #[arg(
        long,
        value_name = "ID",
        value_parser = known(&fgmf::explain::ids(), &[]),
        default_value = "pgca"
    )]
    pub(crate) method: String,
    /// Settings of the method and of `lerf-minus-morf` by id as JSON, such as '{"pgca": {"fusion":
    /// "least-squares"}}'; what is left out has its default.
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
    /// Largest share of bad maps among those shown.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) alpha: f64,
    /// Probability that the promise does not hold.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.05)]
    pub(crate) delta: f64,
    /// A map is bad if LeRF minus MoRF is below this.
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.0)]
    pub(crate) tau: f64,
    /// Share of the images that the strictest threshold shows.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub(crate) start: f64,
    /// Seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) memory: Memory,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

#[derive(Debug, Args)]
pub(crate) struct Predict {
    /// Model (ONNX), or an address: pipe:COMMAND, http://HOST:PORT/v2/models/NAME.
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Folder for predictions.json and logits.safetensors, if wanted.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// This many images of the data: the first, or of class folders some of each class.
    #[arg(long, short = 'n')]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) input: ModelInput,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Model (ONNX).
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Model (ONNX).
    pub(crate) model: PathBuf,
    /// Data, as for `train`: its test part is used.
    #[arg(long)]
    pub(crate) data: String,
    /// What is measured, and what must hold (TOML; docs/audit.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Folder for the evidence; run again with the same policy to go on after a kill.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Most memory of the process in MiB, which sets what is done at once; changes no result
    /// [default: three quarters of what the system has left]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// File for the private key; the public key is written beside it, with the ending .pub.pem.
    #[arg(long, default_value = "fgmf.pem")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// Folder of an audit.
    pub(crate) audit: PathBuf,
    /// Private key (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Folder of an audit.
    pub(crate) audit: PathBuf,
    /// Public key of whoever signed it (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The model that was audited (ONNX): its answers to all stored images are checked.
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) model: Option<PathBuf>,
    /// The data that it was audited on.
    #[arg(long, requires = "model")]
    pub(crate) data: Option<String>,
    /// Images at each radius whose searches are run once more.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) sample: usize,
    /// Draws that sample; of the system if not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) input: ModelInput,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Folder of the first audit, such as that before hardening.
    pub(crate) first: PathBuf,
    /// Folder of the second audit, of the same images.
    pub(crate) second: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_has_sides_or_a_share() {
        assert_eq!(patch("5x7"), Ok(PatchSize::Sides([5, 7])));
        assert_eq!(patch("5"), Ok(PatchSize::Sides([5, 5])));
        assert_eq!(patch("2%"), Ok(PatchSize::Share(0.02)));
        for text in ["", "%", "5x", "x5", "0x3", "-2", "two%"] {
            assert!(patch(text).is_err(), "{text}");
        }
    }
}
