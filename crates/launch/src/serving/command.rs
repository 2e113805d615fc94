//! The command that starts a server, found among those of a script.

use super::{ServingLaunch, sglang, trtllm, vllm};
use crate::command::{Invocation, Wanted, read_script};
use crate::error::LaunchError;
use crate::flags::FlagTable;
use crate::inputs::Inputs;
use crate::shell::Shell;

/// Which server a command starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Vllm,
    Sglang,
    Trtllm,
}

/// The server that the words start, and where its own words begin.
fn server(words: &[String]) -> Option<(Server, usize)> {
    for (at, word) in words.iter().enumerate() {
        let name = word.rsplit('/').next().unwrap_or(word);
        let next = words.get(at + 1).map_or("", String::as_str);
        match (name, next) {
            ("vllm", "serve") => return Some((Server::Vllm, at + 2)),
            ("sglang", "serve") => return Some((Server::Sglang, at + 2)),
            ("trtllm-serve", "serve") => return Some((Server::Trtllm, at + 2)),
            ("trtllm-serve", _) => return Some((Server::Trtllm, at + 1)),
            ("-m", "vllm.entrypoints.openai.api_server" | "vllm.entrypoints.api_server" | "dynamo.vllm") => {
                return Some((Server::Vllm, at + 2));
            }
            ("-m", "sglang.launch_server" | "dynamo.sglang") => return Some((Server::Sglang, at + 2)),
            ("-m", "dynamo.trtllm") => return Some((Server::Trtllm, at + 2)),
            _ => {}
        }
    }
    None
}

static NONE: std::sync::LazyLock<FlagTable> = std::sync::LazyLock::new(|| FlagTable::parse(""));

/// Reads the server that a script or command line starts.
pub(super) fn read(file: &str, text: &str, inputs: &Inputs<'_>) -> Result<ServingLaunch, LaunchError> {
    let kind = Wanted {
        table: &NONE,
        begins: &|words| server(words).map(|(_, at)| at),
        least: 0,
        looked_for: "found no command that starts a server: vllm serve, python -m sglang.launch_server or trtllm-serve",
    };
    let (mut launch, notes) = read_script(file, text, inputs, &kind, &one)?;
    launch.notes.extend(notes);
    Ok(launch)
}

fn one(command: &Invocation<'_>, shell: &Shell<'_>) -> Result<ServingLaunch, LaunchError> {
    match server(command.launcher_words).map(|(server, _)| server) {
        Some(Server::Sglang) => sglang::launch(command),
        Some(Server::Trtllm) => trtllm::launch(command, shell),
        _ => vllm::launch(command, shell),
    }
}
