//! What a simulation reports: the summary on the terminal, JSON, per-request records, the form of vLLM's benchmark,
//! Perfetto traces.

pub(crate) mod bands;
mod perfetto;
pub(crate) mod pools;
mod records;
pub(crate) mod summary;
mod vllm;

pub use perfetto::Perfetto;
pub use records::{RecordFormat, Records};
pub use summary::{simulate_json, simulate_text};
pub use vllm::{Detail, vllm_json};
