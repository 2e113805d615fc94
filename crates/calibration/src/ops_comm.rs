//! Tables of communication: collectives, expert dispatch and combine.
//!
//! Three headers are read. NVIDIA's comm table: NCCL and the engines' own all-reduce (`num_gpus`, `message_size` in
//! elements of `nccl_dtype` or `allreduce_dtype`), DeepEP (`num_token`, `num_topk`, `hidden_size`, `num_experts`, times of
//! both directions in one row; `node_num` nodes of the chip's usual system) and TensorRT-LLM's all-to-all (`num_tokens`,
//! `moe_ep_size`). The Ascend table: `collective`, `num_dies`, `message_bytes` (of one rank's share for all-gather and
//! reduce-scatter), `latency_us`. Published figures: `op`, `config` in words, `metric`, `value`, `unit`.
//!
//! Sets are keyed by the link class on which the chip's usual system joins so many ranks, so that a package's die-to-die
//! link and the fabric beyond it are fitted apart.

#[cfg(test)]
mod accuracy;
mod bench;
mod read;

use crate::fit::{AxisPlan, GridOptions, GridPlan};
use crate::ops::{
    AnyFamily, CalibrateError, CalibrateOptions, Draft, Estimate, Form, OpFamily, OpRow, OpTable, Prediction,
    Record, SetKey, Structure, Study, TableError,
};
use bench::Bench;
use cost::comm::{
    CHUNK, COLLECTIVE_FEATURES, COLLECTIVE_PARAMS, COMM_GROUP, Collective, CollectiveForm, Direction,
    EXCHANGE_FEATURES, EXCHANGE_PARAMS, ExchangeForm, FAR_CHUNK, Load, PREPARE, Place, RINGS_TO, USUAL_RANKS,
};
use cost::kernels::{Kernels, ParamSpec, ProfileError};
use cost::ops::Machine;
use std::collections::BTreeMap;
use units::{Dtype, Seconds};

/// One operation of the comm tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommFamily {
    /// A collective.
    Collective(Collective),
    /// Tokens to or from their experts.
    Exchange(Direction),
    /// What TensorRT-LLM's two-sided exchange does first.
    Prepare,
}

impl CommFamily {
    /// All of them, in the order of their profiles.
    pub const ALL: [Self; 7] = [
        Self::Collective(Collective::AllReduce),
        Self::Collective(Collective::AllGather),
        Self::Collective(Collective::ReduceScatter),
        Self::Collective(Collective::AllToAll),
        Self::Exchange(Direction::Dispatch),
        Self::Exchange(Direction::Combine),
        Self::Prepare,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Collective(collective) => collective.name(),
            Self::Exchange(direction) => direction.name(),
            Self::Prepare => PREPARE,
        }
    }
}

/// What the form needs of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CommShape {
    /// Its columns joined with commas.
    text: String,
    /// Bytes of message, or tokens.
    size: f64,
    ranks: f64,
    work: Work,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    Collective(Place),
    Exchange(Load),
}

impl AnyFamily for CommFamily {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn group(&self) -> &'static str {
        COMM_GROUP
    }

    fn accepts(&self, table: &OpTable) -> bool {
        read::accepts(table)
    }

    fn calibrate(
        &self,
        tables: &[OpTable],
        options: &CalibrateOptions<'_>,
    ) -> Result<Vec<Draft>, CalibrateError> {
        let fitting = Fitting { family: *self, bench: Bench::new(options.catalog), flat_only: true };
        let mut drafts = AnyFamily::calibrate(&fitting, tables, options)?;
        // Medians over libraries as different as a ring and a one-shot kernel would describe neither; the generic
        // class of link says what is assumed instead.
        drafts.retain(|draft| draft.chip != Kernels::GENERIC);
        Ok(drafts)
    }

    fn study(
        &self,
        tables: &[OpTable],
        options: &CalibrateOptions<'_>,
        studies: &[Study],
    ) -> Result<Vec<Draft>, CalibrateError> {
        let fitting = Fitting { family: *self, bench: Bench::new(options.catalog), flat_only: true };
        AnyFamily::study(&fitting, tables, options, studies)
    }

    fn predict(
        &self,
        table: &OpTable,
        options: &CalibrateOptions<'_>,
    ) -> Result<Vec<Prediction>, CalibrateError> {
        let fitting = Fitting { family: *self, bench: Bench::new(options.catalog), flat_only: false };
        let mut predictions = AnyFamily::predict(&fitting, table, options)?;
        if predictions.iter().any(|prediction| prediction.predicted.is_err()) {
            fitting.fall_back(table, &mut predictions)?;
        }
        Ok(predictions)
    }
}

/// A family while its rows are read: forms need the catalog's systems to know what joins the ranks.
struct Fitting<'a> {
    family: CommFamily,
    bench: Bench<'a>,
    /// Whether rows over several stages of domains are left out: they are composed, not fitted.
    flat_only: bool,
}

