//! What a reader is shown of a model.

use insta::assert_snapshot;
use supernode_model::{builtin, show};

fn shown(id: &str) -> String {
    builtin(id).map_or_else(|error| error.to_string(), |model| show(&model))
}

#[test]
fn latent_attention_with_experts_and_a_prediction_module() {
    assert_snapshot!(shown("deepseek-ai/DeepSeek-R1"), @r"
    model
      id                      deepseek-ai/DeepSeek-R1
      family                  deepseek_v3
      hidden size             7168
      vocabulary              129280
      longest context         163840 tokens
      layers                  61

    layers
      3 x                     latent attention 128 heads, rank 512; gated feed-forward 18432
      58 x                    latent attention 128 heads, rank 512; 8 of 256 experts of 2048 + shared 2048
      1 x                     multi-token prediction: latent attention 128 heads, rank 512; 8 of 256 experts of 2048 + shared 2048

    parameters
      total                   671.0264 B
      active per token        37.5523 B
      embedding               926.6790 M
      attention               11.4135 B
      dense feed-forward      1.1891 B
      routed experts          653.9088 B (20.4346 B active)
      shared experts          2.5543 B
      router                  106.4453 M
      norms                   881.6640 k
      output head             926.6790 M
      multi-token prediction  11.6101 B (688.1006 M active)

    formats
      weights                 fp8_block (activations fp8_block)
      attention               fp8_block
      routed experts          fp8_block (activations fp8_block)
      embedding, head         bf16
      cache                   bf16

    weight bytes
      total                   673.2 GB
      embedding               1.853 GB
      attention               11.42 GB
      dense feed-forward      1.189 GB
      routed experts          654.1 GB
      shared experts          2.555 GB
      router                  212.9 MB
      norms                   1.763 MB
      output head             1.853 GB
      multi-token prediction  11.61 GB

    cache
      per token               70.27 kB (layers that keep the whole context)
      61 x latents            70.27 kB per token
      one sequence            11.51 GB at 163840 tokens

    FLOPs per token
      prefill                 81.63 GFLOP (mean over a prompt of 4096 tokens)
      decode                  142.8 GFLOP (after 4096 tokens)
      attention               33.06 GFLOP prefill, 92.42 GFLOP decode
      dense feed-forward      2.378 GFLOP prefill, 2.378 GFLOP decode
      routed experts          40.87 GFLOP prefill, 40.87 GFLOP decode
      shared experts          5.109 GFLOP prefill, 5.109 GFLOP decode
      router                  212.9 MFLOP prefill, 212.9 MFLOP decode
      output head             452480 FLOP prefill, 1.853 GFLOP decode
    ");
}

#[test]
fn hybrid_with_a_vision_tower() {
    assert_snapshot!(shown("Qwen/Qwen3.5-27B"), @r"
    model
      id                           Qwen/Qwen3.5-27B
      family                       qwen3_5_text
      hidden size                  5120
      vocabulary                   248320
      longest context              262144 tokens
      layers                       64

    layers
      48 x                         linear attention 48 states of 128 x 128; gated feed-forward 17408
      16 x                         attention 24/4 heads of 256, gated; gated feed-forward 17408
      1 x                          multi-token prediction: attention 24/4 heads of 256, gated; gated feed-forward 17408

    parameters
      total                        26.8960 B
      active per token             26.8960 B
      embedding                    1.2714 B
      attention                    7.2398 B
      dense feed-forward           17.1128 B
      norms                        660.4800 k
      output head                  1.2714 B
      multi-token prediction       424.6994 M

    formats
      weights                      bf16 (activations bf16)
      attention                    bf16
      embedding, head              bf16
      cache                        bf16
      recurrent state              fp32

    weight bytes
      total                        53.79 GB
      embedding                    2.543 GB
      attention                    14.48 GB
      dense feed-forward           34.23 GB
      norms                        1.321 MB
      output head                  2.543 GB
      multi-token prediction       849.4 MB

    cache
      per token                    65.54 kB (layers that keep the whole context)
      48 x linear attention state  153.9 MB per sequence
      16 x keys and values         65.54 kB per token
      one sequence                 17.33 GB at 262144 tokens

    FLOPs per token
      prefill                      49.74 GFLOP (mean over a prompt of 4096 tokens)
      decode                       53.08 GFLOP (after 4096 tokens)
      attention                    15.51 GFLOP prefill, 16.32 GFLOP decode
      dense feed-forward           34.23 GFLOP prefill, 34.23 GFLOP decode
      output head                  620800 FLOP prefill, 2.543 GFLOP decode

    not described
                                   the vision tower (`vision_config`) is not described
    ");
}
