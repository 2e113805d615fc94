//! `supernode doctor`: what of the machine is missing for which command.

use crate::common::{Failure, print};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

/// Says what is missing here for `up`, Python, PDF and long sweeps, and what to do about it.
#[derive(clap::Args)]
pub struct Args {
    /// Port that `up` is to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    port: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found of one thing.
struct Finding {
    what: &'static str,
    good: bool,
    found: String,
    advice: &'static str,
}

/// Runs `doctor`. What is missing is no failure: most commands need nothing.
pub fn run(args: &Args) -> Result<(), Failure> {
    let findings = [catalog(), open_files(), port(args.port), python(), pdf(), cores(), folder()];
    if args.json {
        let all: Vec<_> = findings.iter().map(document).collect();
        return crate::common::print_json(
            &serde_json::json!({ "schema": "supernode.doctor/1", "findings": all }),
        );
    }
    let rows = findings.iter().map(|finding| {
        let state = if finding.good { "ready" } else { "missing" };
        let advice = if finding.good { "" } else { finding.advice };
        vec![finding.what.to_owned(), state.to_owned(), finding.found.clone(), advice.to_owned()]
    });
    print(&report::list(&["for", "", "found", "what to do"], rows))
}

fn document(finding: &Finding) -> serde_json::Value {
    serde_json::json!({
        "for": finding.what, "ready": finding.good, "found": finding.found,
        "advice": if finding.good { None } else { Some(finding.advice) },
    })
}

fn catalog() -> Finding {
    let problems = hardware::Catalog::builtin().check();
    Finding {
        what: "every answer: the built-in catalog",
        good: problems.is_empty(),
        found: if problems.is_empty() {
            "in order".to_owned()
        } else {
            format!("{} problems", problems.len())
        },
        advice: "`supernode catalog check` lists them",
    }
}

/// Each connection of a client is a file.
fn open_files() -> Finding {
    const WANTED: u64 = 16_384;
    #[cfg(feature = "live")]
    let limit = rlimit::getrlimit(rlimit::Resource::NOFILE).map(|(_, hard)| hard).unwrap_or(0);
    #[cfg(not(feature = "live"))]
    let limit = 0;
    Finding {
        what: "up: many connections at once",
        good: limit >= WANTED,
        found: format!("at most {limit} open files"),
        advice: "raise the limit of open files (`ulimit -Hn 65536`, or LimitNOFILE of the service)",
    }
}

fn port(port: u16) -> Finding {
    let bound = TcpListener::bind(("127.0.0.1", port));
    Finding {
        what: "up: a port to listen on",
        good: bound.is_ok(),
        found: match &bound {
            Ok(_) => format!("port {port} is free"),
            Err(error) => format!("port {port}: {error}"),
        },
        advice: "choose another with `supernode up --port`",
    }
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

fn python() -> Finding {
    let version = said("python3", &["--version"]);
    let module = said("python3", &["-c", "import supernode; print(supernode.__file__)"]);
    Finding {
        what: "Python: the module",
        good: module.is_some(),
        found: match (version, module) {
            (_, Some(place)) => place,
            (Some(version), None) => format!("{version}, but no module `supernode`"),
            (None, None) => "no python3".to_owned(),
        },
        advice: "build it from the folder `python` (`pip install ./python`)",
    }
}

fn pdf() -> Finding {
    let browser: Option<PathBuf> = report::find_chromium();
    Finding {
        what: "--pdf: a Chromium",
        good: browser.is_some(),
        found: browser.map_or_else(|| "none".to_owned(), |path| path.display().to_string()),
        advice: "install one (`apt install chromium`), or name it in SUPERNODE_CHROMIUM; --html needs none",
    }
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Finding {
        what: "plan, sweep, calibrate: cores",
        good: true,
        found: format!("{cores}, all of which are used"),
        advice: "",
    }
}

fn folder() -> Finding {
    let place = std::env::temp_dir();
    let good = tempfile::tempfile_in(&place).is_ok();
    Finding {
        what: "--out, --pdf: a folder for files in the making",
        good,
        found: place.display().to_string(),
        advice: "let TMPDIR name a folder that can be written to",
    }
}
