//! Tables of linear attention: convolutions and scans of the gated delta rule and of Mamba-2.

use crate::fit::GridOptions;
use crate::ops::{Form, OpFamily, OpRow, OpTable, Record, SetKey, Structure, TableError};
use crate::ops_attention::{GridBuilder, microseconds, table_key};
use cost::kernels::{
    CONVOLUTION_DECODE, CONVOLUTION_PREFILL, LINEAR_FEATURES, ParamSpec, ProfileError, SCAN_DECODE,
    SCAN_PREFILL, linear_features,
};
use cost::ops::linear_attention::{LinearAttention, SCAN_PARAMS, STREAM_PARAMS, Scan5, Stream6, Streaming};
use cost::ops::{Machine, Precision};
use units::Dtype;

/// A kernel of linear attention: columns `op_name` (`gdn` or `mamba2`), `kernel_source`, `phase`, `batch_size`,
/// `seq_len` and the widths of the layer.
#[derive(Debug, Clone, Copy)]
pub struct LinearFamily {
    /// Convolution or scan.
    pub scan: bool,
    /// New tokens or one per sequence.
    pub decode: bool,
}

impl LinearFamily {
    /// The four kernels.
    pub const ALL: [Self; 4] = [
        Self { scan: false, decode: false },
        Self { scan: false, decode: true },
        Self { scan: true, decode: false },
        Self { scan: true, decode: true },
    ];

    fn chunked(self) -> bool {
        self.scan && !self.decode
    }
}

/// Widths of a layer: value heads with a state of `k_dim` by `v_dim` each, fed by `k_heads`.
fn layer(record: &Record<'_>) -> Result<LinearAttention, TableError> {
    let mamba = record.text("op_name") == "mamba2";
    let [k_heads, v_heads, k_dim, v_dim] = if mamba {
        ["n_groups", "nheads", "d_state", "head_dim"]
    } else {
        ["num_k_heads", "num_v_heads", "head_k_dim", "head_v_dim"]
    };
    Ok(LinearAttention {
        sequences: record.number("batch_size")?,
        new_tokens: record.number("seq_len")?,
        k_heads: record.number(k_heads)?,
        v_heads: record.number(v_heads)?,
        k_dim: record.number(k_dim)?,
        v_dim: record.number(v_dim)?,
        taps: record.number_or("d_conv", 0.0)?,
    })
}

impl OpFamily for LinearFamily {
    type Shape = LinearAttention;

    fn name(&self) -> &'static str {
        match (self.scan, self.decode) {
            (false, false) => CONVOLUTION_PREFILL,
            (false, true) => CONVOLUTION_DECODE,
            (true, false) => SCAN_PREFILL,
            (true, true) => SCAN_DECODE,
        }
    }

    fn group(&self) -> &'static str {
        "linear_attention"
    }

    fn form(&self) -> &'static str {
        if self.chunked() { "scan5" } else { "stream6" }
    }

    fn accepts(&self, table: &OpTable) -> bool {
        table.has(&["phase", "batch_size", "seq_len", "kernel_source", "num_v_heads", "latency_us"])
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<LinearAttention>>, TableError> {
        let source = record.text("kernel_source");
        if source.contains("conv") == self.scan || (record.text("phase") == "generation") != self.decode {
            return Ok(None);
        }
        let shape = layer(record)?;
        let both = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
        // One convolution kernel serves both kinds of layer, but not equally well.
        let kernel = format!("{} {source}", record.text("op_name"));
        let row = OpRow { key: table_key(record, kernel, both), shape, time: microseconds(record)? };
        let whole = [shape.sequences, shape.new_tokens, shape.v_heads].iter().all(|value| *value >= 1.0);
        Ok(whole.then_some(row))
    }

    fn shape_key(&self, shape: &LinearAttention) -> String {
        format!(
            "{},{},{},{},{},{}",
            shape.sequences, shape.new_tokens, shape.k_heads, shape.v_heads, shape.k_dim, shape.v_dim
        )
    }

    fn params(&self, _: &SetKey) -> Vec<ParamSpec> {
        if self.chunked() { SCAN_PARAMS.to_vec() } else { STREAM_PARAMS.to_vec() }
    }

    fn structures(&self, _: &SetKey) -> Vec<Structure> {
        vec![Structure::new()]
    }

    fn compile<'a>(
        &'a self,
        _: &SetKey,
        _: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, LinearAttention>, ProfileError> {
        if self.chunked() {
            return Ok(Box::new(move |params, shape| {
                Scan5::from_slice(params).price(&machine, shape).time.get()
            }));
        }
        let kernel = if self.scan { Streaming::DecodeScan } else { Streaming::Convolution };
        Ok(Box::new(move |params, shape| {
            Stream6::from_slice(params).price(&machine, shape, kernel, true).time.get()
        }))
    }

    fn work(&self, shape: &LinearAttention) -> f64 {
        shape.tokens() * shape.channels()
    }

    fn trains(&self, shape: &LinearAttention) -> Option<bool> {
        Some(shape.v_heads != 48.0 && shape.v_heads != 24.0 && shape.v_heads != 12.0 && shape.v_heads != 6.0)
    }

    fn features(&self) -> &'static [&'static str] {
        &LINEAR_FEATURES
    }

    fn feature_values(&self, shape: &LinearAttention) -> Vec<f64> {
        linear_features(shape).to_vec()
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        GridBuilder::new(features)
            .grid(&[("sequences", 0, 1.5), ("new", 1, 1.6), ("heads", 3, 1.2)])
            .grid(&[("new", 1, 1.6), ("channels", 2, 1.5), ("state", 4, 0.0)])
            .options()
    }
}
