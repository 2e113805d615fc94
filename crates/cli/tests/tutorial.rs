//! `docs/calibrate.md`, command by command.

mod words;

use std::path::Path;
use std::process::Command;
use words::words;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The median error that `validate` printed.
fn median(text: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with("latency")).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

#[test]
fn the_made_up_chip_is_calibrated_as_the_page_says() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    copy(&project.join("examples"), &folder.path().join("examples"));
    let page = std::fs::read_to_string(project.join("docs/calibrate.md")).unwrap();
    let mut inside = false;
    let mut medians = Vec::new();
    let mut commands = 0;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
            continue;
        }
        let Some(arguments) = inside.then(|| words(line, '"')).filter(|words| !words.is_empty()) else {
            continue;
        };
        commands += 1;
        if arguments[0] == "cp" {
            copy(&folder.path().join(&arguments[2]), &folder.path().join(&arguments[3]).join("chips"));
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_supernode"))
            .args(&arguments[1..])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        if arguments[1] == "validate" {
            medians.push(median(&String::from_utf8(output.stdout).unwrap()));
        }
    }
    assert!(commands >= 6, "{commands} commands");
    let [before, after] = medians[..] else { panic!("{medians:?}") };
    assert!(before > 20.0 && after < 8.0, "{before} % before and {after} % after");
    let profile =
        std::fs::read_to_string(folder.path().join("my-catalog/kernels/example-x1.gemm.toml")).unwrap();
    for provenance in ["X1 bench", "date = \"20", "data = \"fnv1a:", "held_out = ", "spread = ", "fit = ["] {
        assert!(profile.contains(provenance), "{provenance}");
    }
}
