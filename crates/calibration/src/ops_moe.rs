//! Routed experts in operator tables.
//!
//! Two kinds of table hold them: NVIDIA AIConfigurator's (`moe_dtype`, `num_tokens`, `distribution` ...), whose rows
//! time the busiest rank under a made-up expert load, and the Ascend ones (`num_tokens_before_topk` ...), whose rows
//! state the expected rows and experts of uniformly random routing.

use crate::fit::{AxisPlan, GridOptions, GridPlan};
use crate::ops::{ASCEND_TABLES_CHIP, Form, OpFamily, OpRow, OpTable, Record, SetKey, Structure, TableError};
use cost::kernels::{MOE, MOE_FEATURES, ParamSpec, ProfileError, moe_alike, moe_features};
use cost::ops::moe::{BENCHMARK_ROTATION, MoeKernel, MoeWave14, PARAMS, RowTiles};
use cost::ops::{GroupedMoe, Machine, Precision};
use cost::routing::Load;
use cost::routing::benchmark::{Case, Distribution, Groups};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use units::{Dtype, Seconds};

/// A measured row: the operator and the load it was timed under.
#[derive(Debug, Clone, PartialEq)]
pub struct MoeShape {
    /// As a benchmark of plain layers runs it.
    plain: (GroupedMoe, Load),
    /// The same if the benchmark builds the model's own layer: without gate matrices, with a group-limited gate.
    own: (GroupedMoe, Load),
    /// The row's shape columns joined with commas.
    key: String,
}

/// What a benchmark builds; tables do not say, the fit tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Plain,
    Own,
    Ungated,
}

impl Layer {
    fn of(structure: &Structure) -> Self {
        match structure.get(LAYER).map(String::as_str) {
            Some("own") => Self::Own,
            Some("ungated") => Self::Ungated,
            _ => Self::Plain,
        }
    }
}

/// The family of routed experts.
#[derive(Debug, Default)]
pub struct MoeFamily {
    /// Loads of cases seen: drawing one takes longer than pricing a thousand rows.
    loads: Mutex<BTreeMap<(Case, String), Load>>,
}

/// Structure key: what the benchmark builds of models whose layer is not plain (see [`MoeShape`]).
const LAYER: &str = "layer";

impl OpFamily for MoeFamily {
    type Shape = MoeShape;

