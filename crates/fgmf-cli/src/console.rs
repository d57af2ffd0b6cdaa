//! What people see while they wait, and when something is wrong. The only place that writes to the
//! terminal.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module is the terminal"
)]

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A result, on standard output.
pub(crate) fn result(text: &str) {
    use std::io::Write;
    // A closed pipe is the reader's choice, not an error of ours.
    _ = writeln!(std::io::stdout(), "{text}");
}

/// A remark, on standard error.
pub(crate) fn say(quiet: bool, text: &str) {
    if !quiet {
        eprintln!("{text}");
    }
}

/// An error with its causes, and what to do about it if we know.
pub(crate) fn error(error: &anyhow::Error, hint: Option<&str>) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Transparent errors repeat what they wrap.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("error: {text}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

/// A progress bar with rate and time left; hidden if quiet or if standard error is no terminal.
pub(crate) fn bar(quiet: bool, length: usize, label: &str) -> ProgressBar {
    let bar = if quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(length as u64)
    };
    let style =
        ProgressStyle::with_template("{prefix:>12} [{bar:24}] {pos}/{len}  {eta} left  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
