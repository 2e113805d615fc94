//! Tables of dense products and of quantise kernels.

use crate::fit::{AxisPlan, GridOptions, GridPlan};
use crate::ops::{ASCEND_TABLES_CHIP, Form, OpFamily, OpRow, OpTable, Record, SetKey, Structure, TableError};
use cost::kernels::{
    GEMM, GEMM_FEATURES, KernelSet, ParamSpec, ProfileError, QUANTIZE, QUANTIZE_FEATURES, gemm_kernel,
    quantize_bytes,
};
use cost::ops::elementwise::{self, Elementwise};
use cost::ops::gemm::{self, BENCHMARK_ROTATION, TileSet, Wave12};
use cost::ops::{Gemm, Machine, Precision};
use std::collections::BTreeMap;
use units::{Dtype, Seconds};

/// Dense products: columns `m, n, k, latency_us` and `gemm_dtype` (or `quant`, in tables of one chip without names).
#[derive(Debug, Clone, Copy)]
pub struct GemmFamily;

/// Quantisation of activations: columns `m, k, quant_dtype, latency_us`.
#[derive(Debug, Clone, Copy)]
pub struct QuantizeFamily;

/// Formats of the operands by the names that tables use, which say how activations are treated as well.
fn precision(record: &Record<'_>, column: &str) -> Result<Precision, TableError> {
    let pair = |weight, activation| Precision { weight, activation };
    Ok(match record.text(column) {
        "sq" | "int8" | "w8a8" | "w8a8_dynamic" => pair(Dtype::Int8, Dtype::Int8),
        "int8_wo" | "w8a16" => pair(Dtype::Int8, Dtype::Bf16),
        "int4_wo" | "w4a16" => pair(Dtype::Int4, Dtype::Bf16),
        "w4a16_mxfp4" => pair(Dtype::Mxfp4, Dtype::Bf16),
        _ => {
            let dtype = record.dtype(column)?;
            pair(dtype, dtype)
        }
    })
}

fn key(record: &Record<'_>, default_chip: &str, default_stack: &str, precision: Precision) -> SetKey {
    let stack = record.text("framework");
    SetKey {
        chip: record.chip_or(default_chip),
        stack: if stack.is_empty() { default_stack } else { stack }.to_owned(),
        version: record.text("version").to_owned(),
        kernel: record.text("kernel_source").to_owned(),
        precision,
    }
}

fn microseconds(record: &Record<'_>) -> Result<Seconds, TableError> {
    Ok(Seconds::new(record.number("latency_us")? * 1e-6))
}

fn quantises(precision: Precision) -> bool {
    precision.activation.bytes() < 1.5
}

impl OpFamily for GemmFamily {
    type Shape = Gemm;

