//! `supernode completions` and `supernode man`: what a shell and a manual need, made from the flags themselves.

use crate::common::{Failure, print, print_exactly, write_file};
use clap::Command;
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// Completions for a shell, to its standard output.
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell: bash, zsh, fish, elvish or powershell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Manual pages.
#[derive(clap::Args)]
pub struct ManArgs {
    /// Command whose page is printed, for example `plan serve`; that of the whole by default.
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Folder for the pages of all commands.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs `completions`.
pub fn run_completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "supernode", &mut text);
    print_exactly(&String::from_utf8_lossy(&text))
}

/// Runs `man`.
pub fn run_man(args: &ManArgs, mut command: Command) -> Result<(), Failure> {
    command.build();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Input(format!("{}: {error}", folder.display())))?;
        let count = write_all(folder, &command, "supernode")?;
        return print(&format!("{count} pages in {}\n", folder.display()));
    }
    let mut found = &command;
    let mut name = "supernode".to_owned();
    for word in &args.command {
        let Some(sub) = found.find_subcommand(word) else {
            let known: Vec<&str> = found.get_subcommands().map(Command::get_name).collect();
            return Err(Failure::Input(format!(
                "`{word}` is not a command of {name}; use one of {}",
                known.join(", ")
            )));
        };
        found = sub;
        name = format!("{name}-{word}");
    }
    print_exactly(&page(found, &name)?)
}

fn page(command: &Command, name: &str) -> Result<String, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_owned())).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write_all(folder: &Path, command: &Command, name: &str) -> Result<usize, Failure> {
    write_file(&folder.join(format!("{name}.1")), &page(command, name)?)?;
    let mut count = 1;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        count += write_all(folder, sub, &format!("{name}-{}", sub.get_name()))?;
    }
    Ok(count)
}