impl Fitting<'_> {
    /// Prices rows without a set of their own as a step would be priced: on the chip's usual system, with the
    /// coefficients of a relative.
    fn fall_back(&self, table: &OpTable, predictions: &mut [Prediction]) -> Result<(), CalibrateError> {
        let mut by_line: BTreeMap<u64, &mut Prediction> =
            predictions.iter_mut().filter(|p| p.predicted.is_err()).map(|p| (p.line, p)).collect();
        for record in table.records() {
            let Some(prediction) = by_line.get_mut(&record.line()) else { continue };
            let Some(measured) = read::read(self.family, &record)? else { continue };
            if let Some((time, sigma, origin)) = self.bench.price(self.family, &measured) {
                prediction.predicted = Ok(Estimate { time, sigma, origin, basis: None });
            }
        }
        Ok(())
    }
}

impl OpFamily for Fitting<'_> {
    type Shape = CommShape;

    fn name(&self) -> &'static str {
        self.family.label()
    }

    fn group(&self) -> &'static str {
        COMM_GROUP
    }

    fn form(&self) -> &'static str {
        match self.family {
            CommFamily::Collective(_) => "protocols",
            CommFamily::Exchange(_) | CommFamily::Prepare => "exchange",
        }
    }

    fn accepts(&self, table: &OpTable) -> bool {
        read::accepts(table)
    }

    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<CommShape>>, TableError> {
        let Some(measured) = read::read(self.family, record)? else { return Ok(None) };
        let placed = self.bench.place(self.family, &measured);
        if placed.is_none() && self.flat_only && self.bench.knows(&measured.key.chip) {
            return Ok(None);
        }
        // A row that no flat stage holds is priced by the network; its work is never looked at.
        let (class, work) = placed.unwrap_or((String::new(), Work::Collective(NOWHERE)));
        let shape = CommShape { text: measured.text, size: measured.size, ranks: measured.ranks, work };
        Ok(Some(OpRow { key: SetKey { kernel: class, ..measured.key }, shape, time: measured.time }))
    }

    fn shape_key(&self, shape: &CommShape) -> String {
        shape.text.clone()
    }

    fn multiplied(&self, _: &SetKey) -> Dtype {
        // Nothing is multiplied; any format that every chip has will do.
        Dtype::Bf16
    }

    fn params(&self, key: &SetKey) -> Vec<ParamSpec> {
        let wide = key.precision.activation.bytes() >= 2.0;
        let in_network = || wide && self.bench.reduces_in_network(&key.chip);
        let names = parameter_names(self.family, &key.stack, in_network);
        let all: &[ParamSpec] = match self.family {
            CommFamily::Collective(_) => &COLLECTIVE_PARAMS,
            CommFamily::Exchange(_) | CommFamily::Prepare => &EXCHANGE_PARAMS,
        };
        names.iter().filter_map(|name| all.iter().find(|spec| spec.name == *name)).copied().collect()
    }

    fn starts(&self, key: &SetKey) -> Vec<Vec<f64>> {
        // HCCL's bandwidth protocol starts late and then fills the link.
        let other = |spec: &ParamSpec| match spec.name {
            "start" => 3e-6,
            "low" => 0.2,
            "high_start" => 6e-5,
            "high_step" => 2e-6,
            "high" => 0.95,
            "growth" => 1.0,
            _ => spec.prior,
        };
        let hccl = matches!(self.family, CommFamily::Collective(_)) && key.stack == "hccl";
        hccl.then(|| self.params(key).iter().map(other).collect()).into_iter().collect()
    }

    fn structures(&self, key: &SetKey) -> Vec<Structure> {
        let choices: &[(&str, &[&str])] = match (self.family, key.stack.as_str()) {
            // The library stages small parts through buffers whose size nobody states; 256 KiB to 2 MiB are usual.
            (CommFamily::Collective(_), "hccl") => &[
                (RINGS_TO, &["2", "8", "32"]),
                (CHUNK, &["524288", "1048576", "2097152", "1e12"]),
                (FAR_CHUNK, &["65536", "262144", "1048576", "1e12"]),
            ],
            (CommFamily::Collective(_), _) => &[(RINGS_TO, &["8"])],
            _ => &[(RINGS_TO, &["64"])],
        };
        choices.iter().fold(vec![Structure::new()], |structures, (name, values)| {
            let with = |value: &&str| {
                let entry = ((*name).to_owned(), (*value).to_owned());
                structures
                    .iter()
                    .cloned()
                    .map(move |structure| structure.into_iter().chain([entry.clone()]).collect())
            };
            values.iter().flat_map(with).collect()
        })
    }

    fn compile<'a>(
        &'a self,
        key: &SetKey,
        structure: &Structure,
        _: Machine,
    ) -> Result<Form<'a, CommShape>, ProfileError> {
        let chosen = |name: &str| structure.get(name).and_then(|value| value.parse::<f64>().ok());
        let rings_to = chosen(RINGS_TO).unwrap_or(USUAL_RANKS);
        let buffers: Vec<(&str, f64)> =
            [CHUNK, FAR_CHUNK].into_iter().filter_map(|name| Some((name, chosen(name)?))).collect();
        let names: Vec<&'static str> = self.params(key).iter().map(|spec| spec.name).collect();
        let family = self.family;
        Ok(Box::new(move |values, shape| {
            let fitted = names.iter().copied().zip(values.iter().copied());
            let params =
                fitted.chain(buffers.iter().copied()).map(|(name, value)| (name.to_owned(), value)).collect();
            match (family, &shape.work) {
                (CommFamily::Collective(collective), Work::Collective(place)) => {
                    CollectiveForm::new(&params, rings_to).time(collective, shape.size, place)
                }
                (_, Work::Exchange(load)) => {
                    ExchangeForm::new(&params, rings_to).time(&Load { tokens: shape.size, ..*load })
                }
                _ => f64::NAN,
            }
        }))
    }

    fn work(&self, shape: &CommShape) -> f64 {
        match (self.family, &shape.work) {
            (CommFamily::Collective(collective), _) => collective.wire(shape.ranks, shape.size),
            (_, Work::Exchange(load)) => shape.size * load.copies * load.row_bytes,
            (_, Work::Collective(_)) => shape.size,
        }
    }

    fn trains(&self, shape: &CommShape) -> Option<bool> {
        Some(match self.family {
            CommFamily::Collective(_) => shape.ranks <= 4.0,
            CommFamily::Exchange(_) | CommFamily::Prepare => shape.ranks <= 8.0,
        })
    }

    fn features(&self) -> &'static [&'static str] {
        match self.family {
            CommFamily::Collective(_) => &COLLECTIVE_FEATURES,
            CommFamily::Exchange(_) | CommFamily::Prepare => &EXCHANGE_FEATURES,
        }
    }

    fn feature_values(&self, shape: &CommShape) -> Vec<f64> {
        vec![shape.size, shape.ranks]
    }

    fn grids(&self, features: &[Vec<f64>]) -> GridOptions {
        let axis = |name: &str, feature: usize, max: usize| {
            AxisPlan::over(name, feature, features.iter().map(|values| values[feature]), max)
        };
        let axes = vec![axis("ranks", 1, 8), axis("size", 0, 32), axis("size_low", 0, 6)];
        let grids: &[&[usize]] = if axes[0].knots.len() > 1 { &[&[0, 2], &[0, 1]] } else { &[&[1]] };
        GridOptions {
            axes,
            grids: grids.iter().map(|axes| GridPlan { axes: axes.to_vec() }).collect(),
            // Protocol switches leave steps between neighbouring sizes; rows are few but repeat well.
            ridges: vec![0.02, 0.1, 0.4, 1.5],
            smoothness: 2.0,
            ..GridOptions::default()
        }
    }

    fn host_floor(&self) -> Seconds {
        // Exchanges take long whoever launches them, and eager launches are stacks of their own here.
        Seconds::new(1.0)
    }

    fn few_rows(&self) -> usize {
        20
    }

    fn study_rows(&self) -> usize {
        40
    }
}

