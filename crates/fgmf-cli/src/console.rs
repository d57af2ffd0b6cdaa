//! What people see while they wait, and when something is wrong. The only place that writes to the
//! terminal.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module is the terminal"
)]

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// A result, on standard output. An error if it cannot be written; a reader who has closed the pipe
/// has seen enough.
pub(crate) fn result(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let put = writeln!(out, "{}", visible(text)).and_then(|()| out.flush());
    match put {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("standard output"))
        }
        _ => Ok(()),
    }
}

/// A remark, on standard error. Nobody can be told where that cannot be written.
pub(crate) fn say(quiet: bool, text: &str) {
    if !quiet {
        _ = writeln!(std::io::stderr(), "{}", visible(text));
    }
}

/// An error with its causes, and what to do about it if we know.
pub(crate) fn error(error: &anyhow::Error, hint: Option<&str>) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Transparent errors repeat what they wrap, that of a file without what kind it is.
        if !text.contains(cause.strip_prefix("graph: ").unwrap_or(&cause)) {
            text = format!("{text}: {cause}");
        }
    }
    say(false, &format!("error: {}", shortened(&one_line(&text))));
    if let Some(hint) = hint {
        say(false, &format!("hint: {hint}"));
    }
}

/// The end of a run that met a fault of ours.
pub(crate) fn bug(what: &str) {
    let text = format!(
        "error: {}; this is a bug of fgmf, please report it with the command",
        shortened(&one_line(what))
    );
    say(false, &text);
}

/// Characters of an error that are shown.
const LONGEST: usize = 2000;

fn shortened(text: &str) -> String {
    let more = text.chars().count().saturating_sub(LONGEST);
    if more == 0 {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start} … ({more} characters more)")
}

/// A name from a file, as it may stand in a line: nothing in it can start a line of its own or
/// steer a terminal.
pub(crate) fn one_line(name: &str) -> String {
    escaped(name, |c| c.is_control())
}

/// Text of ours with names from files in it: nothing in it can steer a terminal.
fn visible(text: &str) -> String {
    escaped(text, |c| c.is_control() && c != '\n')
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> String {
    let one = |c: char| {
        // Marks that turn the direction of writing can make a line read as another.
        let turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if hidden(c) || turns {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(one).collect()
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
    bar.set_prefix(one_line(label));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_a_terminal_or_start_a_line() {
        let name = "conv\u{1b}[2K\rworst case 99%\nnext\u{202e}";
        let shown = one_line(name);
        assert_eq!(shown, "conv\\u{1b}[2K\\rworst case 99%\\nnext\\u{202e}");
        assert_eq!(visible("a\nb\u{7}"), "a\nb\\u{7}");
        assert_eq!(visible("größer, 層"), "größer, 層");
    }

    #[test]
    fn long_errors_are_cut() {
        let long = shortened(&"x".repeat(1 << 20));
        assert!(long.len() < 2100 && long.ends_with("(1046576 characters more)"));
        assert_eq!(shortened("short"), "short");
    }
}
