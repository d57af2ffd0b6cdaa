//! `Einsum`: of two values, as transposed operands of one matrix product; more are taken two at a
//! time.
//!
//! Letters of both operands and of the result are axes that the product goes through one by one;
//! letters of one operand and of the result are its rows or columns; letters of both operands alone
//! are summed over. A batch that one operand has is gone through, too: the other is repeated.

use super::site::{Made, Site};
use crate::graph::op::{MatMul, Op, Reduce, ReduceKind, Reshape, Transpose, Unary};
use crate::graph::{Dim, ValueId};

/// Names of the axes that `...` stands for, the last one for the last of them.
const OPEN: &str = "01234567";

/// The letters of each operand, which has so many axes, and of the result.
fn parsed(equation: &str, ranks: &[usize]) -> Result<(Vec<Vec<char>>, Vec<char>), String> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let wrong =
        || format!("expected an equation of letters, such as ij,jk->ik, found `{equation}`");
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
        None => (text.clone(), None),
    };
    if text.chars().any(|c| c.is_ascii_digit()) {
        return Err(wrong());
    }
    // `...` of a term that has so many other letters than axes.
    let letters = |s: &str, open: usize| -> Option<Vec<char>> {
        let dots = OPEN.get(OPEN.len().checked_sub(open)?..)?;
        let all: Vec<char> = s.replacen("...", dots, 1).chars().collect();
        let once = (0..all.len()).all(|i| !all[..i].contains(&all[i]));
        (once && all.iter().all(char::is_ascii_alphanumeric)).then_some(all)
    };
    let open = |s: &str, rank: usize| rank.saturating_sub(s.replacen("...", "", 1).len());
    let (mut operands, mut most) = (Vec::new(), 0);
    for (i, term) in left.split(',').enumerate() {
        let dots = open(term, ranks.get(i).copied().unwrap_or(0));
        most = most.max(if term.contains("...") { dots } else { 0 });
        operands.push(letters(term, dots).ok_or_else(wrong)?);
    }
    let result = match right {
        Some(right) => letters(&right, most).ok_or_else(wrong)?,
        // Without a result: `...`, then every letter that stands once, in alphabetical order.
        None => {
            let all: Vec<char> = operands.concat();
            let once = |c: &char| all.iter().filter(|d| *d == c).count() == 1;
            let stays = |c: &char| c.is_ascii_digit() || once(c);
            let mut result: Vec<char> = all.iter().copied().filter(stays).collect();
            result.sort_unstable();
            result.dedup();
            result
        }
    };
    match result
        .iter()
        .all(|c| operands.iter().any(|o| o.contains(c)))
    {
        true => Ok((operands, result)),
        false => Err(wrong()),
    }
}

/// A value and the letters of its axes.
struct Lettered {
    id: ValueId,
    letters: Vec<char>,
}

impl Lettered {
    /// Sums over the letters that are wanted nowhere else.
    fn without(self, site: &mut Site<'_, '_>, keep: impl Fn(char) -> bool) -> Result<Self, String> {
        let gone = |i: &usize| !keep(self.letters[*i]);
        let axes: Vec<i64> = (0..self.letters.len())
            .filter(gone)
            .map(|i| i as i64)
            .collect();
        if axes.is_empty() {
            return Ok(self);
        }
        let dims = site.scope.dims(self.id);
        if axes
            .iter()
            .any(|&a| matches!(dims[a as usize], Dim::Batch(_)))
        {
            return Err("expected sums over other axes than that of the batch".to_owned());
        }
        let op = Reduce {
            kind: ReduceKind::Sum,
            axes,
            keep: false,
        };
        let id = site.part("summed", Op::Reduce(op), &[self.id])?;
        let letters = self.letters.into_iter().filter(|&c| keep(c)).collect();
        Ok(Self { id, letters })
    }

    fn turned(&self, site: &mut Site<'_, '_>, order: &[char]) -> Result<ValueId, String> {
        match turn(&self.letters, order)? {
            None => Ok(self.id),
            Some(op) => site.part("turned", op, &[self.id]),
        }
    }

