//! Our side of `parity/bench.py`: one row of the table at a time, timed in here.
//!
//! `cargo run --release -p fgmf --example side_by_side -- --threads 2` reads one command a line and
//! answers each with one line of JSON:
//!
//! | command | what it does | answer |
//! | --- | --- | --- |
//! | `prepare ROW [MODEL.onnx]` | makes weights and inputs, from a fixed seed | `{}` |
//! | `write DIR` | writes inputs, parameters, results: `NAME.f32`, little-endian | shapes by name |
//! | `run` | one repetition | `{"ms": wall time}` |
//! | `peak` | | `{"peak_mib": largest resident size so far, "rss_mib": the present one}` |
//!
//! A command that fails is answered with `{"error": reason}`. Buffers that a repetition fills are
//! made by `prepare`, as PyTorch's allocator would hand back its own.

use fgmf::attack::{Attack, PgdParams, run_attack};
use fgmf::data::Batch;
use fgmf::data::{Split, load};
use fgmf::explain::{Context, Explainer, IntegratedGradientsParams, PgcaParams, explain, make};
use fgmf::model::Oracle;
use fgmf::rng::{Purpose, Stream};
use fgmf::threat::{Norm, ThreatModel};
use fgmf::train::{Optimiser, OptimiserState};
use fgmf_kernels::{Conv2d, conv2d, conv2d_grad_input, conv2d_grad_weight};
use fgmf_net::ParameterGradients;
use fgmf_net::head::CrossEntropy;
use fgmf_net::op::Op;
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Mode, Network, Rules, Session, Tensor, onnx};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const SEED: u64 = 0;
const CLASSES: usize = 10;
const SGD: Optimiser = Optimiser::Sgd {
    momentum: 0.9,
    nesterov: false,
    weight_decay: 0.0,
};
const LEARNING_RATE: f64 = 0.01;

/// A named array of `f32`.
struct Array {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Array {
    fn new(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            values,
        }
    }

    fn of(name: impl Into<String>, tensor: &Tensor) -> Self {
        Self::new(name, tensor.shape(), tensor.to_f32())
    }
}

/// A row of the table.
trait Row {
    /// One repetition.
    fn run(&mut self) -> Fallible<()>;

    /// Inputs, parameters and, named `result.…`, what one more repetition makes of them.
    fn arrays(&mut self) -> Fallible<Vec<Array>>;
}

fn row(id: &str, model: Option<&Path>) -> Fallible<Box<dyn Row>> {
    let (digits, pictures) = ([1, 28, 28], [3, 32, 32]);
    Ok(match (id, model) {
        ("cnn-small-dx", None) => Box::new(InputGradient(Task::new(
            Architecture::CnnSmall,
            digits,
            128,
        )?)),
        ("resnet18-dx", None) => Box::new(InputGradient(Task::new(
            Architecture::PreactResnet18,
            pictures,
            32,
        )?)),
        ("vit-tiny-dx", None) => Box::new(InputGradient(Task::new(
            Architecture::VitTiny,
            pictures,
            64,
        )?)),
        ("cnn-small-train", None) => Box::new(Training::new(Task::new(
            Architecture::CnnSmall,
            digits,
            128,
        )?)),
        ("resnet18-train", None) => Box::new(Training::new(Task::new(
            Architecture::PreactResnet18,
            pictures,
            32,
        )?)),
        ("pgca-cnn-small", None) => Box::new(Explanation::pgca(Task::new(
            Architecture::CnnSmall,
            digits,
            256,
        )?)?),
        ("ig50-cnn-small", None) => Box::new(Explanation::integrated_gradients(Task::new(
            Architecture::CnnSmall,
            digits,
            64,
        )?)?),
        ("pgd20-cnn-tiny", Some(model)) => {
            Box::new(Pgd::new(Session::new(onnx::read(model)?), 500)?)
        }
        ("model-dx", Some(model)) => Box::new(InputGradient(Task::of(onnx::read(model)?, 8))),
        ("pgd20-cnn-tiny" | "model-dx", None) => Err("expected a model, found none")?,
        (id, _) => Box::new(Convolution::parse(id)?),
    })
}

fn random(n: usize, purpose: Purpose) -> Vec<f32> {
    let mut stream = Stream::new(SEED, purpose, 0, 0);
    (0..n).map(|_| stream.unit()).collect()
}

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    GradInput,
    GradWeight,
}

/// A 3x3 convolution of 32 images, an equal piece of them on each thread; weights are plain, so
/// every call packs its own.
struct Convolution {
    pass: Pass,
    whole: Conv2d,
    piece: Conv2d,
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    /// Result; for the weight gradient one part a piece, and in the first their sum.
    out: Vec<f32>,
}

