use super::*;
use serde_json::json;

const CELLS: u64 = 40;

fn plan(osl: u32) -> Plan {
    let text = format!(
        "kind = \"estimate\"\n[base]\nsystem = \"h100-8\"\nmodel = \"meta-llama/Llama-3.1-8B\"\nosl = {osl}
[vary]\nisl = {{ from = 1, to = {CELLS}, steps = {CELLS} }}\n"
    );
    Plan::parse(Path::new("spec.toml"), &text, None, &[]).expect("a plan")
}

fn row(cell: u64) -> Row {
    let status = if cell % 7 == 0 { "refused" } else { "ok" };
    let values = json!({ "cell": cell, "status": status, "isl": cell + 1, "ttft_ms": cell as f64 / 3.0 });
    Row { cell, values: values.as_object().expect("a table").clone() }
}

fn open(folder: &Path) -> Store {
    Store::open(folder, &plan(8)).expect("opens")
}

fn keep(store: &Store, cells: impl IntoIterator<Item = u64>) {
    cells.into_iter().for_each(|cell| store.keep(&row(cell)).expect("keeps"));
}

/// Finishes the sweep and returns the bytes of its rows.
fn finish(folder: &Path) -> (Vec<u8>, Tally) {
    let store = open(folder);
    let pending: Vec<u64> = store.pending().collect();
    keep(&store, pending);
    let (path, tally) = store.finish().expect("finishes");
    (std::fs::read(path).expect("reads"), tally)
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn rows_are_kept_in_the_order_of_cells_whatever_the_order_they_come_in() {
    let (forward, backward) = (temporary(), temporary());
    keep(&open(backward.path()), (0..CELLS).rev());
    let (bytes, tally) = finish(forward.path());
    assert_eq!(finish(backward.path()).0, bytes);
    assert_eq!((tally.of(Status::Ok), tally.of(Status::Refused), tally.of(Status::Failed)), (34, 6, 0));
    let mut cells = Vec::new();
    rows::read(&forward.path().join(ROWS), |row| cells.push(row[0].clone())).expect("reads");
    assert_eq!(cells, (0..CELLS).map(|cell| Cell::Whole(cell as i64)).collect::<Vec<_>>());
    let left: Vec<String> = std::fs::read_dir(forward.path())
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left.iter().collect::<BTreeSet<_>>().len(), 3, "{left:?}");
}

#[test]
fn what_was_kept_is_not_asked_for_again() {
    let folder = temporary();
    keep(&open(folder.path()), [3, 1, 30]);
    let store = open(folder.path());
    assert_eq!(store.done(), 3);
    let pending: Vec<u64> = store.pending().collect();
    assert_eq!(pending, (0..CELLS).filter(|cell| ![1, 3, 30].contains(cell)).collect::<Vec<_>>());
}

/// Leaves a folder as a crash might, and expects the same rows in the end.
#[track_caller]
fn check_crash(crash: impl FnOnce(&Path)) {
    let (whole, crashed) = (temporary(), temporary());
    keep(&open(crashed.path()), 0..20);
    crash(crashed.path());
    assert_eq!(finish(crashed.path()), finish(whole.path()));
}

fn append(path: PathBuf, bytes: &[u8]) {
    use std::io::Write;
    let mut file = File::options().create(true).append(true).open(path).expect("opens");
    file.write_all(bytes).expect("writes");
}

#[test]
fn every_trace_of_a_crash_is_mended() {
    let journal = |folder: &Path, segment: u64| folder.join(format!("journal-{segment:06}.jsonl"));
    // Half a line at the end.
    check_crash(|folder| append(journal(folder, 1), b"{\"cell\":20,\"sta"));
    // A line of zeros, as some file systems leave one when the power fails.
    check_crash(|folder| append(journal(folder, 1), &[0; 40]));
    // A row of another segment, a row twice.
    check_crash(|folder| append(journal(folder, 1), format!("{}\n", row(2).line()).as_bytes()));
    check_crash(|folder| append(journal(folder, 1), format!("{}\n", row(16).line()).as_bytes()));
    // The journal of a part, half a part, a full journal without its part.
    check_crash(|folder| append(journal(folder, 0), format!("{}\n", row(0).line()).as_bytes()));
    check_crash(|folder| append(folder.join("part-000001.parquet.unfinished"), b"PAR1"));
    check_crash(|folder| {
        let lines: String = (32..40).map(|cell| format!("{}\n", row(cell).line())).collect();
        append(journal(folder, 2), lines.as_bytes());
    });
    // A part and a journal beside the whole.
    check_crash(|folder| {
        finish(folder);
        append(folder.join("part-000000.parquet"), b"anything");
        append(journal(folder, 1), b"anything");
        finish(folder);
        assert!(!journal(folder, 1).exists() && !folder.join("part-000000.parquet").exists());
    });
}

#[track_caller]
fn check_refused(folder: &Path, plan: &Plan, word: &str) {
    let error = Store::open(folder, plan).err().expect("refused").to_string();
    assert!(error.contains(word) && error.contains("`out`"), "{error}");
}

#[test]
fn folders_that_are_taken_are_refused() {
    let folder = temporary();
    let store = open(folder.path());
    check_refused(folder.path(), &plan(8), "another process");
    drop(store);
    check_refused(folder.path(), &plan(9), "another sweep");
    let strange = temporary();
    append(strange.path().join("thesis.txt"), b"mine");
    check_refused(strange.path(), &plan(8), "not empty");
}
