//! The binary `fgmf`: results on standard output, everything else on standard error; exit 0 done, 1
//! a stated threshold failed or a picture could not be read, 2 error.

mod arguments;
mod commands;
mod console;
mod hint;
mod outcome;
mod radius;
mod team_arguments;

use clap::Parser;
use outcome::Outcome;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let run = || -> anyhow::Result<Outcome> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(arguments.threads.map_or(0, usize::from))
            .build()?;
        threads.install(|| commands::run(&arguments))
    };
    std::panic::set_hook(Box::new(|found| {
        // A panic while an image is decoded becomes an error of that file.
        if !fgmf::data::is_decoding() {
            console::bug(&found.to_string());
        }
    }));
    match std::panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(Outcome::Done)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::BelowThreshold | Outcome::Incomplete)) => ExitCode::from(1),
        Ok(Err(error)) => {
            console::error(&error, hint::of(&error));
            ExitCode::from(2)
        }
        // The hook has said what happened.
        Err(_) => ExitCode::from(2),
    }
}
