//! One published run, as its CSV row states it.

use super::date;
use std::io::Read;

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrainingDataError {
    /// The CSV is malformed.
    #[error("{file}: {source}")]
    Csv {
        /// File.
        file: String,
        /// What is wrong, with the line.
        source: csv::Error,
    },
    /// A column the table must have.
    #[error("{file}: no column `{column}`; this is not a table of training runs")]
    Column {
        /// File.
        file: String,
        /// Column.
        column: &'static str,
    },
    /// A cell that is no number.
    #[error("{file}, line {line}: `{value}` in column `{column}` is not a number")]
    Number {
        /// File.
        file: String,
        /// Line.
        line: u64,
        /// Column.
        column: &'static str,
        /// Cell.
        value: String,
    },
}

/// One published run. Empty cells are `None`: unknown, not zero.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingRow {
    /// Unique id.
    pub id: String,
    /// Where it was published.
    pub source: String,
    /// Catalog key of the system.
    pub system: String,
    /// Scale-out bandwidth of a chip, Gbit/s.
    pub nic_gbps: Option<f64>,
    /// Framework.
    pub framework: String,
    /// Chips.
    pub chips: u32,
    /// Name of the model.
    pub model: String,
    /// Sizes of the model.
    pub layers: u32,
    /// Width.
    pub hidden: u32,
    /// Dense inner width.
    pub ffn: Option<u32>,
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: Option<u32>,
    /// Head width.
    pub head_dim: Option<u32>,
    /// Vocabulary.
    pub vocab: Option<u32>,
    /// Tokens per sequence.
    pub seq: u32,
    /// Experts.
    pub experts: Option<u32>,
    /// Experts per token.
    pub topk: Option<u32>,
    /// Inner width of an expert.
    pub moe_ffn: Option<u32>,
    /// Shared experts.
    pub shared_experts: Option<u32>,
    /// Leading dense layers.
    pub first_dense: Option<u32>,
    /// Sequences per step.
    pub global_batch: u32,
    /// Sequences per micro-batch.
    pub micro_batch: Option<u32>,
    /// Parallel sizes.
    pub tp: Option<u32>,
    /// Pipeline.
    pub pp: Option<u32>,
    /// Virtual pipeline.
    pub vpp: Option<u32>,
    /// Data.
    pub dp: Option<u32>,
    /// Context.
    pub cp: Option<u32>,
    /// Expert.
    pub ep: Option<u32>,
    /// Expert tensor.
    pub etp: Option<u32>,
    /// Sequence parallelism.
    pub sequence_parallel: Option<bool>,
    /// ZeRO stage.
    pub zero: Option<u32>,
    /// Whether the optimizer is distributed.
    pub distributed_optimizer: Option<bool>,
    /// Pipeline schedule, where the table names one.
    pub schedule: Option<String>,
    /// Recomputation, in the table's words.
    pub recompute: String,
    /// Precision.
    pub precision: String,
    /// Whether feed-forward parts are gated.
    pub gated: Option<bool>,
    /// Measured step time, seconds.
    pub step_time: Option<f64>,
    /// Measured tokens per second and chip.
    pub tokens_per_chip: Option<f64>,
    /// Printed TFLOPS per chip.
    pub tflops: Option<f64>,
    /// Printed utilisation of the peak, per cent.
    pub mfu: Option<f64>,
    /// Whether these count causal attention once instead of the whole square of the sequence.
    pub counts_causal: bool,
    /// What the source says besides.
    pub notes: String,
    /// When it was measured, as `YYYY-MM`, where the source tells.
    pub month: Option<String>,
}

impl TrainingRow {
    /// The printed step time in seconds, or the one that printed tokens per second mean.
    pub fn printed_time(&self) -> Option<f64> {
        let tokens = f64::from(self.global_batch) * f64::from(self.seq);
        self.step_time.or_else(|| self.tokens_per_chip.map(|rate| tokens / (rate * f64::from(self.chips))))
    }
}

