//! What a simulation reports: the summary on the terminal, JSON, per-request records, the form of vLLM's benchmark,
//! Perfetto traces and a page of charts.

mod bands;
mod html;
mod perfetto;
mod pools;
mod records;
mod summary;
mod vllm;

pub use html::simulate_html;
pub use perfetto::Perfetto;
pub use records::{RecordFormat, Records};
pub use summary::{simulate_json, simulate_text};
pub use vllm::{Detail, vllm_json};