    fn dims(&self, site: &Site<'_, '_>, letters: &[char]) -> Vec<Dim> {
        let dims = site.scope.dims(self.id);
        let of = |c: &char| self.letters.iter().position(|l| l == c).map(|i| dims[i]);
        letters.iter().filter_map(of).collect()
    }
}

/// The transposition of these axes into that order, if it is one.
fn turn(letters: &[char], order: &[char]) -> Result<Option<Op>, String> {
    let at = |c: &char| letters.iter().position(|l| l == c);
    let perm = order.iter().map(at).collect::<Option<Vec<usize>>>();
    let perm = perm.filter(|p| p.len() == letters.len());
    let perm = perm.ok_or("expected the same letters on both sides")?;
    let moves = !perm.is_sorted();
    Ok(moves.then_some(Op::Transpose(Transpose { perm })))
}

/// The last `count` axes of `id` as one.
fn merged(
    site: &mut Site<'_, '_>,
    id: ValueId,
    from: usize,
    count: usize,
) -> Result<ValueId, String> {
    if count == 1 {
        return Ok(id);
    }
    let dims = site.scope.dims(id);
    let fixed = |d: &Dim| match d {
        Dim::Fixed(d) => Ok(*d),
        Dim::Batch(_) => Err("expected the batch among the letters of both operands".to_owned()),
    };
    let size = dims[from..from + count]
        .iter()
        .map(fixed)
        .product::<Result<usize, _>>()?;
    let mut shape: Vec<i64> = sizes(&dims[..from]);
    shape.push(size as i64);
    shape.extend(sizes(&dims[from + count..]));
    site.part("merged", Op::Reshape(Reshape { shape }), &[id])
}

/// Sizes as a reshape takes them: the batch, which stays where it is, is copied.
fn sizes(dims: &[Dim]) -> Vec<i64> {
    let size = |d: &Dim| match d {
        Dim::Fixed(d) => *d as i64,
        Dim::Batch(_) => 0,
    };
    dims.iter().map(size).collect()
}

pub(super) fn einsum(site: &mut Site<'_, '_>) -> Made {
    let equation = site.attributes.string_or("equation", "")?;
    let ids = site.operands()?;
    let ranks: Vec<usize> = ids.iter().map(|&id| site.scope.dims(id).len()).collect();
    let (letters, result) = parsed(equation, &ranks)?;
    if !letters.iter().map(Vec::len).eq(ranks.iter().copied()) {
        return Err(format!(
            "expected operands of as many axes as `{equation}` has letters, found {ranks:?}"
        ));
    }
    let all = ids.into_iter().zip(letters);
    let mut all = all.map(|(id, letters)| Lettered { id, letters });
    let mut x = all.next().ok_or("expected operands, found none")?;
    let mut rest: Vec<Lettered> = all.collect();
    let Some(last) = rest.pop() else {
        let x = x.without(site, |c| result.contains(&c))?;
        let op = turn(&x.letters, &result)?;
        return Ok((op.unwrap_or(Op::Unary(Unary::Identity)), vec![x.id]));
    };
    // Two at a time, with the letters that are still wanted.
    for at in 0..rest.len() {
        let later = &rest[at + 1..];
        let wanted = |c: &char| {
            let after = later.iter().chain([&last]);
            result.contains(c) || after.flat_map(|o| &o.letters).any(|l| l == c)
        };
        let next = &rest[at];
        let both = x.letters.iter().chain(&next.letters);
        let mut letters: Vec<char> = Vec::new();
        for &c in both.filter(|c| wanted(c)) {
            if !letters.contains(&c) {
                letters.push(c);
            }
        }
        let next = Lettered {
            id: next.id,
            letters: next.letters.clone(),
        };
        let (op, inputs) = product(site, x, next, &letters)?;
        let id = site.part("pair", op, &inputs)?;
        x = Lettered { id, letters };
    }
    product(site, x, last, &result)
}

