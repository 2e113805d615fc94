//! Why a plan cannot be exported.

/// Why a plan cannot be exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The plan has no such deployment.
    #[error("--deployment: the plan has no {wanted}; choose another")]
    NoDeployment {
        /// What was asked for.
        wanted: String,
    },
    /// The engine does not run on the chips.
    #[error(
        "--to {target} does not run on {chip} ({vendor}); it runs on chips of {runs_on}. Use --to {instead}"
    )]
    Chip {
        /// The target.
        target: &'static str,
        /// Key of the chip.
        chip: String,
        /// Its vendor.
        vendor: String,
        /// Whose chips it runs on.
        runs_on: String,
        /// Targets that run on the chip.
        instead: String,
    },
    /// The engine cannot be told to do this.
    #[error("--to {target}: the {pool} pool {problem}")]
    Pool {
        /// The target.
        target: &'static str,
        /// The pool.
        pool: &'static str,
        /// What it cannot do, and what to do.
        problem: String,
    },
    /// The text is no training plan.
    #[error("not a training plan: {problem}")]
    Training {
        /// What is wrong.
        problem: String,
    },
    /// The trainer cannot be told the layout or the model.
    #[error("--to {trainer} {problem}")]
    Layout {
        /// The trainer.
        trainer: &'static str,
        /// What it has no flags for, and what to do.
        problem: String,
    },
    /// The target has no cache pool.
    #[error("--kv-pool is the cache pool of vLLM on Ascend; leave it out with --to {target}")]
    KvPool {
        /// The target.
        target: &'static str,
    },
    /// Something that is no address; addresses end up in scripts.
    #[error("--hosts: `{address}` is no address; give a name or an IP address a line")]
    Address {
        /// As given.
        address: String,
    },
    /// Too few addresses.
    #[error("--hosts names {given} nodes, the plan takes {needed}; give one address a line")]
    Hosts {
        /// How many are given.
        given: usize,
        /// How many are needed.
        needed: usize,
    },
    /// More nodes than launch files are written for.
    #[error("the plan takes {needed} nodes; launch files are written for at most {most}")]
    Nodes {
        /// How many are needed.
        needed: usize,
        /// How many are possible.
        most: usize,
    },
    /// A template is broken, which is a mistake of the program.
    #[error("template {name}: {problem}")]
    Template {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}