impl Convolution {
    /// `conv-PASS-CxS`: c to c channels at s by s.
    fn parse(id: &str) -> Fallible<Self> {
        let unknown = || format!("expected a row of the table, found `{id}`");
        let (pass, size) = id
            .strip_prefix("conv-")
            .and_then(|rest| rest.split_once('-'))
            .ok_or_else(unknown)?;
        let (c, size) = size.split_once('x').ok_or_else(unknown)?;
        let (c, size, pieces): (usize, usize, usize) =
            (c.parse()?, size.parse()?, rayon::current_num_threads());
        let whole = Conv2d {
            n: 32,
            c_in: c,
            h: size,
            w: size,
            c_out: c,
            kernel: [3; 2],
            stride: [1; 2],
            pad: [1; 4],
            dilation: [1; 2],
            groups: 1,
        };
        whole.check()?;
        if !whole.n.is_multiple_of(pieces) {
            return Err(format!(
                "expected threads that divide {} images, found {pieces}",
                whole.n
            )
            .into());
        }
        let (pass, len) = match pass {
            "fwd" => (Pass::Forward, whole.y_len()),
            "dx" => (Pass::GradInput, whole.x_len()),
            "dw" => (Pass::GradWeight, whole.w_len() * pieces),
            _ => Err(unknown())?,
        };
        let x = random(whole.x_len(), Purpose::Evaluation);
        let centred = |n, purpose| random(n, purpose).iter().map(|u| u - 0.5).collect();
        let (w, dy) = (
            centred(whole.w_len(), Purpose::Training),
            centred(whole.y_len(), Purpose::Explanation),
        );
        Ok(Self {
            pass,
            whole,
            piece: Conv2d {
                n: whole.n / pieces,
                ..whole
            },
            x,
            w,
            dy,
            out: vec![0.0; len],
        })
    }
}

impl Row for Convolution {
    fn run(&mut self) -> Fallible<()> {
        let s = self.piece;
        let (x, dy) = (self.x.par_chunks(s.x_len()), self.dy.par_chunks(s.y_len()));
        match self.pass {
            Pass::Forward => self
                .out
                .par_chunks_mut(s.y_len())
                .zip(x)
                .for_each(|(y, x)| conv2d(&s, x, &self.w, y)),
            Pass::GradInput => self
                .out
                .par_chunks_mut(s.x_len())
                .zip(dy)
                .for_each(|(dx, dy)| conv2d_grad_input(&s, dy, &self.w, dx)),
            Pass::GradWeight => {
                let pieces = self.out.par_chunks_mut(s.w_len()).zip(x.zip(dy));
                pieces.for_each(|(dw, (x, dy))| conv2d_grad_weight(&s, x, dy, dw));
                let (sum, parts) = self.out.split_at_mut(s.w_len());
                for part in parts.chunks_exact(s.w_len()) {
                    sum.iter_mut().zip(part).for_each(|(a, b)| *a += b);
                }
            }
        }
        Ok(())
    }

    fn arrays(&mut self) -> Fallible<Vec<Array>> {
        self.run()?;
        let Conv2d {
            n, c_in: c, h, w, ..
        } = self.whole;
        let (images, weight) = ([n, c, h, w], [c, c, 3, 3]);
        let result = match self.pass {
            Pass::Forward | Pass::GradInput => Array::new("result", &images, self.out.clone()),
            Pass::GradWeight => {
                Array::new("result", &weight, self.out[..self.whole.w_len()].to_vec())
            }
        };
        let inputs = [
            ("x", &images, &self.x),
            ("w", &weight, &self.w),
            ("dy", &images, &self.dy),
        ];
        Ok(inputs
            .map(|(name, shape, v)| Array::new(name, shape, v.clone()))
            .into_iter()
            .chain([result])
            .collect())
    }
}

/// A network with a batch.
struct Task {
    net: Session,
    batch: Batch,
}

impl Task {
    fn new(architecture: Architecture, image: [usize; 3], n: usize) -> Fallible<Self> {
        let channels = image[0];
        let net = build(&ZooConfig {
            architecture,
            activation: Activation::Relu,
            image,
            classes: CLASSES,
            mean: vec![0.5; channels],
            deviation: vec![0.25; channels],
            seed: SEED,
        })?;
        Ok(Self::of(net, n))
    }

    /// A network with a batch of random images.
    fn of(net: Network, n: usize) -> Self {
        let [c, h, w] = net.image_shape();
        let x = Tensor::new(&[n, c, h, w], random(n * c * h * w, Purpose::Evaluation));
        Self {
            net: Session::new(net),
            batch: Batch {
                x,
                labels: (0..n).map(|i| i % CLASSES).collect(),
                index: (0..n as u64).collect(),
            },
        }
    }

    fn head(&self) -> CrossEntropy {
        CrossEntropy::labels(&self.batch.labels)
    }

