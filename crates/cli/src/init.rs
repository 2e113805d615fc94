//! `supernode init`: a commented file to begin with, which runs as it is.

use crate::common::{Failure, print, print_exactly, write_file};
use std::path::PathBuf;

/// Writes a commented scenario, job, chip, sweep or cluster file that runs as it is.
#[derive(clap::Args)]
pub struct Args {
    /// What to begin with.
    #[arg(value_name = "KIND", value_enum)]
    kind: Kind,
    /// File to write, which must not be there yet; printed if left out.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Traffic and deployments, for `simulate` and `up`.
    Scenario,
    /// A training job, for `train --job`.
    Job,
    /// A chip of one's own, for a folder given to `--catalog`.
    Chip,
    /// A design over a job, for `sweep`.
    Sweep,
    /// Jobs, tenants and services that share a machine, for `cluster`.
    Cluster,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Scenario => include_str!("init/scenario.toml"),
            Self::Job => include_str!("init/job.toml"),
            Self::Chip => include_str!("init/chip.toml"),
            Self::Sweep => include_str!("init/sweep.toml"),
            Self::Cluster => include_str!("init/cluster.toml"),
        }
    }
}

/// Runs `init`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = args.kind.text();
    let Some(file) = &args.file else { return print_exactly(text) };
    if file.exists() {
        return Err(Failure::Input(format!("{}: is there already; choose another name", file.display())));
    }
    write_file(file, text)?;
    print(&format!("wrote {}; its first lines say how to run it\n", file.display()))
}
