//! Interval bound propagation (Gowal et al. 2018, arXiv 1810.12715): bounds of what a network says
//! of all images of a box.

use super::derived::Derived;
use super::ending::{Ending, WorstCase};
use super::interval::{BoundScope, Form, Interval};
use super::rules::{Input, differences, rule};
use crate::error::{Error, Result};
use crate::graph::head::Head;
use crate::graph::op::{Concat, Mode, Op, Split};
use crate::graph::{Builder, Network, Node, Source, ValueId};
use crate::run::{ParameterGradients, Session};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// Most classes of which all differences are bounded at once: k² of them.
const MOST_CLASSES: usize = 128;

/// Bounds of a network's logits over boxes of images `l ≤ x ≤ u`, by interval arithmetic.
///
/// Layers that are linear with stored weights W take centre c = (l + u) / 2 and radius
/// r = (u − l) / 2 to W c + b and |W| r. Functions that never fall take l and u to f(l) and f(u).
/// Batch normalisation has running statistics. A network with another operator (attention, layer
/// normalisation, products of values) is refused, and the operator named.
///
/// The bounds hold in exact arithmetic. They are computed in the precision of the weights, and
/// rounding is not directed: single precision moves a bound by some parts in 10⁶ of the largest
/// term of its sums, so that a bound that is as near to 0 proves nothing.
#[derive(Debug)]
pub struct IntervalBounds {
    session: Session,
    derived: Vec<Derived>,
    ending: Ending,
    image: [usize; 3],
    /// Those of the network that is bounded.
    nodes: Vec<Node>,
}

impl IntervalBounds {
    /// Bounds of each logit.
    ///
    /// # Errors
    /// An operator without a rule.
    pub fn logits(net: &Network) -> Result<Self> {
        Self::build(net, false)
    }

    /// Bounds of the differences of two logits, z_i − z_j ≥ (W_i − W_j) c + b_i − b_j −
    /// |W_i − W_j| r: the last layer is merged with the difference, which is tighter than the
    /// difference of two bounds. Where the network does not end with a dense layer, or has more
    /// than 128 classes, they are l_i − u_j.
    ///
    /// # Errors
    /// An operator without a rule.
    pub fn margins(net: &Network) -> Result<Self> {
        Self::build(net, true)
    }

    fn build(net: &Network, merged: bool) -> Result<Self> {
        let (image, classes) = (net.image_shape(), net.classes());
        let [c, h, w] = image;
        let builder = Builder::new(&net.name, "box", [2 * c, h, w])?;
        let mut scope = BoundScope::new(net, builder);
        let split = Op::Split(Split {
            axis: 1,
            sizes: vec![c, c],
        });
        let input = [scope.builder.input()];
        let names = ["lower", "upper"].map(str::to_owned);
        let ends = scope.builder.nodes("ends", split, &input, &names)?;
        let whole = Interval {
            form: Form::Ends,
            parts: [ends[0], ends[1]],
        };
        let mut known = HashMap::from([(net.input(), whole)]);
        let last = net.producer(net.output());
        let mut found = None;
        for (index, node) in net.nodes().iter().enumerate() {
            let inputs = inputs_of(net, node, &known)?;
            if merged && last == Some(index) && classes <= MOST_CLASSES {
                found = differences(&mut scope, node, &inputs, classes)?;
            }
            if found.is_none() {
                let outputs = rule(&mut scope, node, &inputs)?;
                known.extend(node.outputs.iter().copied().zip(outputs));
            }
        }
        let (output, ending) = match found {
            Some(differences) => {
                let ends = scope.ends("bounds", differences)?;
                (ends[0], Ending::Differences(classes))
            }
            None => {
                let logits = known.get(&net.output()).copied();
                let logits = logits.ok_or_else(|| constant(&net.name))?;
                let ends = scope.ends("bounds", logits)?;
                let concat = Op::Concat(Concat { axis: 1 });
                (
                    scope.node("bounds", concat, &ends)?,
                    Ending::Logits(classes),
                )
            }
        };
        let BoundScope {
            builder, derived, ..
        } = scope;
        Ok(Self {
            session: Session::new(builder.finish(output)?),
            derived,
            ending,
            image,
            nodes: net.nodes().to_vec(),
        })
    }

    /// The network of the bounds: boxes `[n, 2 c, h, w]` in, lower and upper ends one after the
    /// other.
    pub fn network(&self) -> &Network {
        self.session.network()
    }

    /// Whether `net` has the operators, joined in the same way, of the network that these bounds
    /// were made of. Weights may differ.
    pub fn are_of(&self, net: &Network) -> bool {
        self.image == net.image_shape() && self.nodes == net.nodes()
    }

    /// Takes over the weights of the network that these bounds were made of, after they changed.
    ///
    /// # Errors
    /// A network of other operators or arrays.
    pub fn refresh(&mut self, net: &Network) -> Result<()> {
        if !self.are_of(net) {
            let expected = "the operators that were bounded";
            let found = format!("`{}`, a network of others", net.name);
            return Err(Error::call("refresh bounds", expected, found));
        }
        for d in &self.derived {
            let array = net.parameter(d.from).ok_or_else(|| {
                let found = "a network without one of them";
                Error::call("refresh bounds", "the arrays that were bounded", found)
            })?;
            self.session.set_parameter(d.to, d.recipe.make(array))?;
        }
        Ok(())
    }

