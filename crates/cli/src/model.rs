//! `supernode model`.

use crate::common::{Failure, print};
use clap::Subcommand;

/// What a model is made of.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Names of the built-in models.
    List,
    /// Parameters, cache and arithmetic per token of one model.
    Show {
        /// Hugging Face id of a built-in model, or the path of a config.json or its folder.
        model: String,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::List => print(&(model::builtin_ids().join("\n") + "\n")),
        Action::Show { model } => print(&model::show(&model::resolve(model)?)),
    }
}
