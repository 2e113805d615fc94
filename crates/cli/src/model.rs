//! `supernode model`.

use crate::common::{Failure, print, print_exactly};
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
        /// Hugging Face id of a built-in model, the path of a config.json or its folder, or sizes such as
        /// layers=32,hidden=4096,heads=32,kv-heads=8,ffn=14336,vocab=128256,gated=true.
        model: String,
        /// A key of the config.json that nothing understands and that leaves the computation as it is; may be repeated.
        #[arg(long = "ignore-key", value_name = "KEY")]
        ignore_keys: Vec<String>,
        /// Print a JSON document instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// The architecture of a config.json, as the files of built-in models state it.
    Describe {
        /// The path of a config.json or its folder.
        config: String,
        /// Where the file is from, to be recorded.
        #[arg(long, value_name = "WORDS")]
        source: String,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::List => print(&(model::builtin_ids().join("\n") + "\n")),
        Action::Describe { config, source } => {
            print_exactly(&model::describe(&model::resolve(config)?, source)?)
        }
        Action::Show { model, ignore_keys, json } => {
            let read =
                |keys: Vec<String>| model::resolve_with(model, &model::ImportOptions { ignore_keys: keys });
            let found = read(ignore_keys.clone())?;
            for key in ignore_keys {
                let others = ignore_keys.iter().filter(|other| *other != key).cloned().collect();
                if read(others).is_ok_and(|other| other == found) {
                    let message = format!(
                        "--ignore-key {key} has no effect: the model has no such key that nothing understands"
                    );
                    return Err(Failure::Input(message));
                }
            }
            if *json {
                return print(&format!("{:#}\n", model::document(&found)));
            }
            print(&model::show(&found))
        }
    }
}
