//! Tables of latent attention: the attention alone, and whole modules with the projections around it.

use crate::fit::GridOptions;
use crate::ops::{Form, OpFamily, OpRow, OpTable, Record, SetKey, Structure, TableError};
use crate::ops_attention::{
    GridBuilder, PRIOR_WEIGHT, decode_key, deep_pipeline, is_prefill, microseconds, prefill_key,
    prefill_structures, table_key,
};
use cost::kernels::{
    DECODE_FEATURES, MLA_DECODE, MLA_PREFILL, PREFILL_FEATURES, ParamSpec, ProfileError, attention_alike,
    decode_features, prefill_features, prefill_structure,
};
use cost::ops::attention_decode::{DecodeKernel, DecodeWave10, Warmth};
use cost::ops::attention_prefill::PrefillWave10;
use cost::ops::mla::{self, Latent, Module};
use cost::ops::{AttentionDecode, AttentionPrefill, Machine, Precision};
use units::{Dtype, Seconds};

/// Latent prefill attention: columns `num_heads, batch_size, isl, mla_dtype, kv_cache_dtype`, DeepSeek's widths.
#[derive(Debug, Clone, Copy)]
pub struct MlaPrefillFamily {
    /// Whether the rows are of whole modules (`mla_context_module`, with a `gemm_type`) or of the attention alone.
    pub module: bool,
}

/// Latent decode attention: the same columns with `step` cached tokens.
#[derive(Debug, Clone, Copy)]
pub struct MlaDecodeFamily {
    /// Whether the rows are of whole modules (`mla_generation_module`, with a `gemm_type`) or of the attention alone.
    pub module: bool,
}

const COLUMNS: [&str; 6] = ["num_heads", "batch_size", "isl", "mla_dtype", "kv_cache_dtype", "latency_us"];

fn precision(record: &Record<'_>) -> Result<Precision, TableError> {
    Ok(Precision { weight: record.dtype("kv_cache_dtype")?, activation: record.dtype("mla_dtype")? })
}

fn is_module(record: &Record<'_>) -> bool {
    record.text("op_name").contains("module")
}

/// A set's key; that of a module carries the format of its projections behind the kernel's name.
fn key(record: &Record<'_>) -> Result<SetKey, TableError> {
    let source = record.text("kernel_source");
    let kernel = if is_module(record) {
        format!("{source}+{}", record.dtype("gemm_type")?)
    } else {
        source.to_owned()
    };
    Ok(table_key(record, kernel, precision(record)?))
}

/// Profiles of modules stand apart: nothing but rows of these tables is priced with them.
fn group(module: bool) -> &'static str {
    if module { "mla_module" } else { "mla" }
}

/// A module is a dozen launches, which no host makes as fast as one.
fn host_floor(module: bool) -> Seconds {
    if module { Seconds::from_ms(1.0) } else { Seconds::from_us(50.0) }
}

/// Fitted on 16 and 32 heads, tested on the other cuts.
fn by_cut(heads: f64) -> Option<bool> {
    Some(heads == 16.0 || heads == 32.0)
}

/// Operations per byte at which arithmetic and memory of the chips measured take equally long, roughly.
const BALANCE: f64 = 250.0;

/// The coefficients of the attention, and for a module that of its projections; its launch is that of a dozen kernels.
fn params(core: &[ParamSpec], module: bool) -> Vec<ParamSpec> {
    if !module {
        return core.to_vec();
    }
    let launches = |spec: &ParamSpec| if spec.name == "t0" { spec.with_prior(5e-5, 0.6) } else { *spec };
    core.iter().map(launches).chain([mla::PROJECTION]).collect()
}

/// The projections around the attention of a module; nothing for the attention alone.
struct Around {
    module: bool,
    weight_bytes: f64,
    machine: Machine,
}

impl Around {
    /// The format of a module's projections is the last part of its kernel's name; see [`key`].
    fn new(module: bool, key: &SetKey, machine: Machine) -> Self {
        let format = key.kernel.rsplit('+').next().and_then(|name| name.parse::<Dtype>().ok());
        Self { module, weight_bytes: format.unwrap_or(Dtype::Bf16).bytes(), machine }
    }

    fn time(&self, params: &[f64], tokens: f64, heads: f64) -> Seconds {
        match params.last() {
            Some(share) if self.module => {
                Module::DEEPSEEK_V3.projections(&self.machine, tokens, heads, self.weight_bytes, *share)
            }
            _ => Seconds::ZERO,
        }
    }
}

impl OpFamily for MlaPrefillFamily {
    type Shape = AttentionPrefill;

