//! Serving launches of every form.

use supernode_launch::{Inputs, ServingLaunch, read_serving, releases};

const OPTIONS: &str = "enable_attention_dp: true\nkv_cache_config:\n  free_gpu_memory_fraction: 0.8\n  dtype: fp8\n\
                       speculative_config:\n  decoding_type: MTP\n  num_nextn_predict_layers: 3\n";

fn line(launch: &ServingLaunch) -> String {
    let keys: Vec<String> =
        launch.keys().iter().map(|key| format!("{} {}", key.flags[0], key.value)).collect();
    let missing: Vec<&str> = launch.missing().map(|flag| flag.flag.as_str()).collect();
    let missing =
        if missing.is_empty() { String::new() } else { format!(" | without {}", missing.join(" ")) };
    format!("{} {} | {}{missing}", launch.engine, launch.model, keys.join(", "))
}

/// Launches in lines: engine, model, keys, what is lacking.
fn lines(file: &str, text: &str) -> String {
    let files = |name: &str| (name == "options.yaml").then(|| OPTIONS.to_owned());
    let inputs = Inputs { files: Some(&files), ..Inputs::default() };
    match read_serving(file, text, &inputs) {
        Err(error) => error.to_string(),
        Ok(launches) => launches.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(lines("launch", text), expected, "{text}");
}

#[track_caller]
fn check_manifest(text: &str, expected: &str) {
    assert_eq!(lines("m.yaml", text), expected, "{text}");
}

#[test]
fn vllm() {
    check("vllm serve a/b", "vllm a/b | tp 1");
    check(
        "vllm serve a/b -tp 8 --max_model_len 32K --gpu-memory-utilization=0.95 --max-num-seqs 256 --kv-cache-dtype fp8 --enforce-eager",
        "vllm a/b | tp 8, max-seqs 256, max-length 32768, memory-utilisation 0.95, kv-dtype fp8, execution eager",
    );
    check(
        "python3 -m vllm.entrypoints.openai.api_server --model a/b -dp 4 --tensor-parallel-size 2 --enable-expert-parallel",
        "vllm a/b | tp 2, dp 4, ep 8",
    );
    check(
        "vllm serve a/b --speculative-config '{\"method\":\"mtp\",\"num_speculative_tokens\":3}' -O0 --no-enable-prefix-caching",
        "vllm a/b | tp 1, execution eager, spec-tokens 3, prefix-cache false",
    );
    check(
        "vllm serve a/b --speculative-config.method ngram --speculative-config.num_speculative_tokens 2",
        "vllm a/b | tp 1, spec-tokens 2 | without --speculative-config",
    );
    check(
        "MODEL=a/b\nARGS=(--cpu-offload-gb 10\n --host 0.0.0.0 --frob)\nCUDA_VISIBLE_DEVICES=0 exec vllm serve $MODEL \"${ARGS[@]}\"",
        "vllm a/b | tp 1 | without --cpu-offload-gb --frob",
    );
}

#[test]
fn vllm_refused() {
    check(
        "vllm serve $MODEL",
        "launch:1: model depends on `MODEL`, which the script does not set; give --env MODEL=VALUE",
    );
    check(
        "vllm serve a/b --gpu-memory-utilization 1.5",
        "launch:1: --gpu-memory-utilization: `1.5` is not a share from 0 to 1",
    );
    check(
        "vllm serve a/b --tensor-parallel-size 0",
        "launch:1: --tensor-parallel-size: 0 is not from 1 to 65536",
    );
    check(
        "vllm serve a/b --quantization zip",
        "launch:1: --quantization: `zip` is not a way of quantising that is known",
    );
    check(
        "echo hello",
        "launch: found no command that starts a server: vllm serve, python -m sglang.launch_server or trtllm-serve",
    );
}

#[test]
fn sglang() {
    check(
        "python -m sglang.launch_server --model-path a/b --tp 16 --dp-size 8 --enable-dp-attention --moe-a2a-backend deepep \
         --max-running-requests 1024 --chunked-prefill-size 65536",
        "sglang a/b | tp 2, dp 8, ep 16, token-budget 8192, max-seqs 128, chunked-prefill true",
    );
    check("python -m sglang.launch_server --model a/b --tp 2 --dp 4", "sglang a/b | instances 4, tp 2");
    check(
        "python -m sglang.launch_server --model a/b --tp 8 --dp 3 --enable-dp-attention",
        "launch:1: --dp-size: 3 data-parallel ranks do not divide 8 tensor-parallel ones",
    );
}

#[test]
fn trtllm() {
    check(
        "trtllm-serve a/b --tp_size 8 --ep_size 8 --max_batch_size 64 --extra_llm_api_options options.yaml",
        "trtllm a/b | tp 1, dp 8, ep 8, max-seqs 64, memory-utilisation 0.8, kv-dtype fp8, spec-tokens 3",
    );
    check(
        "trtllm-serve a/b --config none.yaml",
        "launch:1: config: none.yaml was not found beside the launch",
    );
}

#[test]
fn manifests() {
    check_manifest(
        "services:\n  llm:\n    image: vllm/vllm-openai:latest\n    command: --model a/b --tensor-parallel-size 4\n  web:\n    \
         image: nginx\n    command: [nginx]\n",
        "vllm a/b | tp 4",
    );
    check_manifest(
        "apiVersion: apps/v1\nspec:\n  replicas: 3\n  template:\n    spec:\n      containers:\n      - image: any\n        \
         command: [/bin/sh, -c]\n        args: [\"vllm serve a/b --max-num-seqs $(SEQS)\"]\n        env:\n        - {name: SEQS, \
         value: \"64\"}\n",
        "vllm a/b | instances 3, tp 1, max-seqs 64",
    );
    check_manifest(
        "metadata: {name: m-prefill}\nspec: {containers: [{command: [vllm, serve, a/b], args: [-tp, \"2\"]}]}\n---\n\
         metadata: {name: m-decode}\nspec: {containers: [{command: [vllm, serve, a/b], args: [-dp, \"8\"]}]}\n",
        "vllm a/b | prefill-instances 1, prefill-tp 2\nvllm a/b | decode-instances 1, decode-tp 1, decode-dp 8",
    );
    check_manifest(
        "a: 1",
        "m.yaml: found no container that runs vllm serve, sglang.launch_server or trtllm-serve",
    );
    assert!(lines("m.yaml", "a: [").starts_with("m.yaml:2: cannot be read: this is no YAML"));
}

#[test]
fn releases_know_their_flags() {
    for engine in ["vllm", "sglang", "trtllm"] {
        assert!(releases(engine).iter().all(|release| release.flags.len() > 30), "{engine}");
    }
    let newest = releases("vllm").pop().expect("a release");
    assert!(
        newest.takes("--tensor-parallel-size")
            && newest.takes("--no-enable-prefix-caching")
            && newest.takes("-tp")
    );
    assert!(!newest.takes("--tensor-parallel"));
}

proptest::proptest! {
    #[test]
    fn no_manifest_breaks_the_reader(text in "(apiVersion: v1\n)?[-a-z: \\[\\]{}&*!|>'\"\n0-9$()]{0,120}") {
        let _ = lines("m.yaml", &text);
    }

    #[test]
    fn no_command_breaks_the_reader(text in "vllm serve [-a-z0-9_={}\":.,$' ]{0,120}") {
        let _ = lines("launch", &text);
    }
}
