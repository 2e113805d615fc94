//! On how many ranks a command runs: torchrun, DeepSpeed, Slurm, MPI.

use crate::command::Invocation;
use crate::error::LaunchError;
use crate::flags::FlagValues;

/// Ranks beyond which a count is taken for a slip of the pen.
const MAX_RANKS: u64 = 4_000_000;

/// The ranks, if the launcher says them.
pub(crate) fn of(command: &Invocation<'_>) -> Result<Option<u32>, LaunchError> {
    let launcher = &command.launcher;
    let nodes = nodes(launcher)?;
    if let Some(total) = launcher.number("--worker_num")? {
        return Ok(Some(total));
    }
    let per_node = match launcher.text("--nproc_per_node").or(launcher.text("--nproc-per-node")) {
        Some("auto" | "gpu" | "npu" | "cpu") => None,
        _ => launcher.first(&["--nproc_per_node", "--nproc-per-node", "--num_gpus", "--num-gpus"])?,
    };
    let torch = command.launcher_words.iter().any(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name == "torchrun" || name == "deepspeed" || name.starts_with("torch.distributed.")
    });
    if let Some(per_node) = per_node {
        return product(launcher, per_node, nodes.unwrap_or(1)).map(Some);
    }
    if torch {
        return Ok(None);
    }
    // Slurm and MPI start the ranks themselves.
    if let Some(tasks) = launcher.first(&["--ntasks", "-n", "-np"])? {
        return Ok(Some(tasks));
    }
    match (launcher.number("--ntasks-per-node")?, nodes) {
        (Some(tasks), Some(nodes)) => product(launcher, tasks, nodes).map(Some),
        _ => Ok(None),
    }
}

/// Nodes, also of the elastic form `1:4`, which is what it may grow to.
fn nodes(launcher: &FlagValues) -> Result<Option<u32>, LaunchError> {
    if let Some((_, most)) = launcher.text("--nnodes").and_then(|text| text.split_once(':')) {
        return match most.parse() {
            Ok(most) => Ok(Some(most)),
            Err(_) => Err(launcher.bad("--nnodes", "write a number of nodes".to_owned())),
        };
    }
    launcher.first(&["--nnodes", "--num_nodes", "--num-nodes", "--nodes", "-N"])
}

fn product(launcher: &FlagValues, per_node: u32, nodes: u32) -> Result<u32, LaunchError> {
    let ranks = u64::from(per_node) * u64::from(nodes);
    if ranks == 0 || ranks > MAX_RANKS {
        return Err(launcher.bad("--nnodes", format!("{ranks} ranks: give 1 to {MAX_RANKS}")));
    }
    Ok(u32::try_from(ranks).unwrap_or(u32::MAX))
}