    fn name(&self) -> &'static str {
        if self.module { "mla_prefill_module" } else { MLA_PREFILL }
    }

    fn group(&self) -> &'static str {
        group(self.module)
    }

    fn form(&self) -> &'static str {
        if self.module { "prefill_wave10+projections" } else { "prefill_wave10" }
    }

    fn accepts(&self, table: &OpTable) -> bool {
        table.has(&COLUMNS)
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<AttentionPrefill>>, TableError> {
        if is_module(record) != self.module || !is_prefill(record)? {
            return Ok(None);
        }
        let shape = Latent::DEEPSEEK.prefill(
            record.number("batch_size")?,
            record.number("isl")?,
            record.number_or("step", 0.0)?,
            record.number("num_heads")?,
        );
        let whole =
            shape.batch >= 1.0 && shape.new_tokens >= 1.0 && shape.heads >= 1.0 && shape.past_tokens >= 0.0;
        let row = OpRow { key: key(record)?, shape, time: microseconds(record)? };
        Ok(whole.then_some(row))
    }

    fn shape_key(&self, shape: &AttentionPrefill) -> String {
        prefill_key(shape)
    }

    fn params(&self, _: &SetKey) -> Vec<ParamSpec> {
        params(&mla::PREFILL, self.module)
    }

    fn prior_weight(&self) -> f64 {
        PRIOR_WEIGHT
    }

    fn starts(&self, key: &SetKey) -> Vec<Vec<f64>> {
        vec![deep_pipeline(&self.params(key))]
    }

    fn structures(&self, _: &SetKey) -> Vec<Structure> {
        // Latent prefill has as many caches as heads, so packing them changes nothing.
        prefill_structures().into_iter().filter(|structure| structure["packed"] == "no").collect()
    }

    fn compile<'a>(
        &'a self,
        key: &SetKey,
        structure: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, AttentionPrefill>, ProfileError> {
        let kernel = prefill_structure(structure, key.precision.weight, || key.kernel.clone())?;
        let around = Around::new(self.module, key, machine);
        Ok(Box::new(move |params, shape| {
            let core = kernel.price(&PrefillWave10::from_slice(params), &machine, shape).time;
            (core + around.time(params, shape.batch * shape.new_tokens, shape.heads)).get()
        }))
    }

    fn work(&self, shape: &AttentionPrefill) -> f64 {
        shape.batch * shape.heads * shape.pairs() * (shape.qk_dim + shape.v_dim)
    }

    fn trains(&self, shape: &AttentionPrefill) -> Option<bool> {
        by_cut(shape.heads)
    }

    fn features(&self) -> &'static [&'static str] {
        &PREFILL_FEATURES
    }

    fn feature_values(&self, shape: &AttentionPrefill) -> Vec<f64> {
        prefill_features(shape).to_vec()
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        GridBuilder::new(features).grid(&[("new", 0, 1.4), ("batch", 3, 1.5), ("rows", 1, 1.6)]).options()
    }

    fn host_floor(&self) -> Seconds {
        host_floor(self.module)
    }

    fn alike(&self, precision: Precision) -> Vec<Precision> {
        attention_alike(precision)
    }
}

impl OpFamily for MlaDecodeFamily {
    type Shape = AttentionDecode;

    fn name(&self) -> &'static str {
        if self.module { "mla_decode_module" } else { MLA_DECODE }
    }

    fn group(&self) -> &'static str {
        group(self.module)
    }

    fn form(&self) -> &'static str {
        if self.module { "decode_wave10+projections" } else { "decode_wave10" }
    }

    fn accepts(&self, table: &OpTable) -> bool {
        table.has(&COLUMNS)
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<AttentionDecode>>, TableError> {
        if is_module(record) != self.module || is_prefill(record)? {
            return Ok(None);
        }
        let queries = record.number("isl")?;
        let shape = Latent::DEEPSEEK.decode(
            record.number("batch_size")?,
            queries,
            record.number_or("step", 0.0)? + queries,
            record.number("num_heads")?,
        );
        let whole = shape.batch >= 1.0 && shape.queries >= 1.0 && shape.heads >= 1.0;
        let row = OpRow { key: key(record)?, shape, time: microseconds(record)? };
        Ok(whole.then_some(row))
    }

    fn shape_key(&self, shape: &AttentionDecode) -> String {
        decode_key(shape)
    }

    fn params(&self, _: &SetKey) -> Vec<ParamSpec> {
        params(&mla::DECODE, self.module)
    }

    fn prior_weight(&self) -> f64 {
        PRIOR_WEIGHT
    }

    fn structures(&self, _: &SetKey) -> Vec<Structure> {
        vec![Structure::new()]
    }

    fn compile<'a>(
        &'a self,
        key: &SetKey,
        _: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, AttentionDecode>, ProfileError> {
        let kernel = DecodeKernel { cache_bytes: key.precision.weight.bytes() };
        let around = Around::new(self.module, key, machine);
        Ok(Box::new(move |params, shape| {
            let coefficients = DecodeWave10::from_slice(params);
            let core = kernel.price(&coefficients, &machine, shape, Warmth::Benchmark).time;
            (core + around.time(params, shape.batch * shape.queries, shape.heads)).get()
        }))
    }

    fn work(&self, shape: &AttentionDecode) -> f64 {
        // Both bind: bytes with few heads, arithmetic with many.
        shape.bytes(Dtype::Bf16.bytes()).max(shape.flop() / BALANCE)
    }

    fn trains(&self, shape: &AttentionDecode) -> Option<bool> {
        by_cut(shape.heads)
    }

    fn features(&self) -> &'static [&'static str] {
        &DECODE_FEATURES
    }

    fn feature_values(&self, shape: &AttentionDecode) -> Vec<f64> {
        decode_features(shape).to_vec()
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        GridBuilder::new(features)
            .grid(&[("context", 0, 1.5), ("batch", 2, 1.3), ("group", 3, 1.0)])
            .options()
    }

    fn host_floor(&self) -> Seconds {
        host_floor(self.module)
    }

    fn alike(&self, precision: Precision) -> Vec<Precision> {
        attention_alike(precision)
    }
}