    /// Lower and upper bounds of the logits, `[n, k]` each, over boxes with these ends,
    /// `[n, c, h, w]` each.
    ///
    /// # Errors
    /// Ends of other images than the network's, or out of order; bounds that were made by
    /// [`Self::margins`] and merged.
    pub fn logit_bounds(&self, lower: &Tensor, upper: &Tensor) -> Result<[Tensor; 2]> {
        let Ending::Logits(k) = self.ending else {
            let found = "those of differences";
            return Err(Error::call("bound logits", "bounds of logits", found));
        };
        let ends = self.session.logits(&self.boxes(lower, upper)?)?;
        Ok([ends.narrow(1, 0, k), ends.narrow(1, k, k)])
    }

    /// Lower bounds of z_y − z_j, `[n, k]`, for the label y of each box; 0 at j = y. An image
    /// whose others are all above 0 has the label y everywhere in its box.
    ///
    /// # Errors
    /// Ends of other images than the network's, or out of order; labels that are no classes, or of
    /// another number.
    pub fn margin_bounds(
        &self,
        lower: &Tensor,
        upper: &Tensor,
        labels: &[usize],
    ) -> Result<Tensor> {
        self.check_labels(lower, labels)?;
        let ends = self.session.logits(&self.boxes(lower, upper)?)?;
        Ok(self.ending.worst(&ends, labels).neg())
    }

    /// A loss on the worst logits that the bounds leave open, 0 for the label y and
    /// −(lower bound of z_y − z_j) for j ≠ y, and the gradient of its mean in every parameter of
    /// `net` that trains. `net` is the network that the bounds were made of, with the same weights.
    /// The logits of the result are these, `[n, k]`. It has no statistics.
    ///
    /// # Errors
    /// As [`Self::margin_bounds`].
    pub fn parameter_gradients(
        &self,
        net: &Network,
        lower: &Tensor,
        upper: &Tensor,
        labels: &[usize],
        head: &dyn Head,
    ) -> Result<ParameterGradients> {
        self.check_labels(lower, labels)?;
        let head = WorstCase {
            ending: self.ending,
            labels,
            inner: head,
        };
        let boxes = self.boxes(lower, upper)?;
        let mut run = self
            .session
            .parameter_gradients(&boxes, &head, Mode::Evaluate)?;
        run.logits = self.ending.worst(&run.logits, labels);
        let of_bounds: HashMap<ValueId, Tensor> = self
            .session
            .trainable()
            .into_iter()
            .zip(run.gradients)
            .collect();
        run.gradients = Vec::new();
        for id in net.trainable() {
            let Some(array) = net.parameter(id) else {
                continue;
            };
            let parts = self.derived.iter().filter(|d| d.from == id);
            let parts = parts.filter_map(|d| Some(d.recipe.pull(array, of_bounds.get(&d.to)?)));
            let sum = parts.reduce(|sum, g| sum.add(&g));
            run.gradients
                .push(sum.unwrap_or_else(|| array.zeros_like()));
        }
        Ok(run)
    }

    fn check_labels(&self, lower: &Tensor, labels: &[usize]) -> Result<()> {
        let n = lower.shape().first().copied().unwrap_or(0);
        if labels.len() == n && labels.iter().all(|&y| y < self.ending.classes()) {
            return Ok(());
        }
        let expected = format!("{n} labels below {}", self.ending.classes());
        Err(Error::call(
            "bound margins",
            expected,
            format!("{labels:?}"),
        ))
    }

    fn boxes(&self, lower: &Tensor, upper: &Tensor) -> Result<Tensor> {
        let [c, h, w] = self.image;
        let fits = |x: &Tensor| matches!(x.shape(), [n, rest @ ..] if *n > 0 && rest == [c, h, w]);
        if !fits(lower) || lower.shape() != upper.shape() || lower.precision() != upper.precision()
        {
            let expected = format!("two ends of shape [n, {c}, {h}, {w}]");
            let found = format!("{:?} and {:?}", lower.shape(), upper.shape());
            return Err(Error::call("bound", expected, found));
        }
        let room = upper.sub(lower).to_f64();
        if let Some(r) = room.iter().find(|r| !(**r >= 0.0 && r.is_finite())) {
            let found = format!("one that is {r} above the other");
            return Err(Error::call("bound", "upper ends that are not below", found));
        }
        Ok(Tensor::concat(&[lower.clone(), upper.clone()], 1))
    }
}

fn constant(name: &str) -> Error {
    let expected = "a network whose logits depend on the image";
    Error::call("bound", expected, format!("`{name}`"))
}

/// What a node reads.
fn inputs_of(net: &Network, node: &Node, known: &HashMap<ValueId, Interval>) -> Result<Vec<Input>> {
    let input = |id: &ValueId| match (known.get(id), &net.value(*id).source) {
        (Some(x), _) => Ok(Input::Interval(*x)),
        (None, Source::Parameter { .. }) => Ok(Input::Stored(*id)),
        (None, _) => Err(constant(&node.name)),
    };
    node.inputs.iter().map(input).collect()
}