    fn name(&self) -> &'static str {
        GEMM
    }

    fn group(&self) -> &'static str {
        "gemm"
    }

    fn form(&self) -> &'static str {
        "wave12"
    }

    fn accepts(&self, table: &OpTable) -> bool {
        table.has(&["m", "n", "k", "latency_us"]) && (table.has(&["gemm_dtype"]) || table.has(&["quant"]))
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<Gemm>>, TableError> {
        let named = record.table().has(&["gemm_dtype"]);
        let precision = precision(record, if named { "gemm_dtype" } else { "quant" })?;
        let (chip, stack) = if named { ("", "") } else { (ASCEND_TABLES_CHIP, "ascend") };
        let shape = Gemm { m: record.number("m")?, n: record.number("n")?, k: record.number("k")? };
        let whole = shape.m >= 1.0 && shape.n >= 1.0 && shape.k >= 1.0;
        let row = OpRow { key: key(record, chip, stack, precision), shape, time: microseconds(record)? };
        Ok(whole.then_some(row))
    }

    fn shape_key(&self, shape: &Gemm) -> String {
        format!("{},{},{}", shape.m, shape.n, shape.k)
    }

    fn params(&self, key: &SetKey) -> Vec<ParamSpec> {
        let count = if quantises(key.precision) { gemm::PARAMS.len() } else { gemm::PARAMS.len() - 1 };
        let mut specs = gemm::PARAMS[..count].to_vec();
        let medians: &[(&str, f64, f64)] = match key.precision.activation {
            Dtype::Bf16 | Dtype::Fp16 => &BF16_PRIORS,
            Dtype::Nvfp4 | Dtype::Mxfp4 => &FP4_PRIORS,
            _ => &EIGHT_BIT_PRIORS,
        };
        for spec in &mut specs {
            if let Some((_, centre, sd)) = medians.iter().find(|(name, _, _)| *name == spec.name) {
                *spec = spec.with_prior(*centre, *sd);
            }
        }
        specs
    }

    fn starts(&self, key: &SetKey) -> Vec<Vec<f64>> {
        // Deep pipelines with little overhead per wave: the other basin that sets fall into.
        let other = |spec: &ParamSpec| match spec.name {
            "kf" => 1000.0,
            "te" => 3e-7,
            "bc" => 4.0,
            "ec" => 0.5,
            _ => spec.prior,
        };
        vec![self.params(key).iter().map(other).collect()]
    }

    fn structures(&self, key: &SetKey) -> Vec<Structure> {
        let mut all = Vec::new();
        for tiles in TileSet::ALL {
            for split_k in ["yes", "no"] {
                let mut structure = BTreeMap::from([
                    ("tiles".to_owned(), tiles.name().to_owned()),
                    ("split_k".to_owned(), split_k.to_owned()),
                ]);
                if quantises(key.precision) {
                    structure.insert("quantise".to_owned(), "yes".to_owned());
                }
                all.push(structure);
            }
        }
        all
    }

    fn compile<'a>(
        &'a self,
        key: &SetKey,
        structure: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, Gemm>, ProfileError> {
        let kernel = gemm_kernel(&bare_set(GEMM, key, structure), key.precision)?;
        Ok(Box::new(move |params, shape| {
            kernel.price(&Wave12::from_slice(params), &machine, *shape, BENCHMARK_ROTATION).time.get()
        }))
    }

    fn work(&self, shape: &Gemm) -> f64 {
        shape.m * shape.n * shape.k
    }

    fn trains(&self, shape: &Gemm) -> Option<bool> {
        const TESTED: [f64; 5] = [2048.0, 3072.0, 5120.0, 7168.0, 8192.0];
        if shape.n == 4096.0 || shape.k == 4096.0 {
            Some(true)
        } else {
            (TESTED.contains(&shape.n) && TESTED.contains(&shape.k)).then_some(false)
        }
    }

    fn features(&self) -> &'static [&'static str] {
        &GEMM_FEATURES
    }

    fn feature_values(&self, shape: &Gemm) -> Vec<f64> {
        vec![shape.m, shape.n, shape.k]
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        let axis = |name: &str, feature: usize, max: usize| {
            AxisPlan::over(name, feature, features.iter().map(|values| values[feature]), max)
        };
        let axes = vec![
            axis("m", 0, 80),
            axis("n", 1, 24),
            axis("k", 2, 24),
            axis("m_mid", 0, 12),
            axis("n_mid", 1, 9),
            axis("k_mid", 2, 9),
            axis("m_low", 0, 7),
            axis("n_low", 1, 5),
            axis("k_low", 2, 5),
        ];
        let grid = |axes: &[usize]| GridPlan { axes: axes.to_vec() };
        let grids = vec![
            grid(&[0]),
            grid(&[1]),
            grid(&[2]),
            grid(&[3, 4]),
            grid(&[3, 5]),
            grid(&[4, 5]),
            grid(&[6, 7, 8]),
        ];
        GridOptions { axes, grids, ..GridOptions::default() }
    }
}

impl OpFamily for QuantizeFamily {
    type Shape = Streamed;

