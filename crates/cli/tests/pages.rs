//! Every report in a real browser: nothing runs over its window at three widths, no chart is empty, no name is run, nothing is
//! said on the console. Without a Chromium these tests only look at the text of the pages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn supernode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_supernode")).current_dir(ROOT).args(arguments).output().unwrap()
}

/// A scenario with a name that a page must not run.
fn hostile_scenario(folder: &Path) -> String {
    let hostile = "<script>hacked=1</script><img src=x onerror=parent.hacked=1>\"'";
    let scenario = folder.join("scenario.toml");
    let text = std::fs::read_to_string(format!("{ROOT}/examples/scenarios/failure-storm.toml")).unwrap();
    let named = text.lines().map(|line| match line.starts_with("name") {
        true => format!("name = '''{hostile}'''"),
        false => line.to_owned(),
    });
    std::fs::write(&scenario, named.collect::<Vec<_>>().join("\n")).unwrap();
    scenario.display().to_string()
}

/// Every command that writes a page, with a question that is quickly answered.
const COMMANDS: [(&str, &str); 12] = [
    ("compare", "compare h100-8 h200-8 mi300x-8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 128"),
    ("plan", "plan serve --model meta-llama/Llama-3.1-8B --system h100-8 --isl 512 --osl 128"),
    (
        "estimate",
        "estimate --system h100-8 --model meta-llama/Llama-3.1-70B --tp 4 --isl 1024 --osl 256 --concurrency 32 \
         --weight-dtype fp8",
    ),
    ("simulate", "simulate SCENARIO --requests 600"),
    (
        "train",
        "train --system h100-8 --chips 64 --shape layers=32,hidden=4096,heads=32,vocab=32000 --global-batch 64 \
         --seq 2048 --tp 2 --pp 4 --tokens 1T",
    ),
    (
        "plan-train",
        "plan train --system h100-8 --chips 8 --shape layers=8,hidden=2048,heads=16,vocab=32000 --global-batch 16 \
         --seq 2048",
    ),
    ("validate", "validate --data validation/serving.csv"),
    ("cluster", "cluster examples/cluster/tenants.toml --policy fifo,drf"),
    ("fit", "fit deepseek-ai/DeepSeek-R1 --system cloudmatrix384"),
    ("own", "own --system h100-8 --years 4 --rate 1500 --api-price 0.5USD"),
    (
        "second-source",
        "second-source h100-8 mi300x-8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 128 --chips 8",
    ),
    (
        "match",
        "match --chip ascend-910d --against h100 --chips 8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 128 --odds",
    ),
];

/// The page of every command in both languages, with what it is.
fn pages(folder: &Path) -> Vec<(String, String)> {
    let scenario = hostile_scenario(folder);
    let mut asked: Vec<(&str, &str, &str)> = Vec::new();
    for (name, line) in COMMANDS {
        asked.extend(["en", "zh"].map(|lang| (name, line, lang)));
    }
    let page = |(name, line, lang): &(&str, &str, &str)| {
        let file = folder.join(format!("{name}-{lang}.html")).display().to_string();
        let words =
            line.split_whitespace().map(|word| if word == "SCENARIO" { scenario.as_str() } else { word });
        let arguments: Vec<&str> = words.chain(["--html", &file, "--lang", lang]).collect();
        let output = supernode(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {message}");
        (format!("{name} ({lang})"), std::fs::read_to_string(&file).unwrap())
    };
    let (mine, theirs) = asked.split_at(asked.len() / 2);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| theirs.iter().map(page).collect::<Vec<_>>());
        let mut pages: Vec<(String, String)> = mine.iter().map(page).collect();
        pages.extend(others.join().unwrap());
        pages
    })
}

/// What every page is, browser or not.
#[track_caller]
fn whole(name: &str, page: &str) {
    assert!(page.len() < 1_000_000, "{name} has {} bytes", page.len());
    assert!(page.contains("class=\"headline\""), "{name} has no headline");
    // A time of more than ten seconds is not in milliseconds, and no name of the source is a word of a page.
    let text = visible(page);
    for word in text.split(|letter: char| letter.is_whitespace() || "，。（）；：".contains(letter)) {
        assert!(
            !["lm", "ffn", "hbm", "step_time", "several-servers", "kv-offload"].contains(&word),
            "{name}: {word}"
        );
    }
    for (figure, unit) in text.split_whitespace().zip(text.split_whitespace().skip(1)) {
        let figure: f64 = figure.replace(',', "").parse().unwrap_or(0.0);
        assert!(!(unit.starts_with("ms") && figure >= 10_000.0), "{name}: {figure} {unit}");
    }
    if name.ends_with("(zh)") {
        let chinese = text.chars().filter(|letter| ('\u{4e00}'..='\u{9fff}').contains(letter)).count();
        assert!(chinese > 100, "{name} has {chinese} Chinese characters");
        assert!(page.contains("<html lang=\"zh\""), "{name}");
    }
    for forbidden in ["<script", "<img", " onerror=\"", "src=\"http", "@import", "url("] {
        assert!(!page.contains(forbidden), "{name} holds `{forbidden}`");
    }
}

/// What a reader sees of a page, roughly: the text between its tags.
fn visible(page: &str) -> String {
    let body = page.split_once("<body>").map_or(page, |(_, body)| body);
    body.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| format!("{text} ")).collect()
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

