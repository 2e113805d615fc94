//! `validate` on tables of every kind.

use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn supernode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_supernode")).args(arguments).output().unwrap()
}

fn published(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../validation").join(name).display().to_string()
}

fn json(arguments: &[&str]) -> Value {
    let output = supernode(&[&["validate", "--json", "--data"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = supernode(&[&["validate", "--data"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A file in a folder of its own.
fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn refused(content: &[u8], name: &str, more: &[&str], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, name, content).display().to_string();
    let output = supernode(&[&["validate", "--data", &path], more].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn json_has_the_metrics_that_were_measured_and_no_others() {
    for (name, metrics) in [
        ("serving.csv", vec!["throughput", "tpot", "ttft"]),
        ("exchange.csv", vec!["latency"]),
        ("training.csv", vec!["step_time"]),
    ] {
        let value = json(&[&published(name)]);
        let found: Vec<&str> = value["metrics"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, metrics, "{name}");
        assert_eq!(value["coverage"], 1.0, "{name}");
        assert_eq!(value["band"]["level"], 0.8);
        let inside = value["band"]["inside"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&inside));
        for metric in metrics {
            let stats = &value["metrics"][metric];
            for key in ["n", "median_ape", "mean_ape", "p90_ape", "bias"] {
                assert!(stats[key].is_number(), "{name} {metric} {key}");
            }
            assert!(stats["median_ape"].as_f64().unwrap() <= stats["p90_ape"].as_f64().unwrap());
        }
        let groups = value["groups"].as_array().unwrap();
        let rows = |by: &str| -> u64 {
            let of = groups.iter().filter(|group| group["by"] == by);
            of.map(|group| group["rows"].as_u64().unwrap()).sum()
        };
        assert_eq!(rows("chip"), value["rows"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn serving_rows_are_broken_down_by_everything_that_tells_them_apart() {
    let value = json(&[&published("serving.csv")]);
    for by in ["system", "chip", "model", "engine", "mode", "load", "split"] {
        assert!(value["groups"].as_array().unwrap().iter().any(|group| group["by"] == by), "{by}");
    }
}

#[test]
fn a_packed_table_is_read_as_the_plain_one() {
    let folder = tempfile::tempdir().unwrap();
    let plain = std::fs::read(published("exchange.csv")).unwrap();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&plain).unwrap();
    let packed = file(&folder, "exchange.csv.gz", &packer.finish().unwrap());
    assert_eq!(json(&[&packed.display().to_string()]), json(&[&published("exchange.csv")]));
}

#[test]
fn a_row_that_times_both_directions_is_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from(
        "chip,framework,version,table,op_name,num_gpus,message_size,node_num,hidden_size,num_token,num_topk,\
         num_experts,combine_avg_t_us,dispatch_avg_t_us\n",
    );
    for token in [16, 128] {
        writeln!(table, "h100,sglang,0.5.12,wideep_deepep_ll,ll,,,1,7168,{token},8,256,60,50").unwrap();
    }
    let path = file(&folder, "t.csv", table.as_bytes()).display().to_string();
    let value = json(&[&path]);
    assert_eq!((&value["rows"], &value["predicted"]), (&2.into(), &2.into()), "{value}");
    assert_eq!(value["metrics"]["latency"]["n"], 4);
}

#[test]
fn operator_rows_that_time_nothing_known_count_against_coverage() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = std::fs::read_to_string(published("exchange.csv")).unwrap();
    table.push_str("x,nowhere,,UB read,Ascend 910C,inter-node,bandwidth,164,GB/s,\n");
    let path = file(&folder, "t.csv", table.as_bytes()).display().to_string();
    let value = json(&[&path]);
    assert_eq!((value["rows"].as_u64(), value["predicted"].as_u64()), (Some(25), Some(24)));
    let reasons = value["failures"].as_object().unwrap();
    assert!(reasons.keys().any(|reason| reason.contains("UB read")), "{reasons:?}");
}

#[test]
fn the_worst_rows_and_any_row_are_explained() {
    let worst = text(&[&published("serving.csv"), "--worst", "2"]);
    let listed: Vec<&str> = worst.lines().skip_while(|line| !line.starts_with("worst rows")).collect();
    assert!(listed.len() >= 5 && listed[2].contains(" step "), "{listed:?}");
    let row = text(&[&published("serving.csv"), "--explain", "cm384-prefill"]);
    assert!(row.contains("prefill step") && row.contains("memory per rank"), "{row}");
    let row = text(&[&published("training.csv"), "--explain", "sc21-t1-01"]);
    assert!(row.contains("matrix products"), "{row}");
    let row = text(&[&published("exchange.csv"), "--explain", "line 3"]);
    assert!(row.contains("measured  116 us") && row.contains("coefficient"), "{row}");
    let missing = supernode(&["validate", "--data", &published("exchange.csv"), "--explain", "nobody"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("nobody"));
}

#[test]
fn the_page_draws_predicted_against_measured() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    text(&[&published("exchange.csv"), "--html", &page.display().to_string()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("agreement") && page.contains("latency"));
}

#[test]
fn malformed_input_names_line_and_column() {
    let header = "id,system,model,mode,isl\n";
    refused(
        format!("{header}a,h100-8,Qwen/Qwen3-8B,agg,many\n").as_bytes(),
        "t.csv",
        &[],
        &["line 2", "column isl", "`many`"],
    );
    refused(format!("{header}a,h100-8\n").as_bytes(), "t.csv", &[], &["line: 2"]);
    refused(header.as_bytes(), "t.csv", &[], &["no rows"]);
    refused(b"", "t.csv", &[], &["t.csv"]);
    refused(b"\xff\xfe\x00", "t.csv", &[], &["t.csv"]);
    refused(b"not packed", "t.csv.gz", &[], &["t.csv.gz"]);
    let operators = "chip,framework,version,kernel_source,gemm_dtype,m,n,k,latency_us\n";
    refused(
        format!("{operators}h100,x,1,,bf16,1,2,three,4\n").as_bytes(),
        "t.csv",
        &[],
        &["line 2", "`k`", "`three`"],
    );
    let training = "id,framework,system,seq_len,layers,hidden,global_batch_seqs\n";
    refused(
        format!("{training}a,megatron,h100-8,long,1,1,1\n").as_bytes(),
        "t.csv",
        &[],
        &["line 2", "seq_len"],
    );
}
