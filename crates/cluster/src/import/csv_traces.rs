//! Published traces: Philly, Alibaba's openb pods and DLRM instances.

use super::{ClusterError, Imported, Table, Trace, timestamp};

/// Philly as cut down by the Sia artifact: `timestamp, duration, num_gpus, gpu_time, cluster`.
pub(super) fn philly(file: &str, text: &str) -> Result<Trace, ClusterError> {
    let table = Table::read(file, text, b',')?;
    let (at, duration, gpus) = (table.need("timestamp")?, table.need("duration")?, table.need("num_gpus")?);
    let cluster = table.column("cluster");
    let mut trace = Trace::default();
    let mut idle = 0;
    for (index, (line, row)) in table.rows.iter().enumerate() {
        let when = row.get(at).unwrap_or("");
        let submit = timestamp(when).ok_or_else(|| {
            table.wrong(*line, "timestamp", when, "a date and time such as 2017-10-09 07:01:55")
        })?;
        let chips = table.number(*line, row, gpus)? as u32;
        if chips == 0 {
            idle += 1;
            continue;
        }
        trace.jobs.push(Imported {
            name: format!("philly-{index}"),
            tenant: cluster.and_then(|at| row.get(at)).unwrap_or("philly").to_owned(),
            chips,
            nodes: None,
            submit,
            duration: table.number(*line, row, duration)?,
            limit: None,
            priority: 0,
            least: None,
            level: None,
        });
    }
    if idle > 0 {
        trace.notes.push(format!("{idle} jobs without GPUs are left out"));
    }
    Ok(trace)
}

/// Pods of cluster-trace-gpu-v2023. A share of a GPU counts as a whole one: chips are not shared here.
pub(super) fn openb(file: &str, text: &str) -> Result<Trace, ClusterError> {
    let table = Table::read(file, text, b',')?;
    let (gpus, milli) = (table.need("num_gpu")?, table.need("gpu_milli")?);
    let (created, deleted) = (table.need("creation_time")?, table.need("deletion_time")?);
    let (scheduled, name, qos) = (table.column("scheduled_time"), table.column("name"), table.column("qos"));
    let mut trace = Trace::default();
    let (mut idle, mut shared, mut unscheduled) = (0, 0, 0);
    for (index, (line, row)) in table.rows.iter().enumerate() {
        let chips = table.number(*line, row, gpus)? as u32;
        if chips == 0 {
            idle += 1;
            continue;
        }
        let submit = table.number(*line, row, created)?;
        let start = match scheduled.map(|at| row.get(at).unwrap_or("").trim()) {
            Some("") => {
                unscheduled += 1;
                submit
            }
            Some(_) => table.number(*line, row, scheduled.unwrap_or(created))?,
            None => submit,
        };
        shared += u32::from(table.number(*line, row, milli)? < 1000.0);
        trace.jobs.push(Imported {
            name: name.and_then(|at| row.get(at)).map_or_else(|| format!("pod-{index}"), str::to_owned),
            tenant: qos.and_then(|at| row.get(at)).unwrap_or("openb").to_owned(),
            chips,
            nodes: None,
            submit,
            duration: (table.number(*line, row, deleted)? - start).max(0.0),
            limit: None,
            priority: 0,
            least: None,
            level: None,
        });
    }
    for (count, what) in [
        (idle, "pods without GPUs are left out"),
        (shared, "pods that share a GPU count as one whole GPU each"),
        (unscheduled, "pods were never scheduled; their time counts from their creation"),
    ] {
        if count > 0 {
            trace.notes.push(format!("{count} {what}"));
        }
    }
    Ok(trace)
}

/// Serving instances of Alibaba's DLRM clusters. Without a time an instance was there from the start, or until the end.
pub(super) fn instances(file: &str, text: &str) -> Result<Trace, ClusterError> {
    let table = Table::read(file, text, b',')?;
    let (gpus, app) = (table.need("gpu_request")?, table.need("app_name")?);
    let (created, deleted) = (table.need("creation_time")?, table.need("deletion_time")?);
    let (scheduled, name) = (table.need("scheduled_time")?, table.need("instance_sn")?);
    let time = |line: u64, row: &csv::StringRecord, at: usize| match row.get(at).unwrap_or("").trim() {
        "" => Ok(None),
        _ => table.number(line, row, at).map(Some),
    };
    let mut end = 0.0f64;
    for (line, row) in &table.rows {
        for at in [created, scheduled, deleted] {
            end = end.max(time(*line, row, at)?.unwrap_or(0.0));
        }
    }
    let mut trace = Trace::default();
    let (mut idle, mut open) = (0, 0);
    for (line, row) in &table.rows {
        let chips = table.number(*line, row, gpus)? as u32;
        if chips == 0 {
            idle += 1;
            continue;
        }
        let submit = time(*line, row, created)?.unwrap_or(0.0);
        let start = time(*line, row, scheduled)?.unwrap_or(submit);
        let until = time(*line, row, deleted)?;
        open += u32::from(until.is_none());
        trace.jobs.push(Imported {
            name: row.get(name).unwrap_or("").to_owned(),
            tenant: row.get(app).unwrap_or("").to_owned(),
            chips,
            nodes: None,
            submit,
            duration: (until.unwrap_or(end) - start).max(0.0),
            limit: None,
            priority: 0,
            least: None,
            level: None,
        });
    }
    if idle > 0 {
        trace.notes.push(format!("{idle} instances without GPUs are left out"));
    }
    if open > 0 {
        trace.notes.push(format!("{open} instances without a deletion time run until the end of the trace"));
    }
    Ok(trace)
}