fn product(site: &mut Site<'_, '_>, a: Lettered, b: Lettered, result: &[char]) -> Made {
    let (of_a, of_b) = (a.letters.clone(), b.letters.clone());
    let a = a.without(site, |c| result.contains(&c) || of_b.contains(&c))?;
    let b = b.without(site, |c| result.contains(&c) || of_a.contains(&c))?;
    let of = |x: &Lettered, in_other: bool, in_result: bool, other: &Lettered| -> Vec<char> {
        let wanted =
            |c: &&char| other.letters.contains(c) == in_other && result.contains(c) == in_result;
        x.letters.iter().filter(wanted).copied().collect()
    };
    let shared = of(&a, true, true, &b);
    let summed = of(&a, true, false, &b);
    let (mut rows, columns) = (of(&a, false, true, &b), of(&b, false, true, &a));
    // The batch among the rows beside shared letters goes before these: the other operand is the
    // same for each image.
    let grows = |x: &Lettered, c: char| matches!(x.dims(site, &[c])[..], [Dim::Batch(_)]);
    let lead: Vec<char> = rows.iter().copied().filter(|&c| grows(&a, c)).collect();
    if lead.is_empty() && !shared.is_empty() && columns.iter().any(|&c| grows(&b, c)) {
        return product(site, b, a, result);
    }
    let lead = if shared.is_empty() { Vec::new() } else { lead };
    rows.retain(|c| !lead.contains(c));
    if shared.is_empty() && columns.iter().chain(&rows).count() > 0 && b_grows(site, &b) {
        // The batch stands in the rows, which need not be merged.
        return product(site, b, a, result);
    }
    let (row_dims, column_dims) = (a.dims(site, &rows), b.dims(site, &columns));
    let x = a.turned(site, &[&lead[..], &shared, &rows, &summed].concat())?;
    let mut y = b.turned(site, &[&shared[..], &summed, &columns].concat())?;
    for _ in &lead {
        let op = Op::Unsqueeze(crate::graph::op::Unsqueeze { axes: vec![0] });
        y = site.part("spread", op, &[y])?;
    }
    let shared = [lead, shared].concat();
    let s = shared.len();
    // Rows of a product without shared letters stay apart: it broadcasts over them.
    let apart = s == 0 && !rows.is_empty();
    let x = one_axis(site, x, s + rows.len(), summed.len())?;
    let x = if apart {
        x
    } else {
        one_axis(site, x, s, rows.len())?
    };
    let y = one_axis(site, y, s + summed.len(), columns.len())?;
    let y = one_axis(site, y, s, summed.len())?;
    let z = site.part("product", Op::MatMul(MatMul), &[x, y])?;
    let mut shape = sizes(&site.scope.dims(z)[..s]);
    shape.extend(sizes(&row_dims));
    shape.extend(sizes(&column_dims));
    let order = [&shared[..], &rows, &columns].concat();
    let whole = rows.len() == 1 && columns.len() == 1 || apart && columns.len() == 1;
    let z = if whole {
        z
    } else {
        site.part("parted", Op::Reshape(Reshape { shape }), &[z])?
    };
    let op = turn(&order, result)?;
    Ok((op.unwrap_or(Op::Unary(Unary::Identity)), vec![z]))
}

fn b_grows(site: &Site<'_, '_>, b: &Lettered) -> bool {
    let dims = site.scope.dims(b.id);
    dims.iter().any(|d| matches!(d, Dim::Batch(_)))
}

/// `count` axes from `from` on as one; a new one of size 1 where there are none.
fn one_axis(
    site: &mut Site<'_, '_>,
    id: ValueId,
    from: usize,
    count: usize,
) -> Result<ValueId, String> {
    if count > 0 {
        return merged(site, id, from, count);
    }
    let axes = vec![from as i64];
    let op = Op::Unsqueeze(crate::graph::op::Unsqueeze { axes });
    site.part("single", op, &[id])
}
