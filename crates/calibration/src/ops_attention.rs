//! Tables of prefill and decode attention, and what the families of attention share.

use crate::fit::{AxisPlan, GridOptions, GridPlan};
use crate::ops::{ASCEND_TABLES_CHIP, Form, OpFamily, OpRow, OpTable, Record, SetKey, Structure, TableError};
use cost::kernels::{
    ATTENTION_DECODE, ATTENTION_PREFILL, DECODE_FEATURES, PREFILL_FEATURES, ParamSpec, ProfileError,
    attention_alike, decode_features, prefill_features, prefill_structure,
};
use cost::ops::attention_decode::{self, DecodeKernel, DecodeWave10, Warmth};
use cost::ops::attention_prefill::{self, PrefillWave10};
use cost::ops::{AttentionDecode, AttentionPrefill, Machine, Precision};
use units::{Dtype, Seconds};

/// Prefill attention: columns `batch_size, isl, num_heads, num_key_value_heads, head_dim, attn_dtype, kv_cache_dtype`
/// with `step` cached tokens and a `window_size`; or `batch, seq_len, num_heads, num_kv_heads, head_size` of one chip.
#[derive(Debug, Clone, Copy)]
pub struct PrefillFamily;

/// Decode attention: the same columns with `isl` query tokens after `step` cached ones; or `kv_len` instead of
/// `seq_len`.
#[derive(Debug, Clone, Copy)]
pub struct DecodeFamily;

/// Weight of the priors. The rows of a set share whatever the form gets wrong, so thousands of them are worth tens of
/// independent ones: with a light prior, sets that hold nothing large run away where they are extrapolated.
pub(crate) const PRIOR_WEIGHT: f64 = 12.0;

/// Whether a record says that it is of a prefill (`true`) or of a decode; one that does not say is by its new tokens.
pub(crate) fn is_prefill(record: &Record<'_>) -> Result<bool, TableError> {
    let name = record.text("op_name");
    if name.contains("context") || name.contains("prefill") {
        Ok(true)
    } else if name.contains("generation") || name.contains("decode") {
        Ok(false)
    } else {
        Ok(record.number("isl")? > 1.0)
    }
}

pub(crate) fn table_key(record: &Record<'_>, kernel: String, precision: Precision) -> SetKey {
    SetKey {
        chip: record.chip_or(""),
        stack: record.text("framework").to_owned(),
        version: record.text("version").to_owned(),
        kernel,
        precision,
    }
}

pub(crate) fn microseconds(record: &Record<'_>) -> Result<Seconds, TableError> {
    Ok(Seconds::from_us(record.number("latency_us")?))
}

/// The set of a table that is of one chip and stack and names neither.
fn ascend_key(record: &Record<'_>) -> SetKey {
    let both = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
    SetKey {
        chip: record.chip_or(ASCEND_TABLES_CHIP),
        stack: "ascend".to_owned(),
        version: String::new(),
        kernel: String::new(),
        precision: both,
    }
}

const NAMED: [&str; 8] = [
    "batch_size",
    "isl",
    "num_heads",
    "num_key_value_heads",
    "head_dim",
    "attn_dtype",
    "kv_cache_dtype",
    "latency_us",
];
const ASCEND: [&str; 5] = ["batch", "num_heads", "num_kv_heads", "head_size", "latency_us"];

fn is_ascend(table: &OpTable, length: &str) -> bool {
    table.has(&ASCEND) && table.has(&[length])
}

/// What both phases read of a record of a table with [`NAMED`] columns.
struct Named {
    key: SetKey,
    batch: f64,
    new: f64,
    past: f64,
    heads: f64,
    kv_heads: f64,
    head: f64,
    window: Option<f64>,
}

impl Named {
    fn read(record: &Record<'_>) -> Result<Self, TableError> {
        let precision =
            Precision { weight: record.dtype("kv_cache_dtype")?, activation: record.dtype("attn_dtype")? };
        let window = record.number_or("window_size", 0.0)?;
        Ok(Self {
            key: table_key(record, record.text("kernel_source").to_owned(), precision),
            batch: record.number("batch_size")?,
            new: record.number("isl")?,
            past: record.number_or("step", 0.0)?,
            heads: record.number("num_heads")?,
            kv_heads: record.number("num_key_value_heads")?,
            head: record.number("head_dim")?,
            window: (window > 0.0).then_some(window),
        })
    }

    fn whole(&self) -> bool {
        [self.batch, self.new, self.heads, self.kv_heads, self.head].iter().all(|value| *value >= 1.0)
            && self.past >= 0.0
    }
}

/// Axes spaced evenly in octaves over the values that occur. Those with one value only drop out of the grids, not the
/// grids with them.
pub(crate) struct GridBuilder<'a> {
    features: &'a [Vec<f64>],
    axes: Vec<AxisPlan>,
    grids: Vec<GridPlan>,
}

impl<'a> GridBuilder<'a> {
    pub(crate) fn new(features: &'a [Vec<f64>]) -> Self {
        Self { features, axes: Vec::new(), grids: Vec::new() }
    }