    fn name(&self) -> &'static str {
        MOE
    }

    fn group(&self) -> &'static str {
        "moe"
    }

    fn form(&self) -> &'static str {
        "moe_wave14"
    }

    fn accepts(&self, table: &OpTable) -> bool {
        is_nvidia(table) || is_ascend(table)
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<MoeShape>>, TableError> {
        if is_ascend(record.table()) { ascend_row(record).map(Some) } else { self.nvidia_row(record) }
    }

    fn shape_key(&self, shape: &MoeShape) -> String {
        shape.key.clone()
    }

    fn params(&self, _key: &SetKey) -> Vec<ParamSpec> {
        PARAMS.to_vec()
    }

    fn structures(&self, key: &SetKey) -> Vec<Structure> {
        let layers: &[&str] = match key.kernel.as_str() {
            kernel if kernel.contains("nongated") => &["ungated"],
            // TensorRT-LLM's ungated kernel has a name of its own, so the others are gated.
            _ if key.stack == "trtllm" => &["plain"],
            _ => &["plain", "own"],
        };
        let mut structures = Vec::new();
        for tiles in RowTiles::ALL {
            for global in ["no", "yes"] {
                for layer in layers {
                    let choices = [("tiles", tiles.name()), ("global_rows", global), (LAYER, layer)];
                    let named = choices.map(|(name, choice)| (name.to_owned(), choice.to_owned()));
                    structures.push(Structure::from(named));
                }
            }
        }
        structures
    }

    fn compile<'a>(
        &'a self,
        key: &SetKey,
        structure: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, MoeShape>, ProfileError> {
        let kernel = MoeKernel::from_structure(structure, key.precision, &key.kernel)?;
        let layer = Layer::of(structure);
        Ok(Box::new(move |params, shape| {
            let (mut op, load) = if layer == Layer::Own { shape.own } else { shape.plain };
            op.gated &= layer != Layer::Ungated;
            kernel.price(&MoeWave14::from_slice(params), &machine, &op, &load, BENCHMARK_ROTATION).time.get()
        }))
    }

    fn work(&self, shape: &MoeShape) -> f64 {
        shape.plain.0.tokens
    }

    fn trains(&self, shape: &MoeShape) -> Option<bool> {
        Some(shape.plain.0.hidden == 7168.0)
    }

    fn features(&self) -> &'static [&'static str] {
        &MOE_FEATURES
    }

    fn feature_values(&self, shape: &MoeShape) -> Vec<f64> {
        moe_features(&shape.plain.0, &shape.plain.1).to_vec()
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        let over = |name: &str, feature: usize, max: usize| {
            AxisPlan::over(name, feature, features.iter().map(|row| row[feature]), max)
        };
        GridOptions {
            axes: vec![
                over("rows", 1, 8),
                over("active", 2, 5),
                over("expert", 3, 5),
                over("tokens", 0, 9),
                over("choice", 4, 5),
                over("ep", 5, 3),
            ],
            grids: vec![GridPlan { axes: vec![0, 1, 2] }, GridPlan { axes: vec![3, 4, 5] }],
            ..GridOptions::default()
        }
    }

    /// The operator is several kernels, and some tables hold only large models: no quickest row was seen above 80 us,
    /// while a host-bound one would stay at hundreds whatever its size.
    fn host_floor(&self) -> Seconds {
        Seconds::from_us(200.0)
    }

    fn alike(&self, precision: Precision) -> Vec<Precision> {
        moe_alike(precision)
    }
}

