//! The shipped coefficients against what they are held to.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn supernode(arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_supernode");
    Command::new(binary).args(arguments).current_dir(project()).output().unwrap()
}

fn assert_yes(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn predictions_of_published_rows_have_not_got_worse() {
    assert_yes(&supernode(&["accuracy", "--published", "validation"]));
}

#[test]
fn a_rise_is_an_answer_of_no_and_can_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["exchange.csv", "errors.toml"] {
        std::fs::copy(project().join("validation").join(name), folder.path().join(name)).unwrap();
    }
    let errors = folder.path().join("errors.toml");
    let shown = folder.path().display().to_string();
    assert_yes(&supernode(&["accuracy", "--published", &shown, "--accept"]));
    let accepted = std::fs::read_to_string(&errors).unwrap();
    let better = accepted.replace("median = 0.", "median = 0.00");
    assert_ne!(better, accepted);
    std::fs::write(&errors, better).unwrap();
    let output = supernode(&["accuracy", "--published", &shown]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("median error of latency"));
    std::fs::write(&errors, "rows = many").unwrap();
    assert_eq!(supernode(&["accuracy", "--published", &shown]).status.code(), Some(2));
    assert_eq!(supernode(&["accuracy", "--published", "nowhere"]).status.code(), Some(2));
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn the_document_is_current() {
    let data = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    assert_yes(&supernode(&["accuracy", "--data", &data, "--check", "docs/accuracy.md"]));
}
