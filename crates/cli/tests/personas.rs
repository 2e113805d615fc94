//! The pages for buyers, operators, architects and engineers: every command in them runs, in the order they stand in.

use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The lines of shell in a page.
fn lines(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{ROOT}/docs/{page}")).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[track_caller]
fn runs(page: &str, least: usize) {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(format!("{ROOT}/validation"), folder.path().join("validation")).unwrap();
    let lines = lines(page);
    assert!(lines.len() >= least, "{page} has {} commands", lines.len());
    let binary = Path::new(env!("CARGO_BIN_EXE_supernode")).parent().unwrap().to_owned();
    let path = std::env::join_paths(
        std::iter::once(binary).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    for line in lines {
        let output = Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.path())
            .env("PATH", path.as_ref().unwrap())
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{page}: {line}\n{message}");
    }
}

#[test]
fn a_buyer_gets_answers() {
    runs("buyer.md", 7);
}

#[test]
fn an_operator_gets_answers() {
    runs("operator.md", 8);
}

#[test]
fn an_architect_gets_answers() {
    runs("architect.md", 9);
}

#[test]
fn an_engineer_gets_answers() {
    runs("ml-engineer.md", 6);
}

/// Every file that `init` writes runs as it is; each answer says what to try next.
#[test]
fn files_to_begin_with_run_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_supernode"))
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap()
    };
    for (kind, then) in [
        ("scenario", vec!["simulate", "scenario.toml"]),
        ("job", vec!["train", "--job", "job.toml"]),
        ("sweep", vec!["sweep", "sweep.toml", "--out", "rows"]),
        ("cluster", vec!["cluster", "cluster.toml"]),
    ] {
        let file = format!("{kind}.toml");
        assert_eq!(run(&["init", kind, &file]).status.code(), Some(0), "{kind}");
        assert_eq!(run(&["init", kind, &file]).status.code(), Some(2), "{kind} is not written over");
        let output = run(&then);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{kind}: {message}");
        assert!(message.lines().any(|line| line.starts_with("next: ")), "{kind}: {message}");
    }
}

#[test]
fn completions_manuals_and_the_guide_come_from_the_flags() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_supernode")).current_dir(ROOT).args(arguments).output().unwrap()
    };
    let text = |arguments: &[&str]| String::from_utf8(run(arguments).stdout).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&["completions", shell]).contains("second-source"), "{shell}");
    }
    assert!(text(&["man", "plan", "serve"]).contains(".TH supernode-plan-serve"));
    assert_eq!(run(&["man", "nothing"]).status.code(), Some(2));
    assert!(text(&["guide", "cost"]).contains("supernode own"));
    assert_eq!(run(&["guide", "xyzzy"]).status.code(), Some(1));
    let doctor: serde_json::Value = serde_json::from_str(&text(&["doctor", "--json"])).unwrap();
    assert_eq!(doctor["schema"], "supernode.doctor/1");
    assert!(text(&["estimate", "--help"]).contains("Layout:"));
    assert!(text(&["--help"]).contains("Ask of one deployment:"));
}

#[test]
fn tables_fit_where_that_is_asked_for() {
    let arguments = ["catalog", "list", "chips", "--width", "80"];
    let output = Command::new(env!("CARGO_BIN_EXE_supernode")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("left out:") && text.contains("--wide"), "{text}");
}
