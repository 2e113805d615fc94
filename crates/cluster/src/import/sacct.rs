//! Slurm accounting: `sacct --allocations --parsable2` with at least JobID, Submit, Elapsed (or Start and End), and AllocTRES or
//! ReqTRES.

use super::{ClusterError, Imported, Table, Trace, timestamp};

pub(super) fn read(file: &str, text: &str) -> Result<Trace, ClusterError> {
    let table = Table::read(file, text, b'|')?;
    let (id, submitted) = (table.need("JobID")?, table.need("Submit")?);
    let field = |row: &csv::StringRecord, name: &str| {
        table.column(name).and_then(|at| row.get(at)).unwrap_or("").trim().to_owned()
    };
    let mut trace = Trace::default();
    let (mut steps, mut idle, mut unstarted) = (0, 0, 0);
    for (line, row) in &table.rows {
        let name = row.get(id).unwrap_or("");
        if name.contains('.') {
            steps += 1;
            continue;
        }
        let when = row.get(submitted).unwrap_or("");
        let submit = timestamp(when)
            .ok_or_else(|| table.wrong(*line, "Submit", when, "a time such as 2024-05-01T12:00:00"))?;
        let elapsed = match field(row, "Elapsed").as_str() {
            "" => timestamp(&field(row, "End"))
                .zip(timestamp(&field(row, "Start")))
                .map(|(end, start)| end - start),
            text => Some(
                length(text)
                    .ok_or_else(|| table.wrong(*line, "Elapsed", text, "a length such as 1-02:03:04"))?,
            ),
        };
        let Some(duration) = elapsed.filter(|elapsed| *elapsed > 0.0) else {
            unstarted += 1;
            continue;
        };
        let mut tres = field(row, "AllocTRES");
        if tres.is_empty() {
            tres = field(row, "ReqTRES");
        }
        let Some(chips) = chips(&tres).filter(|chips| *chips > 0) else {
            idle += 1;
            continue;
        };
        let account = field(row, "Account");
        trace.jobs.push(Imported {
            name: name.to_owned(),
            tenant: if account.is_empty() { "slurm".to_owned() } else { account },
            chips,
            nodes: field(row, "NNodes").parse().ok().or_else(|| field(row, "AllocNodes").parse().ok()),
            submit,
            duration,
            limit: length(&field(row, "Timelimit")),
            priority: 0,
            least: None,
            level: None,
        });
    }
    for (count, what) in [
        (steps, "steps of jobs are left out; their jobs are read"),
        (idle, "jobs without GPUs or NPUs are left out"),
        (unstarted, "jobs that never ran are left out"),
    ] {
        if count > 0 {
            trace.notes.push(format!("{count} {what}"));
        }
    }
    Ok(trace)
}

/// GPUs or NPUs of `billing=8,cpu=8,gres/npu=8,node=1`; a typed entry (`gres/gpu:h100=8`) counts if there is no plain one.
fn chips(tres: &str) -> Option<u32> {
    let of = |wanted: fn(&str) -> bool| {
        tres.split(',')
            .filter_map(|entry| entry.split_once('='))
            .find(|(key, _)| wanted(key))
            .and_then(|(_, value)| value.parse().ok())
    };
    of(|key| matches!(key, "gres/gpu" | "gres/npu"))
        .or_else(|| of(|key| key.starts_with("gres/gpu:") || key.starts_with("gres/npu:")))
}

/// Seconds of `[days-]hours:minutes:seconds`, `minutes:seconds` or minutes.
fn length(text: &str) -> Option<f64> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (days.parse::<f64>().ok()?, clock),
        None => (0.0, text),
    };
    let parts: Option<Vec<f64>> = clock.split(':').map(|part| part.parse().ok()).collect();
    let seconds = match parts?.as_slice() {
        [minutes] => minutes * 60.0,
        [minutes, seconds] => minutes * 60.0 + seconds,
        [hours, minutes, seconds] => hours * 3600.0 + minutes * 60.0 + seconds,
        _ => return None,
    };
    Some(days * 86_400.0 + seconds)
}
