//! Returns as lines.

use fgmf_record::{PlayedRecord, ReturnFigure};

fn figure(f: &ReturnFigure) -> String {
    let [lo, hi] = f.interval;
    format!("{:>8.2} [{lo:.2}, {hi:.2}]", f.value)
}

/// One line for each way to play.
pub(super) fn lines(played: &[PlayedRecord]) -> String {
    let mut text = format!(
        "{:<12} {:<28} {:<26} flips  victims",
        "", "return", "normalised"
    );
    for p in played {
        let normalised = p
            .normalised
            .as_ref()
            .map_or_else(|| "       –".to_owned(), figure);
        let victims: Vec<String> = p.victims.iter().map(usize::to_string).collect();
        text += &format!(
            "\n{:<12} {:<28} {normalised:<26} {:>4.0}%  {}",
            p.name,
            figure(&p.mean),
            100.0 * p.flips,
            victims.join(", ")
        );
    }
    text
}