    fn arrays(&self) -> Vec<Array> {
        let labels = self.batch.labels.iter().map(|&y| y as f32).collect();
        let inputs = [
            Array::of("x", &self.batch.x),
            Array::new("labels", &[self.batch.len()], labels),
        ];
        let stored = |v: &fgmf_net::Value| {
            let tensor = self
                .net
                .find(&v.name)
                .and_then(|id| self.net.parameter(id))?;
            Some(Array::of(format!("parameter.{}", v.name), tensor))
        };
        inputs
            .into_iter()
            .chain(self.net.values().iter().filter_map(stored))
            .collect()
    }
}

/// Gradient of the summed cross-entropy in the images.
struct InputGradient(Task);

impl InputGradient {
    fn gradient(&self) -> Fallible<Tensor> {
        let Task { net, batch } = &self.0;
        let mut found =
            net.loss_gradients(&batch.x, &self.0.head(), &[net.input()], &Rules::exact())?;
        Ok(found.gradients.swap_remove(0))
    }
}

impl Row for InputGradient {
    fn run(&mut self) -> Fallible<()> {
        self.gradient().map(|_| ())
    }

    fn arrays(&mut self) -> Fallible<Vec<Array>> {
        let mut arrays = self.0.arrays();
        arrays.push(Array::of("result", &self.gradient()?));
        Ok(arrays)
    }
}

/// A step of SGD with momentum on the mean cross-entropy, batch normalisation in training mode.
struct Training {
    task: Task,
    state: OptimiserState,
}

impl Training {
    fn new(task: Task) -> Self {
        Self {
            state: OptimiserState::new(&task.net),
            task,
        }
    }

    fn gradients(&self) -> Fallible<ParameterGradients> {
        Ok(self
            .task
            .net
            .parameter_gradients(&self.task.batch.x, &self.task.head(), Mode::Train)?)
    }
}

impl Row for Training {
    fn run(&mut self) -> Fallible<()> {
        let found = self.gradients()?;
        let net = &mut self.task.net;
        self.state
            .apply(net, &found.gradients, &SGD, LEARNING_RATE)?;
        for (node, mean, variance) in found.statistics {
            let node = &net.nodes()[node];
            let Op::BatchNorm(norm) = &node.op else {
                continue;
            };
            let (keep, ids) = (norm.momentum, [node.inputs[3], node.inputs[4]]);
            for (id, new) in ids.into_iter().zip([mean, variance]) {
                let old = net
                    .parameter(id)
                    .ok_or("expected stored running statistics")?;
                let mixed = old.affine(keep, 0.0).add(&new.affine(1.0 - keep, 0.0));
                net.set_parameter(id, mixed)?;
            }
        }
        Ok(())
    }

    fn arrays(&mut self) -> Fallible<Vec<Array>> {
        let (net, found) = (&self.task.net, self.gradients()?);
        let results = net.trainable().into_iter().zip(&found.gradients);
        let named = results.map(|(id, g)| Array::of(format!("result.{}", net.value(id).name), g));
        Ok(self.task.arrays().into_iter().chain(named).collect())
    }
}

/// PGD-20 through the sealed entry, on the first test images of the embedded slice, Linf at 0.1.
struct Pgd {
    task: Task,
    attack: Attack,
    threat: ThreatModel,
}

impl Pgd {
    fn new(net: Session, n: usize) -> Fallible<Self> {
        let data = load("fashion-mnist-mini", Split::Test)?;
        let rows: Vec<usize> = (0..n).collect();
        let [c, h, w] = data.shape();
        let batch = Batch {
            x: Tensor::new(&[n, c, h, w], data.images(&rows)?),
            labels: data.labels()[..n].to_vec(),
            index: rows.iter().map(|&i| i as u64).collect(),
        };
        let attack = Attack::White(Box::new(PgdParams::default().check()?));
        Ok(Self {
            task: Task { net, batch },
            attack,
            threat: ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0])?,
        })
    }

    fn broken(&self) -> Fallible<Vec<bool>> {
        Ok(run_attack(
            &self.attack,
            &Oracle::new(&self.task.net),
            &self.task.batch,
            &self.threat,
            SEED,
        )?
        .success)
    }
}

impl Row for Pgd {
    fn run(&mut self) -> Fallible<()> {
        self.broken().map(|_| ())
    }

    fn arrays(&mut self) -> Fallible<Vec<Array>> {
        let broken: Vec<f32> = self
            .broken()?
            .into_iter()
            .map(|b| f32::from(u8::from(b)))
            .collect();
        let mut arrays = self.task.arrays();
        arrays.push(Array::new("result", &[broken.len()], broken));
        Ok(arrays)
    }
}

