use super::*;
use crate::serving::read_serving;
use crate::table::Table;

const HEADER: &str =
    "id,source,system,chips,model,engine,engine_version,mode,isl,osl,concurrency,tp,dp,ep,weight_dtype";

/// The launches that are kept with the project.
fn shipped() -> Launches {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../validation/launches");
    Launches::open(&folder).unwrap()
}

/// A row as it was launched: chips, sizes, version, cache, budget, gathering, stream interval.
fn check(row: &str) -> String {
    let table = Table::read(format!("{HEADER}\n{row}\n").as_bytes(), "t.csv").unwrap();
    let row = read_serving(&table).unwrap().remove(0).launched_as(&shipped());
    let Launch { point, gathering, requests, .. } = row.launch;
    let sizes = point.sizes;
    format!(
        "{} chips tp {} dp {} ep {} {} | kv {:?} budget {:?} {:?} stream {:?} requests {requests:?} {:?}",
        point.chips.unwrap_or(0.0),
        sizes.tp.unwrap_or(0),
        sizes.dp.unwrap_or(0),
        sizes.ep.unwrap_or(0),
        point.engine_version.as_deref().unwrap_or("any"),
        point.formats.kv,
        point.token_budget,
        gathering.map(|g| (g.tokens, g.requests, g.settle, g.timeout)),
        point.stream_interval,
        point.execution,
    )
}

