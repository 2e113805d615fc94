//! Inputs of people who are in a hurry, mistaken or malicious: each is refused with its exit code and a message that says
//! what is wrong, within its time and memory.

mod words;

use assert_cmd::cargo::cargo_bin;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use words::words;

/// One command a line: its exit code, words of its message apart by commas, the command. `{...}` stands for what is often
/// the same, and for files that are made for the test.
const TABLE: &str = include_str!("hostile.txt");

/// No refusal takes longer, on a busy machine and in a debug build.
const PATIENCE: Duration = Duration::from_secs(20);

const SHORT: [(&str, &str); 6] = [
    ("{job}", "--system h100-8 --model meta-llama/Llama-3.1-8B"),
    ("{moe}", "--system h100-8 --model Qwen/Qwen3-30B-A3B"),
    ("{estimate}", "estimate {job} --isl 1024 --osl 128"),
    ("{simulate}", "simulate {job} --requests 50 --rate 5 --isl 512 --osl 32"),
    ("{plan}", "plan serve {job} --isl 1024 --osl 128 --no-confirm"),
    ("{train}", "train {job} --chips 64 --global-batch 64"),
];

struct Case<'a> {
    line: usize,
    code: i32,
    words: Vec<&'a str>,
    command: String,
}

fn cases(folder: &Path) -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for (at, line) in TABLE.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let mut parts = line.splitn(3, '|').map(str::trim);
        let (Some(code), Some(words), Some(command)) = (parts.next(), parts.next(), parts.next()) else {
            panic!("hostile.txt, line {}: code | words | command", at + 1);
        };
        let mut command = command.to_owned();
        for (short, long) in SHORT.iter().rev() {
            command = command.replace(short, long);
        }
        let command = command.replace("{files}", &folder.display().to_string());
        let code = code.parse().unwrap_or_else(|_| panic!("hostile.txt, line {}: a code", at + 1));
        cases.push(Case {
            line: at + 1,
            code,
            words: words.split(", ").filter(|word| !word.is_empty()).collect(),
            command,
        });
    }
    cases
}

/// What is wrong with the answer to a case, if anything is.
fn run(case: &Case, folder: &Path) -> Option<String> {
    let start = Instant::now();
    let mut command = Command::new(cargo_bin("supernode"));
    let output = command.args(words(&case.command, '\'')).current_dir(folder).output().expect("it runs");
    let took = start.elapsed();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let mut problem = String::new();
    if output.status.code() != Some(case.code) {
        let _ = write!(problem, "exit code {:?}, expected {}; ", output.status.code(), case.code);
    }
    let missing: Vec<&str> = case.words.iter().copied().filter(|word| !text.contains(word)).collect();
    if !missing.is_empty() {
        let _ = write!(problem, "says nothing of {}; ", missing.join(", "));
    }
    if text.contains("panicked") || took > PATIENCE {
        let _ = write!(problem, "panics or takes {took:.1?}; ");
    }
    let message: String = text.chars().take(400).collect();
    let shown = format!("hostile.txt:{}: {}\n  {problem}\n  {}", case.line, case.command, message.trim());
    (!problem.is_empty()).then_some(shown)
}

/// Files that commands of the table name.
fn make_files(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("writes");
    let plan = include_str!("../../export/tests/plans/70b-h100.json");
    write("plan.json", plan.as_bytes());
    write("outside.json", plan.replace("\"aggregated\",\n", "\"../outside\",\n").as_bytes());
    write("no-ranks.json", plan.replace("\"tp\": 4", "\"tp\": 0").as_bytes());
    write("no-instances.json", plan.replace("\"instances\": 5", "\"instances\": 0").as_bytes());
    write("many.json", plan.replace("\"instances\": 5", "\"instances\": 4294967295").as_bytes());
    write("half.json", &plan.as_bytes()[..plan.len() / 2]);
    write("deep.json", "[".repeat(100_000).as_bytes());
    write("deep.toml", format!("a = {}", "[".repeat(100_000)).as_bytes());
    write("empty", b"");
    write("good-cluster.toml", include_bytes!("flags/cluster.toml"));
    write("binary", &[0xff, 0xfe, 0x00, 0x9f]);
    write("hosts", b"10.0.0.1\n$(reboot)\n");
    let scenario = |deployment: &str, workload: &str| {
        format!(
            "[[deployment]]\nmodel = \"meta-llama/Llama-3.1-8B\"\nsystem = \"h100-8\"\n{deployment}\n[workload]\n{workload}\n"
        )
    };
    let pool = "[[deployment.pool]]\ntp = 1";
    let open = "arrival = \"poisson\"\nrate = \"4 /s\"\nrequests = 20\nisl = 512\nosl = 32";
    let toml = |name: &str, deployment: &str, workload: &str| {
        write(&format!("{name}.toml"), scenario(deployment, workload).as_bytes());
    };
    toml("good", pool, open);
    toml("key", &format!("{pool}\ncolour = \"red\""), open);
    toml("zero", "[[deployment.pool]]\ntp = 0", open);
    toml("block", &format!("{pool}\nblock = 4294967295"), open);
    toml("instances", &format!("{pool}\ninstances = 4294967295"), open);
    toml("router", &format!("{pool}\nrouter = \"bogus\""), open);
    toml("burst", pool, &format!("{open}\nburst = 5"));
    toml("users", pool, &format!("{open}\nusers = 5"));
    toml("closed", pool, "arrival = \"closed\"\nusers = 4294967295\nrequests = 20\nisl = 512\nosl = 32");
    let sessions = "arrival = \"poisson\"\nrate = \"4 /s\"\nisl = 512\nosl = 32\n[workload.sessions]\ncount = 5\nturns = 2\nthink = \"1 s\"";
    toml("sessions", pool, &format!("{sessions}\nsystem = 4294967295"));
    toml("negative", pool, &format!("{open}\npatience = \"-1 s\""));
    toml("tight", pool, &open.replace("512", "4000000"));
    toml("none", "", open);
    write("traffic.csv", b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,12,-5\n");
    write("header.csv", b"what,is,this\n1,2,3\n");
    let table = "id,system,model,engine,mode,isl,osl,concurrency,tp,ttft_ms,tpot_ms";
    write(
        "row.csv",
        format!("{table}\na,h100-8,meta-llama/Llama-3.1-8B,vllm,agg,x,128,8,1,20,10\n").as_bytes(),
    );
    let bomb = std::fs::File::create(folder.join("bomb.csv.gz")).expect("creates");
    let mut bomb = flate2::write::GzEncoder::new(bomb, flate2::Compression::fast());
    writeln!(bomb, "{table}").expect("writes");
    // One field that does not end.
    let part = vec![b'1'; 1 << 20];
    (0..600).for_each(|_| bomb.write_all(&part).expect("writes"));
    bomb.finish().expect("writes");
}

#[test]
fn every_hostile_input_is_refused_as_the_table_says() {
    let folder = tempfile::tempdir().expect("a folder");
    make_files(folder.path());
    let cases = cases(folder.path());
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let (next, problems) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = run(case, folder.path());
                    problems.lock().expect("no panic").extend(found.map(|text| (case.line, text)));
                }
            });
        }
    });
    let mut problems = problems.into_inner().expect("no panic");
    problems.sort();
    let shown: Vec<String> = problems.into_iter().map(|(_, text)| text).collect();
    assert!(shown.is_empty(), "{} of {} cases:\n{}", shown.len(), cases.len(), shown.join("\n"));
    assert!(!folder.path().parent().expect("a folder").join("outside.sh").exists());
}