/// Maps through the sealed entry, for the labels.
struct Explanation {
    task: Task,
    explainer: Box<dyn Explainer>,
    /// What PyTorch's side needs to do the same, besides the task.
    given: Vec<Array>,
}

impl Explanation {
    /// PGCA as it is by default, with the noise that its streams draw for the cells,
    /// `[n, draws, c, h, w]`.
    fn pgca(task: Task) -> Fallible<Self> {
        let params = PgcaParams::published();
        let (n, draws, [c, h, w]) = (task.batch.len(), params.noise_draws, task.net.image_shape());
        let noise = |i: usize| {
            let mut stream = Stream::new(
                SEED,
                Purpose::Explanation,
                (i % draws) as u64,
                (i / draws) as u64,
            );
            (0..c * h * w)
                .map(|_| {
                    (params.noise_mean + params.noise_sigma * f64::from(stream.normal())) as f32
                })
                .collect::<Vec<f32>>()
        };
        let given = vec![Array::new(
            "noise",
            &[n, draws, c, h, w],
            (0..n * draws).flat_map(noise).collect(),
        )];
        Ok(Self {
            task,
            explainer: Box::new(params.check(&make)?),
            given,
        })
    }

    fn integrated_gradients(task: Task) -> Fallible<Self> {
        let params = IntegratedGradientsParams {
            steps: 50,
            ..IntegratedGradientsParams::default()
        };
        Ok(Self {
            task,
            explainer: Box::new(params.check()?),
            given: Vec::new(),
        })
    }

    fn maps(&self) -> Fallible<Vec<f32>> {
        let Task { net, batch } = &self.task;
        let context = Context {
            seed: SEED,
            ..Context::default()
        };
        let maps = explain(
            self.explainer.as_ref(),
            &Oracle::new(net),
            &batch.x,
            &batch.labels,
            &context,
        )?;
        Ok(maps.into_iter().flat_map(|m| m.values.values).collect())
    }
}

impl Row for Explanation {
    fn run(&mut self) -> Fallible<()> {
        self.maps().map(|_| ())
    }

    fn arrays(&mut self) -> Fallible<Vec<Array>> {
        let [_, h, w] = self.task.net.image_shape();
        let result = Array::new("result", &[self.task.batch.len(), h, w], self.maps()?);
        let given = self
            .given
            .iter()
            .map(|a| Array::new(a.name.clone(), &a.shape, a.values.clone()));
        Ok(self
            .task
            .arrays()
            .into_iter()
            .chain(given)
            .chain([result])
            .collect())
    }
}

fn write(arrays: &[Array], folder: &Path) -> Fallible<Value> {
    std::fs::create_dir_all(folder)?;
    for a in arrays {
        let bytes: Vec<u8> = a.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        // Exporters put slashes into names.
        let file = format!("{}.f32", a.name.replace('/', "_"));
        std::fs::write(folder.join(file), bytes)?;
    }
    Ok(arrays
        .iter()
        .map(|a| (a.name.clone(), json!(a.shape)))
        .collect::<serde_json::Map<_, _>>()
        .into())
}

/// A field of the kernel's account of this process, in MiB.
fn memory(field: &str) -> Fallible<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    let kib: f64 = line
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .ok_or(format!("expected {field} in kB"))?
        .trim()
        .parse()?;
    Ok(kib / 1024.0)
}

fn answer(prepared: &mut Option<Box<dyn Row>>, command: &str) -> Fallible<Value> {
    let words: Vec<&str> = command.split_whitespace().collect();
    if let ["prepare", id, model @ ..] = words.as_slice() {
        *prepared = Some(row(id, model.first().map(Path::new))?);
        return Ok(json!({}));
    }
    let row = prepared.as_mut().ok_or("expected `prepare ROW` first");
    Ok(match words[..] {
        ["write", folder] => write(&row?.arrays()?, Path::new(folder))?,
        ["run"] => {
            let row = row?;
            let start = Instant::now();
            row.run()?;
            json!({ "ms": start.elapsed().as_secs_f64() * 1e3 })
        }
        ["peak"] => json!({ "peak_mib": memory("VmHWM")?, "rss_mib": memory("VmRSS")? }),
        _ => Err(format!(
            "expected prepare, write, run or peak, found `{command}`"
        ))?,
    })
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 0,
        ["--threads", n] => n.parse()?,
        _ => Err("usage: side_by_side [--threads N]")?,
    };
    // On a thread of the pool, as the command line does: from outside, every parallel section would
    // wake one more thread.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    Ok(pool.install(|| serve().map_err(|e| e.to_string()))?)
}

fn serve() -> Fallible<()> {
    let mut prepared = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lines() {
        let answer =
            answer(&mut prepared, &line?).unwrap_or_else(|e| json!({ "error": e.to_string() }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
