//! Real configurations, where the reference data is beside the project, and the built-in descriptions made from them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use supernode_model::import::{from_json_quantized, from_path};
use supernode_model::{Model, builtin, builtin_ids};

/// A directory of the reference data.
fn reference(name: &str) -> PathBuf {
    let root = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA names the folder of reference data");
    Path::new(&root).join(name)
}

fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a readable directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(suffix));
    files.sort();
    files
}

/// The id in a file's name, where `--` stands for the slash.
fn id_of(file: &Path) -> String {
    let name = file.file_name().expect("a file name").to_string_lossy();
    name.trim_end_matches(".json").trim_end_matches(".hf_quant").replacen("--", "/", 1)
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn every_reference_configuration_imports_as_its_built_in_model() {
    let directory = reference("models");
    let configs: Vec<PathBuf> = files(&directory, ".json")
        .into_iter()
        .filter(|file| !file.to_string_lossy().contains("hf_quant"))
        .collect();
    assert!(configs.len() >= 80, "{} configurations", configs.len());
    for file in configs {
        let imported = from_path(&file).unwrap_or_else(|error| panic!("{error}"));
        let id = id_of(&file);
        let built_in = builtin(&id).unwrap_or_else(|error| panic!("{error}"));
        // A description may serve several families that differ in nothing but their name.
        // Towers and how a file was read belong to the file.
        let comparable = |model: Model| Model {
            id: id.clone(),
            family: String::new(),
            towers: Vec::new(),
            ignored: Vec::new(),
            reading: Vec::new(),
            ..model
        };
        assert_eq!(comparable(imported), comparable(built_in), "{id}");
    }
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn every_quantisation_file_is_understood() {
    let directory = reference("models");
    let quantisations = files(&directory, ".hf_quant.json");
    assert!(quantisations.len() >= 20, "{} quantisation files", quantisations.len());
    for file in quantisations {
        // One of them stands alone; it is read beside the configuration of the same line.
        let own = PathBuf::from(file.to_string_lossy().replace(".hf_quant.json", ".json"));
        let config = if own.is_file() { own } else { directory.join("Qwen--Qwen3.5-27B.json") };
        let read = |path: &Path| std::fs::read_to_string(path).expect("a readable file");
        let model = from_json_quantized(&read(&config), &read(&file), &id_of(&file));
        let formats = model.unwrap_or_else(|error| panic!("{error}")).quantization;
        let base = units::Dtype::Bf16;
        assert!(formats.weights != base || formats.experts != base, "{}: nothing is quantised", id_of(&file));
    }
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn every_measured_model_is_built_in() {
    let directory = reference("measured");
    let mut names = BTreeSet::new();
    for file in files(&directory, ".csv") {
        let mut reader = csv::Reader::from_path(&file).expect("a readable table");
        let headers = reader.headers().expect("a header").clone();
        let Some(column) = headers.iter().position(|header| header == "model") else { continue };
        for record in reader.records() {
            names.insert(record.expect("a record")[column].to_owned());
        }
    }
    assert!(names.len() >= 20, "{} models", names.len());
    for name in names {
        assert_eq!(builtin(&name).map(|model| model.id), Ok(name.clone()));
        let short = name.rsplit_once('/').map_or(name.as_str(), |(_, short)| short);
        assert!(builtin(short).is_ok(), "{short} is ambiguous");
    }
}

#[test]
fn the_names_of_the_reference_resolve() {
    let names = [
        "Llama-3.1-8B",
        "Llama-3.1-70B",
        "Llama-3.1-405B",
        "Qwen3-8B",
        "Qwen3-14B",
        "Qwen3-32B",
        "Qwen3-30B-A3B",
        "Qwen3-235B-A22B",
        "Qwen3-235B-A22B-FP8",
        "Qwen3-Next-80B-A3B-Instruct",
        "Qwen3.5-27B",
        "Qwen3.5-122B-A10B",
        "Qwen3.5-397B-A17B",
        "DeepSeek-R1",
        "DeepSeek-R1-0528",
        "DeepSeek-V3",
        "DeepSeek-V3-0324",
        "DeepSeek-V3.1",
        "DeepSeek-V3.2",
        "DeepSeek-V3.2-Exp",
        "DeepSeek-V4-Flash",
        "DeepSeek-V4-Pro",
        "Kimi-K2-Instruct",
        "Kimi-K2-Thinking",
        "Kimi-K2.5",
        "Kimi-K2.6",
        "GLM-4.5-Air",
        "GLM-5",
        "GLM-5.1",
        "GLM-5.2",
        "zhipuai/GLM-5.2",
        "MiniMax-M2.5",
        "MiniMax-M2.7",
        "MiniMax-M3",
        "gpt-oss-20b",
        "gpt-oss-120b",
        "Gemma-4-26B-A4B",
        "Mixtral-8x7B-v0.1",
        "Mixtral-8x22B-v0.1",
        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "Nemotron-H-56B-Base-8K",
        "pangu-pro-moe-model",
        "LongCat-Flash-Chat",
        "LongCat-Flash-Lite",
        "Ling-2.5-1T",
        "Hy3",
        "Llama-4-Scout-17B-16E-Instruct",
        "Llama-4-Maverick-17B-128E-Instruct",
        "nvidia/GLM-5-NVFP4",
        "gpt-3-175b",
        "Llama-2-7b-hf",
        "Meta-Llama-3-8B",
        "Qwen2.5-72B-Instruct",
        "DeepSeek-V2",
        "DeepSeek-V2-Lite",
        "Mistral-7B-v0.1",
    ];
    for name in names {
        assert!(builtin(name).is_ok(), "{:?}", builtin(name).map(|model| model.id));
    }
    assert_eq!(
        builtin_ids().iter().collect::<BTreeSet<_>>().len(),
        builtin_ids().len(),
        "an id is listed twice"
    );
}