    /// A grid over axes of (name, feature, octaves between knots); zero octaves put a knot at each value.
    pub(crate) fn grid(mut self, axes: &[(&str, usize, f64)]) -> Self {
        let mut plan = Vec::new();
        for (name, feature, octaves) in axes {
            let known = self.axes.iter().position(|axis| axis.name == *name);
            let axis = known.or_else(|| {
                let knots = self.knots(*feature, *octaves)?;
                self.axes.push(AxisPlan { name: (*name).to_owned(), feature: *feature, knots });
                Some(self.axes.len() - 1)
            });
            plan.extend(axis);
        }
        if !plan.is_empty() {
            self.grids.push(GridPlan { axes: plan });
        }
        self
    }

    pub(crate) fn options(self) -> GridOptions {
        GridOptions {
            axes: self.axes,
            grids: self.grids,
            ridges: vec![0.02, 0.06, 0.2, 0.6, 2.0],
            smoothness: 4.0,
            ..GridOptions::default()
        }
    }

    fn knots(&self, feature: usize, octaves: f64) -> Option<Vec<f64>> {
        let values = || self.features.iter().map(|values| values[feature]);
        let (first, last) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        if octaves <= 0.0 {
            let knots = AxisPlan::over("", feature, values(), usize::MAX).knots;
            return (knots.len() >= 2).then_some(knots);
        }
        let range = (last / first).log2();
        let steps = (range / octaves).round().max(1.0);
        (range > 0.1)
            .then(|| (0..=steps as u32).map(|i| first * (range * f64::from(i) / steps).exp2()).collect())
    }
}

impl OpFamily for PrefillFamily {
    type Shape = AttentionPrefill;

    fn name(&self) -> &'static str {
        ATTENTION_PREFILL
    }

    fn group(&self) -> &'static str {
        "attention"
    }

    fn form(&self) -> &'static str {
        "prefill_wave10"
    }

    fn accepts(&self, table: &OpTable) -> bool {
        table.has(&NAMED) || is_ascend(table, "seq_len")
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<AttentionPrefill>>, TableError> {
        let time = microseconds(record)?;
        if is_ascend(record.table(), "seq_len") {
            let head = record.number("head_size")?;
            let shape = AttentionPrefill {
                batch: record.number("batch")?,
                new_tokens: record.number("seq_len")?,
                past_tokens: 0.0,
                heads: record.number("num_heads")?,
                kv_heads: record.number("num_kv_heads")?,
                qk_dim: head,
                v_dim: head,
                window: None,
            };
            return Ok(Some(OpRow { key: ascend_key(record), shape, time }));
        }
        let row = Named::read(record)?;
        if !row.whole() || !is_prefill(record)? {
            return Ok(None);
        }
        let shape = AttentionPrefill {
            batch: row.batch,
            new_tokens: row.new,
            past_tokens: row.past,
            heads: row.heads,
            kv_heads: row.kv_heads,
            qk_dim: row.head,
            v_dim: row.head,
            window: row.window,
        };
        Ok(Some(OpRow { key: row.key, shape, time }))
    }

    fn shape_key(&self, shape: &AttentionPrefill) -> String {
        prefill_key(shape)
    }

    fn params(&self, _: &SetKey) -> Vec<ParamSpec> {
        attention_prefill::PARAMS.to_vec()
    }

    fn starts(&self, key: &SetKey) -> Vec<Vec<f64>> {
        vec![deep_pipeline(&self.params(key))]
    }

    fn prior_weight(&self) -> f64 {
        PRIOR_WEIGHT
    }

    fn structures(&self, _: &SetKey) -> Vec<Structure> {
        prefill_structures()
    }

    fn compile<'a>(
        &'a self,
        key: &SetKey,
        structure: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, AttentionPrefill>, ProfileError> {
        let kernel = prefill_structure(structure, key.precision.weight, || key.kernel.clone())?;
        Ok(Box::new(move |params, shape| {
            kernel.price(&PrefillWave10::from_slice(params), &machine, shape).time.get()
        }))
    }

    fn work(&self, shape: &AttentionPrefill) -> f64 {
        shape.batch * shape.heads * shape.pairs() * (shape.qk_dim + shape.v_dim)
    }

    fn trains(&self, shape: &AttentionPrefill) -> Option<bool> {
        by_family(shape.group(), shape.qk_dim, shape.window)
    }

    fn features(&self) -> &'static [&'static str] {
        &PREFILL_FEATURES
    }

    fn feature_values(&self, shape: &AttentionPrefill) -> Vec<f64> {
        prefill_features(shape).to_vec()
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        GridBuilder::new(features)
            .grid(&[("new", 0, 1.4), ("rows", 1, 1.7), ("head", 5, 0.0), ("window", 6, 0.0)])
            .grid(&[("new", 0, 1.4), ("caches", 2, 1.8), ("group", 4, 1.2)])
            .options()
    }

    fn alike(&self, precision: Precision) -> Vec<Precision> {
        attention_alike(precision)
    }
}