fn is_nvidia(table: &OpTable) -> bool {
    table.has(&["moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "latency_us"])
}

fn is_ascend(table: &OpTable) -> bool {
    table.has(&[
        "num_tokens_before_topk",
        "expected_local_rows",
        "expected_active_local_experts",
        ASCEND_TIME,
    ])
}

const ASCEND_TIME: &str = "latency_us(GMM1+SwiGLU+GMM2+unpermute)";

impl MoeFamily {
    fn nvidia_row(&self, record: &Record<'_>) -> Result<Option<OpRow<MoeShape>>, TableError> {
        let name = record.text("distribution");
        let Some(distribution) = Distribution::from_name(if name.is_empty() { "uniform" } else { name })
        else {
            return Ok(None);
        };
        let [tokens, hidden, inter] =
            [record.number("num_tokens")?, record.number("hidden_size")?, record.number("inter_size")?];
        let [topk, experts] = [record.number("topk")?, record.number("num_experts")?];
        let tp = record.number_or("moe_tp_size", 1.0)?;
        let ep = record.number_or("moe_ep_size", 1.0)?;
        if [tokens, hidden, inter, topk, experts, tp, ep].iter().any(|value| *value < 1.0) {
            return Ok(None);
        }
        let case = Case {
            tokens: tokens as u32,
            experts: experts as u32,
            topk: topk as u32,
            ranks: ep as u32,
            groups: None,
        };
        let load = self.load(case, name, distribution);
        let op = GroupedMoe {
            tokens,
            topk,
            experts,
            local_experts: (experts / ep).max(1.0),
            local_rows: load.rows,
            active_experts: load.active_experts,
            spread: 0.0,
            hidden,
            intermediate: inter / tp,
            gated: true,
        };
        let groups = GROUP_LIMITED
            .iter()
            .find(|(model, _)| *model == [hidden as u32, case.experts, case.topk])
            .map(|(_, groups)| *groups);
        let limited =
            if groups.is_some() { self.load(Case { groups, ..case }, name, distribution) } else { load };
        let own = GroupedMoe {
            gated: !UNGATED.contains(&[inter as u32, case.experts, case.topk]),
            local_rows: limited.rows,
            active_experts: limited.active_experts,
            spread: 0.0,
            ..op
        };
        let shape = MoeShape {
            plain: (op, load),
            own: (own, limited),
            key: format!("{tokens},{hidden},{inter},{topk},{experts},{tp},{ep},{name}"),
        };
        let key = SetKey {
            chip: record.chip_or(""),
            stack: record.text("framework").to_owned(),
            version: record.text("version").to_owned(),
            kernel: record.text("kernel_source").to_owned(),
            precision: precision(record, "moe_dtype")?,
        };
        Ok(Some(OpRow { key, shape, time: Seconds::from_us(record.number("latency_us")?) }))
    }

    fn load(&self, case: Case, name: &str, distribution: Distribution) -> Load {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        *loads.entry((case, name.to_owned())).or_insert_with(|| distribution.load(case))
    }
}

/// Inner width, experts and choices of models whose experts are `down(relu(up(x))^2)` without a gate matrix (Nemotron 3
/// Super, Ultra and Nano; `mlp_hidden_act` in their `config.json`): the tables name no model and no activation.
const UNGATED: [[u32; 3]; 3] = [[2688, 512, 22], [5120, 512, 22], [1856, 128, 6]];

/// Hidden width, experts and choices of models with a group-limited gate (DeepSeek-V3 and R1; `n_group` and
/// `topk_group` in their `config.json`).
const GROUP_LIMITED: [([u32; 3], Groups); 1] = [([7168, 256, 8], Groups { groups: 8, kept: 4 })];

fn ascend_row(record: &Record<'_>) -> Result<OpRow<MoeShape>, TableError> {
    let [tokens, hidden, inter] =
        [record.number("num_tokens_before_topk")?, record.number("hidden")?, record.number("inter")?];
    let [topk, experts, local] =
        [record.number("topk")?, record.number("num_experts")?, record.number("local_experts")?];
    let load =
        Load::spread(record.number("expected_local_rows")?, record.number("expected_active_local_experts")?);
    let op = GroupedMoe {
        tokens,
        topk,
        experts,
        local_experts: local,
        local_rows: load.rows,
        active_experts: load.active_experts,
        spread: 0.0,
        hidden,
        intermediate: inter,
        gated: true,
    };
    let key = format!("{tokens},{hidden},{inter},{topk},{experts},{local}");
    Ok(OpRow {
        key: SetKey {
            chip: record.chip_or(ASCEND_TABLES_CHIP),
            stack: "ascend".to_owned(),
            version: String::new(),
            kernel: "grouped_matmul".to_owned(),
            precision: precision(record, "quant")?,
        },
        shape: MoeShape { plain: (op, load), own: (op, load), key },
        time: Seconds::from_us(record.number(ASCEND_TIME)?),
    })
}

/// Formats by the tables' names for them.
fn precision(record: &Record<'_>, column: &str) -> Result<Precision, TableError> {
    let pair = |weight, activation| Ok(Precision { weight, activation });
    match record.text(column) {
        "int4_wo" => pair(Dtype::Int4, Dtype::Bf16),
        "w4a16_mxfp4" => pair(Dtype::Mxfp4, Dtype::Bf16),
        "w4a8_mxfp4_mxfp8" => pair(Dtype::Mxfp4, Dtype::Mxfp8),
        "w4afp8" => pair(Dtype::Int4, Dtype::Fp8),
        "w8a8_dynamic" => pair(Dtype::Int8, Dtype::Int8),
        _ => record.dtype(column).and_then(|dtype| pair(dtype, dtype)),
    }
}

#[cfg(test)]
#[path = "ops_moe_tests.rs"]
mod tests;
