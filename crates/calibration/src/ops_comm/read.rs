//! Rows of the three kinds of comm tables.

use super::{CommFamily, Measured};
use crate::ops::{ASCEND_TABLES_CHIP, OpTable, Record, SetKey, TableError};
use cost::comm::{Collective, Direction, ExchangeSpec, Library, Routing};
use cost::ops::Precision;
use units::{Bytes, Dtype, Seconds};

const NVIDIA: [&str; 3] = ["op_name", "num_gpus", "message_size"];
const PUBLISHED: [&str; 6] = ["op", "chip", "config", "metric", "value", "unit"];
/// The Ascend column's name goes on to explain itself in brackets.
const MESSAGE_BYTES: &str = "message_bytes";

/// FP8 with one 32-bit scale per 128 values, as DeepEP dispatches.
const FP8_ROW: f64 = 1.0 + 4.0 / 128.0;
const BF16_ROW: f64 = 2.0;

pub(super) fn accepts(table: &OpTable) -> bool {
    table.has(&NVIDIA) || table.has(&PUBLISHED) || is_hccl(table)
}

fn is_hccl(table: &OpTable) -> bool {
    table.has(&["collective", "num_dies", "latency_us"]) && table.column_starting(MESSAGE_BYTES).is_some()
}

pub(super) fn read(family: CommFamily, record: &Record<'_>) -> Result<Option<Measured>, TableError> {
    let table = record.table();
    if table.has(&NVIDIA) {
        nvidia(family, record)
    } else if is_hccl(table) {
        hccl(family, record)
    } else {
        published(family, record)
    }
}

fn key(record: &Record<'_>, chip: String, stack: &str) -> SetKey {
    SetKey {
        chip,
        stack: stack.to_owned(),
        version: record.text("version").to_owned(),
        kernel: String::new(),
        precision: Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 },
    }
}

fn microseconds(record: &Record<'_>, column: &str) -> Result<Seconds, TableError> {
    Ok(Seconds::new(record.number(column)? * 1e-6))
}

fn nvidia(family: CommFamily, record: &Record<'_>) -> Result<Option<Measured>, TableError> {
    let collective = match family {
        CommFamily::Collective(collective) => Some(collective),
        CommFamily::Exchange(_) | CommFamily::Prepare => None,
    };
    match (record.text("table"), collective) {
        ("nccl" | "custom_allreduce", Some(collective)) => nvidia_collective(collective, record),
        ("wideep_deepep_ll" | "wideep_deepep_normal", None) => deepep(family, record),
        ("trtllm_alltoall", None) => trtllm(family, record),
        _ => Ok(None),
    }
}

fn nvidia_collective(collective: Collective, record: &Record<'_>) -> Result<Option<Measured>, TableError> {
    if Collective::from_name(record.text("op_name")) != Some(collective) {
        return Ok(None);
    }
    let dtype = if record.text("nccl_dtype").is_empty() { "allreduce_dtype" } else { "nccl_dtype" };
    let dtype = record.dtype(dtype)?;
    let bytes = record.number("message_size")? * dtype.bytes();
    let ranks = record.number("num_gpus")?;
    let eager = record.text("backend").ends_with("_eager");
    let stack = format!("{}{}", record.text("framework"), if eager { "-eager" } else { "" });
    if !(ranks >= 2.0 && bytes > 0.0) {
        return Ok(None);
    }
    let mut key = key(record, record.chip_or(""), &stack);
    if collective == Collective::AllReduce && dtype.bytes() < 2.0 {
        // Bytes are copied alike whatever they mean; sums are not, and switches add no bytes.
        key.precision = Precision { weight: dtype, activation: dtype };
    }
    Ok(Some(Measured {
        key,
        text: format!("{ranks},{bytes}"),
        size: bytes,
        ranks,
        nodes: None,
        exchange: None,
        outermost: false,
        time: microseconds(record, "latency_us")?,
    }))
}