impl OpFamily for DecodeFamily {
    type Shape = AttentionDecode;

    fn name(&self) -> &'static str {
        ATTENTION_DECODE
    }

    fn group(&self) -> &'static str {
        "attention"
    }

    fn form(&self) -> &'static str {
        "decode_wave10"
    }

    fn accepts(&self, table: &OpTable) -> bool {
        table.has(&NAMED) || is_ascend(table, "kv_len")
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<AttentionDecode>>, TableError> {
        let time = microseconds(record)?;
        if is_ascend(record.table(), "kv_len") {
            let shape = decode_shape(
                [record.number("batch")?, 1.0, record.number("kv_len")?],
                [record.number("num_heads")?, record.number("num_kv_heads")?, record.number("head_size")?],
                None,
            );
            return Ok(Some(OpRow { key: ascend_key(record), shape, time }));
        }
        let row = Named::read(record)?;
        if !row.whole() || is_prefill(record)? {
            return Ok(None);
        }
        let shape = decode_shape(
            [row.batch, row.new, row.past + row.new],
            [row.heads, row.kv_heads, row.head],
            row.window,
        );
        Ok(Some(OpRow { key: row.key, shape, time }))
    }

    fn shape_key(&self, shape: &AttentionDecode) -> String {
        decode_key(shape)
    }

    fn params(&self, _: &SetKey) -> Vec<ParamSpec> {
        attention_decode::PARAMS.to_vec()
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
        Ok(Box::new(move |params, shape| {
            kernel.price(&DecodeWave10::from_slice(params), &machine, shape, Warmth::Benchmark).time.get()
        }))
    }

    fn work(&self, shape: &AttentionDecode) -> f64 {
        shape.bytes(Dtype::Bf16.bytes())
    }

    fn trains(&self, shape: &AttentionDecode) -> Option<bool> {
        by_family(shape.heads / shape.kv_heads, shape.qk_dim, shape.window)
    }

    fn features(&self) -> &'static [&'static str] {
        &DECODE_FEATURES
    }

    fn feature_values(&self, shape: &AttentionDecode) -> Vec<f64> {
        decode_features(shape).to_vec()
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        GridBuilder::new(features)
            .grid(&[("context", 0, 1.5), ("caches", 1, 1.6), ("head", 4, 0.0), ("window", 5, 0.0)])
            .grid(&[("context_low", 0, 2.2), ("caches", 1, 1.6), ("group", 3, 1.0)])
            .grid(&[("context_low", 0, 2.2), ("batch", 2, 2.0)])
            .options()
    }

    fn alike(&self, precision: Precision) -> Vec<Precision> {
        attention_alike(precision)
    }
}

fn decode_shape(
    [batch, queries, context]: [f64; 3],
    [heads, kv_heads, head]: [f64; 3],
    window: Option<f64>,
) -> AttentionDecode {
    AttentionDecode {
        batch,
        queries,
        context,
        heads,
        kv_heads,
        qk_dim: head,
        v_dim: head,
        kv_dim: 2.0 * head,
        window,
    }
}

pub(crate) fn prefill_key(shape: &AttentionPrefill) -> String {
    format!(
        "{},{},{},{},{},{},{}",
        shape.batch,
        shape.new_tokens,
        shape.past_tokens,
        shape.heads,
        shape.kv_heads,
        shape.qk_dim,
        shape.window.unwrap_or(0.0)
    )
}

pub(crate) fn decode_key(shape: &AttentionDecode) -> String {
    format!(
        "{},{},{},{},{},{},{}",
        shape.batch,
        shape.queries,
        shape.context,
        shape.heads,
        shape.kv_heads,
        shape.qk_dim,
        shape.window.unwrap_or(0.0)
    )
}

/// Blocks of 64, 128 or 256 rows, the heads of a group packed into them or not.
pub(crate) fn prefill_structures() -> Vec<Structure> {
    let mut all = Vec::new();
    for rows in ["128", "64", "256"] {
        for packed in ["no", "yes"] {
            all.push(Structure::from([
                ("rows".to_owned(), rows.to_owned()),
                ("packed".to_owned(), packed.to_owned()),
            ]));
        }
    }
    all
}

/// A long pipeline with little overhead per wave: the other basin that prefill sets fall into.
pub(crate) fn deep_pipeline(specs: &[ParamSpec]) -> Vec<f64> {
    let other = |spec: &ParamSpec| match spec.name {
        "kf" => 250.0,
        "te" => 8e-7,
        "lp" => 1.6,
        _ => spec.prior,
    };
    specs.iter().map(other).collect()
}

/// Fitted on heads 128 wide in groups of 4 and 8, tested on the other widths and groups; windows are left out.
fn by_family(group: f64, head: f64, window: Option<f64>) -> Option<bool> {
    let fitted = head == 128.0 && (group == 4.0 || group == 8.0);
    window.is_none().then_some(fitted)
}

#[cfg(test)]
#[path = "ops_attention_tests.rs"]
mod tests;
