//! Every report in a real browser: nothing runs over its window at three widths, no chart is empty, no name is run, nothing is
//! said on the console. Without a Chromium these tests only look at the text of the pages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn supernode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_supernode")).current_dir(ROOT).args(arguments).output().unwrap()
}

/// A page of its own for each command, with a name that a page must not run.
fn pages(folder: &Path) -> Vec<(String, String)> {
    let hostile = "<script>hacked=1</script><img src=x onerror=parent.hacked=1>\"'";
    let scenario = folder.join("scenario.toml");
    let text = std::fs::read_to_string(format!("{ROOT}/examples/scenarios/failure-storm.toml")).unwrap();
    let named = text.lines().map(|line| match line.starts_with("name") {
        true => format!("name = '''{hostile}'''"),
        false => line.to_owned(),
    });
    std::fs::write(&scenario, named.collect::<Vec<_>>().join("\n")).unwrap();
    let scenario = scenario.display().to_string();
    let llama = "meta-llama/Llama-3.1-8B";
    let commands: Vec<(&str, Vec<&str>)> = vec![
        (
            "compare",
            vec!["compare", "h100-8", "h200-8", "mi300x-8", "--model", llama, "--isl", "512", "--osl", "128"],
        ),
        (
            "plan",
            vec!["plan", "serve", "--model", llama, "--system", "h100-8", "--isl", "512", "--osl", "128"],
        ),
        (
            "estimate",
            vec![
                "estimate",
                "--system",
                "h100-8",
                "--model",
                "meta-llama/Llama-3.1-70B",
                "--tp",
                "4",
                "--isl",
                "1024",
                "--osl",
                "256",
                "--concurrency",
                "32",
                "--weight-dtype",
                "fp8",
            ],
        ),
        ("simulate", vec!["simulate", &scenario, "--requests", "600"]),
        (
            "train",
            vec![
                "train",
                "--system",
                "h100-8",
                "--chips",
                "64",
                "--shape",
                "layers=32,hidden=4096,heads=32,vocab=32000",
                "--global-batch",
                "64",
                "--seq",
                "2048",
                "--tp",
                "2",
                "--pp",
                "4",
                "--tokens",
                "1T",
            ],
        ),
        (
            "plan-train",
            vec![
                "plan",
                "train",
                "--system",
                "h100-8",
                "--chips",
                "8",
                "--shape",
                "layers=8,hidden=2048,heads=16,vocab=32000",
                "--global-batch",
                "16",
                "--seq",
                "2048",
            ],
        ),
        ("validate", vec!["validate", "--data", "validation/serving.csv"]),
        ("cluster", vec!["cluster", "examples/cluster/tenants.toml", "--policy", "fifo,drf"]),
    ];
    let mut pages = Vec::new();
    for (name, arguments) in commands {
        for lang in ["en", "zh"] {
            if lang == "zh" && !matches!(name, "compare" | "estimate") {
                continue;
            }
            let file = folder.join(format!("{name}-{lang}.html")).display().to_string();
            let output = supernode(&[&arguments[..], &["--html", &file, "--lang", lang]].concat());
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{name}: {message}");
            pages.push((format!("{name} ({lang})"), std::fs::read_to_string(&file).unwrap()));
        }
    }
    pages
}

/// What every page is, browser or not.
#[track_caller]
fn whole(name: &str, page: &str) {
    assert!(page.len() < 1_000_000, "{name} has {} bytes", page.len());
    assert!(page.contains("class=\"headline\""), "{name} has no headline");
    for forbidden in ["<script", "<img", " onerror=\"", "src=\"http", "@import", "url("] {
        assert!(!page.contains(forbidden), "{name} holds `{forbidden}`");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |chunk: &[u8], at: usize| {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        if at > chunk.len() { '=' } else { DIGITS[(word >> (18 - 6 * at) & 63) as usize] as char }
    };
    bytes.chunks(3).flat_map(|chunk| (0..4).map(move |at| digit(chunk, at))).collect()
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

#[test]
fn reports_are_whole_in_a_browser_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let pages = pages(folder.path());
    for (name, page) in &pages {
        whole(name, page);
    }
    let Some(chromium) = chromium() else {
        eprintln!("no Chromium: only the text of the pages was looked at");
        return;
    };
    let list: Vec<[String; 2]> =
        pages.iter().map(|(name, page)| [name.clone(), base64(page.as_bytes())]).collect();
    let probe =
        include_str!("pages/probe.html").replace("/*PAGES*/[]", &serde_json::to_string(&list).unwrap());
    let file = folder.path().join("probe.html");
    std::fs::write(&file, probe).unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--enable-logging=stderr"])
        .args(["--virtual-time-budget=20000", "--window-size=2600,1000"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let console: Vec<&str> = said.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(console.is_empty(), "on the console: {console:#?}");
    let seen = String::from_utf8_lossy(&output.stdout);
    let result = seen.split("<pre id=\"result\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    assert_eq!(result.map(str::trim), Some("looked"), "{said}");
}

#[test]
fn pdf_is_printed_or_what_to_install_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.pdf").display().to_string();
    let arguments = [
        "estimate",
        "--system",
        "h100-8",
        "--model",
        "meta-llama/Llama-3.1-8B",
        "--isl",
        "512",
        "--osl",
        "64",
        "--pdf",
        &file,
    ];
    let run = |browser: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supernode"));
        command.current_dir(ROOT).args(arguments);
        if let Some(browser) = browser {
            command.env("SUPERNODE_CHROMIUM", browser);
        }
        command.output().unwrap()
    };
    let none = run(Some("/nowhere/chromium"));
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("apt install chromium"));
    assert!(!Path::new(&file).exists());
    if chromium().is_some() {
        let printed = run(None);
        assert_eq!(printed.status.code(), Some(0), "{}", String::from_utf8_lossy(&printed.stderr));
        assert!(std::fs::read(&file).unwrap().starts_with(b"%PDF"));
    }
}

#[test]
fn tables_are_in_chinese_where_that_is_asked_for() {
    let arguments = [
        "estimate",
        "--system",
        "h100-8",
        "--model",
        "meta-llama/Llama-3.1-8B",
        "--isl",
        "512",
        "--osl",
        "64",
        "--lang",
    ];
    let zh = supernode(&[&arguments[..], &["zh"]].concat());
    let text = String::from_utf8(zh.stdout).unwrap();
    assert!(text.contains("瓶颈") && text.contains("假设条件"), "{text}");
    let wrong = supernode(&[&arguments[..], &["fr"]].concat());
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("use en or zh"));
}
