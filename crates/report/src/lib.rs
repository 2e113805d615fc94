//! What is printed: tables for people, JSON for programs, pages with charts.
//!
//! Nothing is computed here: a number shown in two places comes from one field of a result.

mod accuracy;
mod compare;
mod estimate;
mod operator;
mod outputs;
mod page;
mod parquet;
mod plan;
mod ranking;
pub mod simulate;
mod table;
pub mod train;
mod validate;

pub use accuracy::accuracy_markdown;
pub use compare::{compare_html, compare_json, compare_text};
pub use estimate::{estimate_json, estimate_line, estimate_text};
pub use operator::{operator_line, operator_text};
pub use outputs::{OutputError, OutputId, Outputs};
pub use parquet::{Cell, Column, ColumnKind, ParquetWriter, parquet_columns, read_parquet};
pub use plan::{plan_figure, plan_html, plan_json, plan_text};
pub use ranking::{ranking_json, ranking_text};
pub use simulate::{
    Detail, Perfetto, RecordFormat, Records, simulate_html, simulate_json, simulate_text, vllm_json,
};
pub use table::{list, table};
pub use validate::{rows_text, validate_html, validate_json, validate_text, worst};
