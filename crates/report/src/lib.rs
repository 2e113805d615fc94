//! What is printed: tables for people, JSON for programs, pages with charts.
//!
//! Nothing is computed here: a number shown in two places comes from one field of a result.

mod accuracy;
pub mod chart;
mod compare;
mod estimate;
mod operator;
mod outputs;
pub mod page;
mod pages;
mod parquet;
mod pdf;
mod plan;
mod ranking;
pub mod simulate;
mod table;
pub mod train;
mod validate;
mod words;

pub use accuracy::accuracy_markdown;
pub use compare::{compare_json, compare_text};
pub use estimate::{estimate_json, estimate_line, estimate_text};
pub use operator::{operator_line, operator_text};
pub use outputs::{OutputError, OutputId, Outputs, abandon};
pub use pages::{
    Happenings, Surroundings, compare_document, estimate_document, number, plan_document,
    plan_train_document, simulate_document, train_document, validate_document,
};
pub use parquet::{Cell, Column, ColumnKind, ParquetWriter, parquet_columns, read_parquet};
pub use pdf::{PdfError, find_chromium, print_pdf};
pub use plan::{plan_figure, plan_json, plan_text};
pub use ranking::{ranking_json, ranking_text};
pub use simulate::{Detail, Perfetto, RecordFormat, Records, simulate_json, simulate_text, vllm_json};
pub use table::{fit_tables, fold, list, table, table_keeping};
pub use validate::{rows_text, validate_json, validate_text, worst};
pub use words::{Lang, UnknownLanguage, Words};