fn deepep(family: CommFamily, record: &Record<'_>) -> Result<Option<Measured>, TableError> {
    let CommFamily::Exchange(direction) = family else { return Ok(None) };
    let low_latency = record.text("table") == "wideep_deepep_ll";
    let (library, time) = match (low_latency, direction) {
        (true, Direction::Dispatch) => (Library::DeepEpLowLatency, "dispatch_avg_t_us"),
        (true, Direction::Combine) => (Library::DeepEpLowLatency, "combine_avg_t_us"),
        (false, Direction::Dispatch) => (Library::DeepEpNormal, "dispatch_transmit_us"),
        (false, Direction::Combine) => (Library::DeepEpNormal, "combine_transmit_us"),
    };
    let cores = match direction {
        _ if low_latency => None,
        Direction::Dispatch => Some(record.number("dispatch_sms")?),
        Direction::Combine => Some(record.number("combine_sms")?),
    };
    let (tokens, topk) = (record.number("num_token")?, record.number("num_topk")?);
    let (hidden, experts) = (record.number("hidden_size")?, record.number("num_experts")?);
    let nodes = record.number_or("node_num", 1.0)?;
    Ok(Some(Measured {
        key: key(record, record.chip_or(""), library.name()),
        text: format!("{nodes},{tokens},{topk},{hidden},{experts},{}", cores.unwrap_or(0.0)),
        size: tokens,
        ranks: nodes,
        nodes: Some(nodes),
        exchange: Some(ExchangeSpec {
            library,
            experts,
            topk: topk as u32,
            dispatch_row: Bytes::new(hidden * FP8_ROW),
            combine_row: Bytes::new(hidden * BF16_ROW),
            routing: Routing::Random,
            group_limit: None,
            cores,
        }),
        outermost: false,
        time: microseconds(record, time)?,
    }))
}

fn trtllm(family: CommFamily, record: &Record<'_>) -> Result<Option<Measured>, TableError> {
    let one_sided = record.text("kernel_source") == "NVLinkOneSided";
    let library = if one_sided { Library::TrtLlmOneSided } else { Library::TrtLlmTwoSided };
    let (op, suffix) = match (record.text("op_name"), family) {
        ("alltoall_dispatch", CommFamily::Exchange(Direction::Dispatch)) => ("dispatch", ""),
        ("alltoall_combine", CommFamily::Exchange(Direction::Combine)) => ("combine", ""),
        ("alltoall_combine_low_precision", CommFamily::Exchange(Direction::Combine)) => {
            ("combine", "-low-precision")
        }
        ("alltoall_prepare", CommFamily::Prepare) => ("prepare", ""),
        _ => return Ok(None),
    };
    let dtype = record.dtype("moe_dtype")?;
    let (tokens, ranks) = (record.number("num_tokens")?, record.number("moe_ep_size")?);
    let (hidden, experts) = (record.number("hidden_size")?, record.number("num_experts")?);
    let topk = record.number("topk")?;
    // Results come back in 16 bits whatever the experts multiply; what is prepared has no width.
    let row = hidden * if op == "dispatch" { dtype.bytes() } else { BF16_ROW };
    let routing = if record.text("distribution") == "balanced" { Routing::Spread } else { Routing::Random };
    let mut key = key(record, record.chip_or(""), &format!("{}{suffix}", library.name()));
    key.version = record.text("version").to_owned();
    Ok(Some(Measured {
        key,
        text: format!("{op},{ranks},{tokens},{topk},{row},{experts}"),
        size: tokens,
        ranks,
        nodes: None,
        exchange: Some(ExchangeSpec {
            library,
            experts,
            topk: topk as u32,
            dispatch_row: Bytes::new(row),
            combine_row: Bytes::new(row),
            routing,
            group_limit: None,
            cores: None,
        }),
        outermost: false,
        time: microseconds(record, "latency_us")?,
    }))
}

fn hccl(family: CommFamily, record: &Record<'_>) -> Result<Option<Measured>, TableError> {
    let CommFamily::Collective(collective) = family else { return Ok(None) };
    let column = record.table().column_starting(MESSAGE_BYTES).unwrap_or(MESSAGE_BYTES);
    if Collective::from_name(record.text("collective")) != Some(collective) {
        return Ok(None);
    }
    let (ranks, message) = (record.number("num_dies")?, record.number(column)?);
    let bytes = match collective {
        Collective::AllGather | Collective::ReduceScatter => message * ranks,
        Collective::AllReduce | Collective::AllToAll => message,
    };
    Ok(Some(Measured {
        key: key(record, record.chip_or(ASCEND_TABLES_CHIP), "hccl"),
        text: format!("{ranks},{bytes}"),
        size: bytes,
        ranks,
        nodes: None,
        exchange: None,
        outermost: false,
        time: microseconds(record, "latency_us")?,
    }))
}