/// Stands in for the place of a row that is composed of several stages.
const NOWHERE: Place =
    Place { ranks: 2.0, bandwidth: 1.0, extra_latency: 0.0, in_network: false, far: false };

/// Coefficients that the protocols of a library have.
fn parameter_names(family: CommFamily, library: &str, in_network: impl Fn() -> bool) -> Vec<&'static str> {
    let collective = match family {
        CommFamily::Prepare => return vec!["start", "doubling", "per_token"],
        CommFamily::Exchange(direction) => return exchange_names(direction, library).to_vec(),
        CommFamily::Collective(collective) => collective,
    };
    if library == "hccl" {
        return vec!["start", "step", "low", "high_start", "high_step", "high", "growth"];
    }
    let mut names = vec!["start", "step"];
    names.push(if library == "nccl" { "low" } else { "direct" });
    names.extend(["high_start", "high", "growth"]);
    if collective == Collective::AllReduce && in_network() {
        names.extend(["network_start", "network"]);
    }
    names
}

fn exchange_names(direction: Direction, library: &str) -> &'static [&'static str] {
    match (library, direction) {
        ("deepep-low-latency", Direction::Dispatch) => {
            &["start", "per_expert", "efficiency", "token", "scan", "blend"]
        }
        ("deepep-low-latency", Direction::Combine) => {
            &["start", "per_expert", "first", "efficiency", "copy", "blend"]
        }
        ("deepep-normal", _) => {
            &["start", "first", "per_token", "efficiency", "copy", "token", "row", "scan", "blend"]
        }
        (library, _) if library.starts_with("trtllm") => {
            &["start", "doubling", "per_token", "efficiency", "growth", "copy", "row", "blend"]
        }
        _ => &["start", "doubling", "efficiency"],
    }
}

/// What a row measured, before it is known what joins its ranks.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    key: SetKey,
    text: String,
    size: f64,
    ranks: f64,
    /// Nodes of the chip's usual system, where the table counts those instead of ranks.
    nodes: Option<f64>,
    exchange: Option<cost::comm::ExchangeSpec>,
    /// Whether ranks are peers on the network between nodes.
    outermost: bool,
    time: Seconds,
}