/// With a name for a headline nothing is spelt otherwise than the catalog spells it.
#[test]
fn headlines_begin_with_a_sentence_and_keys_stay_as_they_are() {
    let style = include_str!("../../report/src/page/style.css");
    let capitals = style.lines().filter(|line| line.contains("text-transform:uppercase"));
    assert!(capitals.clone().all(|line| !line.contains(".headline") && !line.contains("td")), "{style}");
    assert_eq!(capitals.count(), 1);
    let folder = tempfile::tempdir().unwrap();
    for (name, line) in [COMMANDS[8], COMMANDS[9]] {
        let file = folder.path().join(format!("{name}.html")).display().to_string();
        let arguments: Vec<&str> = line.split_whitespace().chain(["--html", &file]).collect();
        assert_eq!(supernode(&arguments).status.code(), Some(0), "{name}");
        let page = std::fs::read_to_string(&file).unwrap();
        let headline = page.split("class=\"headline\">").nth(1).unwrap();
        let first = headline.chars().next().unwrap();
        assert!(first.is_uppercase() || first.is_ascii_digit(), "{name}: {headline:.80}");
    }
}

/// Places that a line takes on a terminal.
fn places(line: &str) -> usize {
    line.chars().map(|letter| if u32::from(letter) >= 0x2e80 { 2 } else { 1 }).sum()
}

/// Whatever prints tables fits a terminal of 80 columns, in both languages; what is left out is said, with the flag that shows
/// it. A single word that is longer (an address) stays whole.
#[test]
fn tables_and_sentences_fit_eighty_columns() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = hostile_scenario(folder.path());
    let others = [
        ("catalog list", "catalog list"),
        ("catalog show", "catalog show cloudmatrix384"),
        ("catalog diff", "catalog diff ascend-910c h100"),
        ("catalog supply", "catalog supply cloudmatrix384 --fleet 100"),
        ("catalog keys", "catalog keys"),
        ("model show", "model show deepseek-ai/DeepSeek-R1"),
        ("export-rules", "export-rules h20"),
        ("doctor", "doctor"),
        ("guide", "guide"),
    ];
    let mut left_out = 0;
    for (name, line) in COMMANDS.iter().chain(&others) {
        let words =
            line.split_whitespace().map(|word| if word == "SCENARIO" { scenario.as_str() } else { word });
        let arguments: Vec<&str> = words.chain(["--width", "80"]).collect();
        let output = supernode(&arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        for line in text.lines() {
            assert!(places(line) <= 80 || !line.trim().contains(' '), "{name}: {line}");
        }
        assert!(!text.contains("(left out:") || text.contains("--wide"), "{name}: {text}");
        left_out += usize::from(text.contains("(left out:"));
    }
    assert!(left_out > 3, "{left_out} tables were too wide");
    for line in [COMMANDS[2].1, COMMANDS[8].1] {
        let output = supernode(&line.split(' ').chain(["--width", "80", "--lang", "zh"]).collect::<Vec<_>>());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            assert!(places(line) <= 80 || !line.trim().contains(' '), "{line}");
        }
    }
}

/// After an answer and after a no the last line says what to try next; after bad input it does not.
#[test]
fn every_answer_ends_with_what_to_try_next() {
    let last = |line: &str| {
        let output = supernode(&line.split_whitespace().collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
    };
    for (line, code) in [
        ("catalog list chips", 0),
        ("catalog keys", 0),
        ("model list", 0),
        ("guide cost", 0),
        ("guide xyzzy", 1),
        ("completions bash", 0),
        ("man plan serve", 0),
        ("own --system h100-8", 0),
        ("own --system h800-8", 1),
        ("catalog list --find nobody-makes-this", 1),
        ("fit deepseek-ai/DeepSeek-R1 --system cloudmatrix384", 0),
        ("compare h100-8 --model meta-llama/Llama-3.1-8B --tpot 1us", 1),
    ] {
        let (found, said) = last(line);
        assert_eq!(found, Some(code), "{line}: {said}");
        assert!(said.starts_with("next: "), "{line}: {said}");
    }
    let (code, said) = last("catalog show nothing-of-that-name");
    assert_eq!(code, Some(2));
    assert!(!said.starts_with("next: "), "{said}");
}

/// Systems, chips and models are named alike; what may stand alone may also be a flag, and a system's name stands for its chip.
#[test]
fn one_vocabulary_for_systems_chips_and_models() {
    let text = |line: &str| {
        let output = supernode(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let job = "--model meta-llama/Llama-3.1-8B --isl 512 --osl 64 --chips 8";
    for (one, other) in [
        (format!("compare h100-8 h200-8 {job}"), format!("compare --system h100-8,h200-8 {job}")),
        (format!("compare --chip h100 {job}"), format!("compare --chip h100-8 {job}")),
        (
            format!("second-source h100-8 mi300x-8 {job}"),
            format!("second-source --system h100-8 --system mi300x-8 {job}"),
        ),
        (
            "fit meta-llama/Llama-3.1-8B --system cloudmatrix384".to_owned(),
            "fit --model meta-llama/Llama-3.1-8B --chip cm384".to_owned(),
        ),
        ("export-rules ascend-910c".to_owned(), "export-rules cm384".to_owned()),
        (
            format!("estimate --system h100-8 --chip h200 {}", job.replace(" --chips 8", "")),
            format!("estimate --system h100-8 --chip h200-8 {}", job.replace(" --chips 8", "")),
        ),
    ] {
        assert_eq!(text(&one), text(&other), "{other}");
    }
    let none = supernode(&["second-source", "h100-8"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("at least one other"));
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
