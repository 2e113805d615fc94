//! `supernode export`.

use crate::common::{Failure, print};
use ::export::{Choice, ExportError, LaunchFile, Options, Target};
use planner::plan_file::PlanFile;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Writes a serving plan as launch files of an engine or orchestrator.
#[derive(clap::Args)]
pub struct Args {
    /// What `plan serve --json` printed; - is standard input.
    plan: PathBuf,
    /// vllm, vllm-ascend, sglang, trtllm, dynamo, llm-d or lws.
    #[arg(long, value_name = "TARGET")]
    to: Target,
    /// Folder for the files; they are printed one after the other without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// best, aggregated, disaggregated, or a place in the plan's list of the best, from 1.
    #[arg(long, value_name = "WHICH", default_value = "best")]
    deployment: Choice,
    /// File with the addresses of the nodes, one a line, those of the first pool first.
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Host memory of each device's share of a cache pool, GiB (vLLM on Ascend, by Mooncake).
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..=65536))]
    kv_pool: Option<u32>,
    /// Container image instead of the published one, for manifests.
    #[arg(long)]
    image: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let plan = PlanFile::parse(&read(&args.plan)?)
        .map_err(|error| Failure::Input(format!("{}: {error}", args.plan.display())))?;
    let options = Options {
        choice: args.deployment,
        hosts: args.hosts.as_deref().map(hosts).transpose()?.unwrap_or_default(),
        kv_pool: args.kv_pool,
        image: args.image.clone(),
    };
    let files = ::export::export(&plan, args.to, &options).map_err(failure)?;
    match &args.out {
        Some(folder) => write(folder, &files),
        None => print(&listing(&files)),
    }
}

/// A plan that the target cannot carry out is an answer, not a mistake.
fn failure(error: ExportError) -> Failure {
    match error {
        ExportError::NoDeployment { .. } | ExportError::Pool { .. } => Failure::No(error.to_string()),
        other => Failure::Input(other.to_string()),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let result = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|found| text = found)
    };
    result.map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
    Ok(text)
}

/// Addresses, one a line; they end up in scripts, so that nothing but an address is one.
fn hosts(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read(path)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            let address =
                line.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-_:[]".contains(letter));
            if address && !line.starts_with('-') {
                return Ok(line.to_owned());
            }
            let problem = format!("`{line}` is no address; give a name or an IP address a line");
            Err(Failure::Input(format!("{}, line {}: {problem}", path.display(), at + 1)))
        })
        .collect()
}

/// All files, each after its name; one alone without it.
fn listing(files: &[LaunchFile]) -> String {
    match files {
        [file] => file.text.clone(),
        files => files.iter().map(|file| format!("==> {} <==\n{}\n", file.name, file.text)).collect(),
    }
}

fn write(folder: &Path, files: &[LaunchFile]) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::Input(format!("{}: cannot be written ({error}); choose another folder", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut names = String::new();
    for file in files {
        let path = folder.join(&file.name);
        std::fs::write(&path, &file.text).map_err(|error| failed(&path, error))?;
        if file.executable {
            make_executable(&path).map_err(|error| failed(&path, error))?;
        }
        names += &format!("{}\n", path.display());
    }
    print(&names)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> std::io::Result<()> {
    Ok(())
}
