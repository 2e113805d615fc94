//! Shipped attention coefficients against figures published by others, none of which was fitted.

use cost::kernels::Kernels;
use cost::ops::Precision;
use cost::ops::mla::Latent;
use hardware::Catalog;
use supernode_cost as cost;
use units::Dtype;

/// Rates of latent decode on one rank: operations per second with many heads and two queries, bytes per second with few
/// heads.
fn latent_decode(chip: &str, stack: &str) -> [f64; 2] {
    let catalog = Catalog::builtin();
    let chip = catalog.chip(chip).unwrap();
    let kernels = Kernels::load(&chip, &[stack.to_owned()], |id| catalog.text("kernels", id).ok());
    let both = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
    let kernel = kernels.mla_decode_kernel(both).unwrap();
    let busy = kernel.price(&Latent::DEEPSEEK.decode(128.0, 2.0, 4096.0, 128.0));
    let long = kernel.price(&Latent::DEEPSEEK.decode(512.0, 1.0, 8192.0, 16.0));
    [busy.flop.get() / busy.time.get(), long.bytes.get() / long.time.get()]
}

fn check(chip: &str, stack: &str, published: [f64; 2], tolerance: f64) {
    for (found, published) in latent_decode(chip, stack).into_iter().zip(published) {
        assert!((found / published - 1.0).abs() < tolerance, "{chip}: {found:.3e} against {published:.3e}");
    }
}

/// CloudMatrix384 paper (arXiv 2506.12708 v2), Tables 8 and 9: CANN's kernel on one die of a 910C.
#[test]
fn latent_decode_on_a_910c_die_is_as_published() {
    check("ascend-910c", "ascend", [246e12, 1346e9], 0.03);
}

/// The same tables: FlashMLA on an H800, which has an H100's die and memory. The coefficients are of TensorRT-LLM and
/// SGLang kernels on an H100, so another library's kernel may be somewhat off.
#[test]
fn latent_decode_on_an_h800_is_close_to_flash_mla() {
    check("h800", "sglang", [660e12, 3000e9], 0.25);
}