/// A published latency whose configuration says how many ranks, tokens per rank, experts per token and what width.
fn published(family: CommFamily, record: &Record<'_>) -> Result<Option<Measured>, TableError> {
    let CommFamily::Exchange(direction) = family else { return Ok(None) };
    let wanted = match direction {
        Direction::Dispatch => "MoE dispatch",
        Direction::Combine => "MoE combine",
    };
    if record.text("op") != wanted || record.text("metric") != "latency" || record.text("unit") != "us" {
        return Ok(None);
    }
    let (config, notes) = (record.text("config"), record.text("notes"));
    let numbers =
        [number_after(config, "EP"), number_after(config, "batch "), number_after(config, "hidden ")];
    let [Some(ranks), Some(tokens), Some(hidden)] = numbers else { return Ok(None) };
    let Some(topk) = number_after(config, "top-") else { return Ok(None) };
    let over_network = notes.contains("RDMA");
    let library = if over_network { Library::DeepEpLowLatency } else { Library::Cann };
    let usual = if direction == Direction::Dispatch { FP8_ROW } else { BF16_ROW };
    let row = number_after(notes, "payload INT8 ").or(number_after(notes, "payload BF16 "));
    let row = Bytes::new(row.map_or(hidden * usual, |kibibytes| kibibytes * 1024.0));
    let chip = record.chip_or("").to_lowercase().replace(' ', "-");
    Ok(Some(Measured {
        key: key(record, chip, library.name()),
        text: format!("{ranks},{tokens},{topk},{hidden}"),
        size: tokens,
        ranks,
        nodes: None,
        exchange: Some(ExchangeSpec {
            library,
            experts: PUBLISHED_EXPERTS,
            topk: topk as u32,
            dispatch_row: row,
            combine_row: row,
            routing: Routing::Random,
            group_limit: None,
            cores: None,
        }),
        outermost: over_network,
        time: microseconds(record, "value")?,
    }))
}

/// Routed experts of the model that published exchanges are measured with, DeepSeek-V3.
const PUBLISHED_EXPERTS: f64 = 256.0;

/// The number that directly follows `word`.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = &text[text.find(word)? + word.len()..];
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(family: CommFamily, csv: &str) -> Vec<Measured> {
        let table = OpTable::parse("t.csv", csv.as_bytes()).unwrap();
        assert!(accepts(&table));
        table.records().filter_map(|record| read(family, &record).unwrap()).collect()
    }

    #[test]
    fn nccl_sizes_are_elements() {
        let csv = "chip,framework,version,table,op_name,nccl_dtype,num_gpus,message_size,latency_us\n\
                   h100,nccl,2.29.2,nccl,alltoall,half,8,1024,7.5\nh100,nccl,2.29.2,nccl,alltoall,int8,4,512,7\n";
        let found = rows(CommFamily::Collective(Collective::AllToAll), csv);
        assert_eq!(
            found.iter().map(|row| (row.ranks, row.size)).collect::<Vec<_>>(),
            [(8.0, 2048.0), (4.0, 512.0)]
        );
    }

    #[test]
    fn ascend_gathers_count_one_share() {
        let csv = "collective,num_dies,message_bytes(all_gather: per-rank chunk),latency_us\nall_gather,4,128,4.0\n";
        let found = rows(CommFamily::Collective(Collective::AllGather), csv);
        assert_eq!((found[0].size, found[0].key.chip.as_str()), (512.0, ASCEND_TABLES_CHIP));
    }

    #[test]
    fn published_configurations_are_read_from_words() {
        let csv = "op,chip,config,metric,value,unit,notes\n\
            MoE dispatch,Ascend 910C,\"EP16, batch 128/rank, hidden 7168, top-8\",latency,131,us,CANN EP (UB); dispatch payload INT8 7.5 KB/token\n\
            MoE dispatch,H800,\"EP8, batch 128/rank, hidden 7168, top-8\",latency,163,us,DeepEP RDMA\n\
            MoE dispatch,H800,\"EP8, batch 128/rank, hidden 7168, top-8\",bandwidth,46,GB/s,DeepEP RDMA\n";
        let found = rows(CommFamily::Exchange(Direction::Dispatch), csv);
        assert_eq!(found.len(), 2);
        let spec = found[0].exchange.unwrap();
        assert_eq!((found[0].ranks, found[0].size, spec.topk), (16.0, 128.0, 8));
        assert_eq!((spec.dispatch_row, spec.library), (Bytes::new(7680.0), Library::Cann));
        assert!(found[1].outermost && !found[0].outermost);
    }
}