/// Reads a table of training runs.
///
/// # Errors
/// The text is no CSV, lacks a column, or has a cell that is no number where one belongs.
pub fn read(file: &str, text: impl Read) -> Result<Vec<TrainingRow>, TrainingDataError> {
    let mut reader = csv::Reader::from_reader(text);
    let wrap = |source| TrainingDataError::Csv { file: file.to_owned(), source };
    let headers = reader.headers().map_err(wrap)?.clone();
    for column in ["id", "framework", "layers", "hidden", "global_batch_seqs"] {
        if !headers.iter().any(|header| header == column) {
            return Err(TrainingDataError::Column { file: file.to_owned(), column });
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrap)?;
        let line = record.position().map_or(0, csv::Position::line);
        let cells = Cells { file, line, headers: &headers, record: &record };
        rows.push(cells.row()?);
    }
    Ok(rows)
}

struct Cells<'a> {
    file: &'a str,
    line: u64,
    headers: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl Cells<'_> {
    fn text(&self, column: &str) -> &str {
        let index = self.headers.iter().position(|header| header == column);
        index.and_then(|index| self.record.get(index)).unwrap_or("").trim()
    }

    fn number(&self, column: &'static str) -> Result<Option<f64>, TrainingDataError> {
        let value = self.text(column);
        if value.is_empty() {
            return Ok(None);
        }
        value.parse().map(Some).map_err(|_| TrainingDataError::Number {
            file: self.file.to_owned(),
            line: self.line,
            column,
            value: value.to_owned(),
        })
    }

    fn count(&self, column: &'static str) -> Result<Option<u32>, TrainingDataError> {
        Ok(self.number(column)?.map(|value| value as u32))
    }

    fn flag(&self, column: &str) -> Option<bool> {
        match self.text(column) {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn row(&self) -> Result<TrainingRow, TrainingDataError> {
        let owned = |column: &str| self.text(column).to_owned();
        let (source, notes) = (owned("source"), owned("notes"));
        let month = date::month_of(&source).or_else(|| date::month_of(&notes));
        Ok(TrainingRow {
            id: owned("id"),
            system: owned("system"),
            nic_gbps: self.number("nic_gbps_per_chip")?,
            framework: owned("framework"),
            chips: self.count("num_chips")?.unwrap_or(0),
            model: owned("model_name"),
            layers: self.count("layers")?.unwrap_or(0),
            hidden: self.count("hidden")?.unwrap_or(0),
            ffn: self.count("ffn_hidden")?,
            heads: self.count("heads")?.unwrap_or(0),
            kv_heads: self.count("kv_heads")?,
            head_dim: self.count("head_dim")?,
            vocab: self.count("vocab")?,
            seq: self.count("seq_len")?.unwrap_or(0),
            experts: self.count("num_experts")?,
            topk: self.count("topk")?,
            moe_ffn: self.count("moe_ffn_hidden")?,
            shared_experts: self.count("shared_experts")?,
            first_dense: self.count("first_dense_layers")?,
            global_batch: self.count("global_batch_seqs")?.unwrap_or(0),
            micro_batch: self.count("micro_batch_seqs")?,
            tp: self.count("tp")?,
            pp: self.count("pp")?,
            vpp: self.count("vpp")?,
            dp: self.count("dp")?,
            cp: self.count("cp")?,
            ep: self.count("ep")?,
            etp: self.count("etp")?,
            sequence_parallel: self.flag("sp"),
            zero: self.count("zero_stage")?,
            distributed_optimizer: self.flag("distributed_optimizer"),
            schedule: Some(owned("schedule")).filter(|name| !name.is_empty()),
            recompute: owned("recompute"),
            precision: owned("precision"),
            gated: self.flag("gated_mlp"),
            step_time: self.number("measured_step_time_s")?,
            tokens_per_chip: self.number("measured_tokens_per_s_per_chip")?,
            tflops: self.number("measured_tflops_per_chip")?,
            mfu: self.number("mfu_percent")?,
            counts_causal: self.text("attn_type").starts_with("causal"),
            month,
            source,
            notes,
        })
    }
}