    fn name(&self) -> &'static str {
        QUANTIZE
    }

    fn group(&self) -> &'static str {
        "gemm"
    }

    fn form(&self) -> &'static str {
        "elem5"
    }

    fn accepts(&self, table: &OpTable) -> bool {
        table.has(&["m", "k", "quant_dtype", "latency_us"])
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<Streamed>>, TableError> {
        let to = record.dtype("quant_dtype")?;
        let precision = Precision { weight: to, activation: Dtype::Bf16 };
        let mut key = key(record, "", "", precision);
        // One library has several kernels: with a known scale, and with the scale found first.
        key.kernel = record.text("op_name").to_owned();
        let shape = Streamed { m: record.number("m")?, k: record.number("k")?, to };
        let whole = shape.m >= 1.0 && shape.k >= 1.0;
        Ok(whole.then_some(OpRow { key, shape, time: microseconds(record)? }))
    }

    fn shape_key(&self, shape: &Streamed) -> String {
        format!("{},{}", shape.m, shape.k)
    }

    fn multiplied(&self, _: &SetKey) -> Dtype {
        Dtype::Bf16
    }

    fn params(&self, _: &SetKey) -> Vec<ParamSpec> {
        elementwise::PARAMS.to_vec()
    }

    fn structures(&self, _: &SetKey) -> Vec<Structure> {
        vec![Structure::new()]
    }

    fn compile<'a>(
        &'a self,
        _: &SetKey,
        _: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, Streamed>, ProfileError> {
        Ok(Box::new(move |params, shape| {
            let bytes = quantize_bytes(shape.m, shape.k, shape.to);
            Elementwise::from_slice(params).price(&machine, bytes, BENCHMARK_ROTATION).time.get()
        }))
    }

    fn work(&self, shape: &Streamed) -> f64 {
        shape.m * shape.k
    }

    fn trains(&self, shape: &Streamed) -> Option<bool> {
        Some(shape.k != 4096.0 && shape.k != 7168.0)
    }

    fn features(&self) -> &'static [&'static str] {
        &QUANTIZE_FEATURES
    }

    fn feature_values(&self, shape: &Streamed) -> Vec<f64> {
        vec![shape.m, shape.k]
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        let axis = |name: &str, feature: usize, max: usize| {
            AxisPlan::over(name, feature, features.iter().map(|values| values[feature]), max)
        };
        GridOptions {
            axes: vec![axis("m", 0, 40), axis("k", 1, 24), axis("m_low", 0, 8), axis("k_low", 1, 6)],
            grids: [vec![0], vec![1], vec![2, 3]].map(|axes| GridPlan { axes }).to_vec(),
            ..GridOptions::default()
        }
    }
}

/// `m` x `k` activations quantised to a format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Streamed {
    /// Rows (tokens).
    pub m: f64,
    /// Width.
    pub k: f64,
    /// The format written.
    pub to: Dtype,
}

/// A set with nothing but its names, as far as a form's structure needs one.
fn bare_set(family: &str, key: &SetKey, structure: &Structure) -> KernelSet {
    KernelSet {
        family: family.to_owned(),
        stack: key.stack.clone(),
        version: key.version.clone(),
        kernel: key.kernel.clone(),
        precision: key.precision,
        form: String::new(),
        structure: structure.clone(),
        params: BTreeMap::new(),
        spread: BTreeMap::new(),
        pinned: Vec::new(),
        rows: 0,
        held_out: 0,
        data: String::new(),
        sigma: 0.0,
        transfer_sigma: 0.0,
        host_bound: false,
        errors: cost::kernels::Errors::default(),
        features: Vec::new(),
        residual: cost::kernels::Residual::default(),
    }
}

/// Medians and spreads in ln over the chips measured, by what the matrix units multiply.
const BF16_PRIORS: [(&str, f64, f64); 12] = [
    ("t0", 3.7e-7, 1.43),
    ("ec", 0.666, 0.19),
    ("em", 0.842, 0.1),
    ("p", 2.4, 0.34),
    ("bc", 5.5, 0.34),
    ("kf", 16.0, 1.8),
    ("te", 2.2e-6, 1.5),
    ("eh", 0.22, 0.56),
    ("F0", 1.15, 1.2),
    ("a", 0.09, 0.93),
    ("r2", 1.3, 0.72),
    ("cl2", 0.6, 0.7),
];
const EIGHT_BIT_PRIORS: [(&str, f64, f64); 13] = [
    ("t0", 4.4e-6, 0.7),
    ("ec", 0.485, 0.29),
    ("em", 0.82, 0.18),
    ("p", 1.97, 0.39),
    ("bc", 4.2, 0.54),
    ("kf", 440.0, 1.7),
    ("te", 3.6e-7, 1.3),
    ("eh", 0.8, 0.76),
    ("F0", 1.16, 0.75),
    ("a", 0.42, 0.68),
    ("r2", 1.5, 0.45),
    ("cl2", 0.46, 1.1),
    ("eq", 0.48, 0.38),
];
const FP4_PRIORS: [(&str, f64, f64); 13] = [
    ("t0", 4.5e-6, 0.5),
    ("ec", 0.37, 0.25),
    ("em", 1.0, 0.2),
    ("p", 1.5, 0.35),
    ("bc", 2.1, 0.3),
    ("kf", 700.0, 0.5),
    ("te", 3.0e-8, 1.0),
    ("eh", 0.7, 0.6),
    ("F0", 1.9, 0.6),
    ("a", 0.37, 0.5),
    ("r2", 1.05, 0.3),
    ("cl2", 0.6, 0.3),
    ("eq", 0.57, 0.3),
];