#[test]
fn rows_are_launched_as_published() {
    let launches = [
        "a,a paper,h100-8,4,MiniMaxAI/MiniMax-M2.5,vllm,,agg,1024,1024,4,1,4,4,",
        "a,\"InferenceX, 2026-03-27\",h100-8,4,MiniMaxAI/MiniMax-M2.5,vllm,0.18.0,agg,1024,1024,4,1,4,4,",
        "a,\"InferenceX, 2026-04-17\",b300-8,4,MiniMaxAI/MiniMax-M2.5,vllm,0.19.0,agg,8192,1024,512,2,2,4,",
        "a,\"InferenceX, 2025-10-29\",h100-8,2,meta-llama/Llama-3.1-70B,vllm,,agg,1024,1024,4,2,1,1,",
        "a,\"InferenceX, 2025-10-29\",b200-8,2,meta-llama/Llama-3.1-70B,trtllm,,agg,1024,1024,4,2,1,1,",
        "a,\"InferenceX, 2025-11-02\",h200-8,8,deepseek-ai/DeepSeek-V3,trtllm,,agg,8192,1024,64,8,1,1,",
        "a,\"InferenceX, 2026-01-07\",b200-8,2,openai/gpt-oss-120b,trtllm,1.2.0,agg,1024,1024,64,1,2,2,",
        "a,\"InferenceX, 2026-01-07\",b300-8,2,openai/gpt-oss-120b,trtllm,1.2.0,agg,1024,1024,64,1,2,2,",
        "a,AIConfigurator gap analysis,h100-8,2,Qwen/Qwen3-32B,vllm,0.12.0,agg,1024,128,8,2,1,1,",
        "ASC-217,nightly,atlas-800i-a3,0.5,Qwen/Qwen3-30B-A3B,vllm-ascend,main,agg,3500,1500,45,1,1,1,",
        "ASC-218,nightly,atlas-800i-a3,1,Qwen/Qwen3-30B-A3B,vllm-ascend,main,agg,3500,1500,20,2,1,2,",
    ];
    insta::assert_snapshot!(launches.map(check).join("\n"), @r"
    4 chips tp 1 dp 4 ep 4 any | kv None budget None None stream None requests None None
    4 chips tp 4 dp 1 ep 4 0.18.0 | kv None budget None None stream None requests None None
    2 chips tp 1 dp 2 ep 2 0.19.0 | kv Some(Fp8) budget Some(16384) None stream None requests None None
    2 chips tp 2 dp 1 ep 1 0.11 | kv None budget None None stream None requests None None
    2 chips tp 2 dp 1 ep 1 any | kv Some(Fp8) budget Some(16384) Some((14745, 1, 0, 20)) stream None requests None None
    8 chips tp 1 dp 8 ep 8 any | kv Some(Fp8) budget Some(8320) Some((0, 8, 0, 60)) stream None requests None None
    2 chips tp 1 dp 2 ep 2 1.2.0 | kv Some(Fp8) budget Some(20000) Some((0, 2, 10, 50)) stream None requests None None
    2 chips tp 1 dp 2 ep 2 1.2.0 | kv None budget None None stream None requests None None
    2 chips tp 2 dp 1 ep 1 0.12.0 | kv None budget Some(2532) None stream None requests None None
    0.5 chips tp 1 dp 1 ep 1 main | kv None budget Some(16384) None stream None requests Some(180) Some(FullGraph)
    1 chips tp 2 dp 1 ep 2 main | kv None budget None None stream None requests Some(80) Some(Eager)
    ");
}

#[test]
fn what_a_table_says_is_kept_and_what_it_cannot_launch_is_replaced() {
    let mut launches = Launches::default();
    let text = r#"
        [[launch]]
        source = "a script"
        rows = { id = "a*", concurrency = { above = 4 } }
        set = { kv_dtype = "fp8", weight_dtype = "int4" }
        replace = { tp = 2 }
    "#;
    launches.add(text, Path::new("l.toml")).unwrap();
    let launched = |row: &str| {
        let table = Table::read(format!("{HEADER}\n{row}\n").as_bytes(), "t.csv").unwrap();
        let launch = read_serving(&table).unwrap().remove(0).launched_as(&launches).launch;
        let point = launch.point;
        format!(
            "{:?} {:?} tp {:?} {:?}",
            point.formats.kv, point.formats.weight, point.sizes.tp, launch.sources
        )
    };
    let rows = [
        "a1,x,s,1,m,vllm,,agg,1,1,8,1,1,1,bf16",
        "a1,x,s,1,m,vllm,,agg,1,1,4,1,1,1,bf16",
        "b,x,s,1,m,vllm,,agg,1,1,8,1,1,1,",
    ];
    insta::assert_snapshot!(rows.map(launched).join("\n"), @r#"
    Some(Fp8) Some(Bf16) tp Some(2) ["a script"]
    None Some(Bf16) tp Some(1) []
    None None tp Some(1) []
    "#);
}

#[test]
fn what_is_wrong_is_named_with_its_entry() {
    let wrong = |text: &str| {
        let text = format!("[[launch]]\nsource = \"a script: a flag\"\n{text}");
        Launches::default().add(&text, Path::new("l.toml")).unwrap_err().to_string()
    };
    let short = |text: &str| {
        let message = wrong(text);
        message.lines().next().and_then(|line| line.split(';').next()).unwrap_or_default().to_owned()
    };
    let texts = [
        "rows = { id = \"a\" }\nset = { token_budgets = 3 }",
        "rows = { id = \"a\" }\nset = { tp = \"four\" }",
        "rows = { chipss = 3 }",
        "set = { tp = 4 }",
    ];
    insta::assert_snapshot!(texts.map(short).join("\n"), @r"
    l.toml: entry 1, `token_budgets`: is not a key of an operating point
    l.toml: entry 1, `tp`: `four` is not a whole number
    l.toml: entry 1, `chipss`: is no column that rows can be told by
    l.toml: TOML parse error at line 1, column 1
    ");
}

#[test]
fn columns_say_what_a_launch_file_says() {
    let header = "id,system,model,mode,max_seqs,graph,requests,request_rate,gathering,memory_fraction,stream_interval,prefix_cache,prefix_hit,launch_source";
    let read = |cells: &str| {
        let table = Table::read(format!("{header}\n{cells}\n").as_bytes(), "t.csv").unwrap();
        match read_serving(&table) {
            Ok(rows) => {
                let Launch { point, gathering, requests, request_rate, sources } = rows[0].launch.clone();
                format!(
                    "{:?} {:?} {gathering:?} {requests:?} {request_rate:?} {:?} {:?} {sources:?}",
                    point.max_sequences, point.execution, point.memory_fraction, point.stream_interval
                )
            }
            Err(error) => error.to_string(),
        }
    };
    let rows = [
        "a,s,m,agg,16,full,400,11.2,timeout=60;requests=8,0.85,10,off,,a script",
        "a,s,m,agg,16,graph,400,11.2,,,,,,",
        "a,s,m,agg,,,,,requests=8,,,,,",
        "a,s,m,agg,,,,,,,,off,0.5,",
        "a,s,m,agg,,,,,,,,sometimes,,",
    ];
    insta::assert_snapshot!(rows.map(read).join("\n"), @r#"
    Some(16) Some(FullGraph) Some(Gathering { tokens: 0, requests: 8, settle: 0, timeout: 60 }) Some(400) Some(11.2) Some(0.85) Some(10.0) ["a script"]
    t.csv: line 2, column graph: `graph` is not an execution mode; use eager, piecewise or full-graph
    t.csv: line 2, column gathering: `requests=8` has no timeout; say after how many steps prompts start anyway, timeout=STEPS
    t.csv: line 2, column prefix_cache: `off` contradicts `prefix_hit`; say which of them holds
    t.csv: line 2, column prefix_cache: `sometimes` is not on or off
    "#);
}

#[test]
fn a_column_that_nobody_reads_is_refused() {
    let table = Table::read("id,system,model,mode,tpp\na,s,m,agg,4\n".as_bytes(), "t.csv").unwrap();
    let error = read_serving(&table).unwrap_err().to_string();
    assert!(error.contains("the column `tpp` is none of a serving table"), "{error}");
}
