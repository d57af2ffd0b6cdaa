//! Rows of figures, and the tests between them.

use crate::error::Result;
use crate::measure::paired::{holm, paired_t, wilcoxon};
use crate::measure::weighting::entropy_weights;
use crate::metric::criteria;
use crate::metric::parts::info::Figure;
use crate::record::{
    CriteriaRow, ExplainerTest, FigureRow, InputTest, PairedDifference, mean_interval,
};

/// A row, from its values.
pub(crate) fn row(
    explainer: &str,
    metric: &str,
    figure: &Figure,
    input: &str,
    values: Vec<Option<f64>>,
) -> FigureRow {
    FigureRow::new([explainer, metric, figure.id, input], figure.better, values)
}

/// Second less first, over the examples that have both.
pub(crate) fn paired(first: &FigureRow, second: &FigureRow) -> Result<PairedDifference> {
    let both = first
        .values
        .iter()
        .zip(&second.values)
        .filter_map(|(a, b)| Some((*b)? - (*a)?));
    let differences: Vec<f64> = both.collect();
    let (difference, interval) = mean_interval(&differences);
    Ok(PairedDifference {
        n: differences.len(),
        difference,
        interval,
        t: paired_t(&differences)?,
        wilcoxon: wilcoxon(&differences)?,
    })
}

fn find<'a>(
    rows: &'a [FigureRow],
    explainer: &str,
    figure: &str,
    input: &str,
) -> Option<&'a FigureRow> {
    rows.iter()
        .find(|r| r.explainer == explainer && r.figure == figure && r.input == input)
}

fn figures(rows: &[FigureRow]) -> Vec<&str> {
    let mut out: Vec<&str> = Vec::new();
    for r in rows {
        if !out.contains(&r.figure.as_str()) {
            out.push(&r.figure);
        }
    }
    out
}

/// The first input against each of the others, for each explainer and figure that both have.
pub(crate) fn inputs(
    rows: &[FigureRow],
    names: &[&str],
    explainers: &[&str],
) -> Result<Vec<InputTest>> {
    let mut out = Vec::new();
    let Some((first, others)) = names.split_first() else {
        return Ok(out);
    };
    for explainer in explainers {
        for figure in figures(rows) {
            for other in others {
                if let (Some(a), Some(b)) = (
                    find(rows, explainer, figure, first),
                    find(rows, explainer, figure, other),
                ) {
                    let inputs = [(*first).to_owned(), (*other).to_owned()];
                    out.push(InputTest {
                        explainer: (*explainer).into(),
                        figure: figure.into(),
                        inputs,
                        paired: paired(a, b)?,
                    });
                }
            }
        }
    }
    Ok(out)
}

/// The entropy-weighted score of the five criteria, for each input on which every explainer has all
/// five.
pub(crate) fn criteria(
    rows: &[FigureRow],
    names: &[&str],
    explainers: &[&str],
) -> Result<Vec<CriteriaRow>> {
    let ids: Vec<&str> = criteria::INFO.figures.iter().map(|f| f.id).collect();
    let mut out = Vec::new();
    for input in names {
        let of = |explainer: &&str| {
            let mean = |id: &&str| {
                find(rows, explainer, id, input)
                    .filter(|r| r.n > 0)
                    .map(|r| r.mean)
            };
            criteria::normalised(ids.iter().map(mean).collect::<Option<Vec<f64>>>()?)
        };
        let Some(scores) = explainers.iter().map(of).collect::<Option<Vec<Vec<f64>>>>() else {
            continue;
        };
        let weights = entropy_weights(&scores)?;
        let total = |s: &Vec<f64>| s.iter().zip(&weights).map(|(s, w)| s * w).sum::<f64>();
        let scores = explainers
            .iter()
            .zip(&scores)
            .map(|(e, s)| ((*e).to_owned(), total(s)))
            .collect();
        out.push(CriteriaRow {
            input: (*input).into(),
            criteria: ids.iter().map(|i| (*i).to_owned()).collect(),
            weights,
            scores,
        });
    }
    Ok(out)
}

/// Every pair of explainers, for each figure and input; p-values corrected over the pairs.
pub(crate) fn explainers(
    rows: &[FigureRow],
    names: &[&str],
    explainers: &[&str],
) -> Result<Vec<ExplainerTest>> {
    let mut out = Vec::new();
    for figure in figures(rows) {
        for input in names {
            let start = out.len();
            for (i, first) in explainers.iter().enumerate() {
                for second in &explainers[i + 1..] {
                    if let (Some(a), Some(b)) = (
                        find(rows, first, figure, input),
                        find(rows, second, figure, input),
                    ) {
                        let explainers = [(*first).to_owned(), (*second).to_owned()];
                        let paired = paired(a, b)?;
                        out.push(ExplainerTest {
                            figure: figure.into(),
                            input: (*input).into(),
                            explainers,
                            paired,
                            holm: 1.0,
                        });
                    }
                }
            }
            let p: Vec<f64> = out[start..]
                .iter()
                .map(|t: &ExplainerTest| t.paired.wilcoxon.p)
                .collect();
            out[start..]
                .iter_mut()
                .zip(holm(&p))
                .for_each(|(t, p)| t.holm = p);
        }
    }
    Ok(out)
}
