//! Jobs from traces and objects of other systems.

mod csv_traces;
mod manifests;
mod sacct;

use crate::file::ClusterError;
use crate::job::{Tenant, TenantId};
use crate::plan::{Checkpoint, JobPlan, Kind};
use crate::tree::{Ask, Wish};
use serving::Nanos;
use std::path::Path;

/// A job of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// Chips in all.
    pub chips: u32,
    /// Nodes, if the source says.
    pub nodes: Option<u32>,
    /// Seconds; the earliest submission of the trace becomes 0.
    pub submit: f64,
    /// Seconds on its chips.
    pub duration: f64,
    /// Declared limit, if the source has one.
    pub limit: Option<f64>,
    /// Priority.
    pub priority: i32,
    /// Fewest chips, if it is elastic.
    pub least: Option<u32>,
    /// Level it requires or prefers, by name.
    pub level: Option<(String, bool)>,
}

/// What a file held.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Its jobs in order of submission.
    pub jobs: Vec<Imported>,
    /// Tenants with rights, if it has any.
    pub tenants: Vec<Tenant>,
    /// What was left out or changed, in words.
    pub notes: Vec<String>,
}

/// Reads a trace of any known format, told by its header.
///
/// # Errors
/// It cannot be read, or is of no known format.
pub fn read(path: &Path) -> Result<Trace, ClusterError> {
    let text = crate::file::read_text(path)?;
    parse(&path.display().to_string(), &text)
}

/// As [`read`], from text; `file` is what messages call it.
///
/// # Errors
/// It is of no known format, or a row is malformed.
pub fn parse(file: &str, text: &str) -> Result<Trace, ClusterError> {
    let header = text.lines().next().unwrap_or("").trim_start_matches('\u{feff}');
    let has = |names: &[&str]| {
        let columns: Vec<&str> = header.split([',', '|']).map(str::trim).collect();
        names.iter().all(|name| columns.contains(name))
    };
    let mut trace = if has(&["timestamp", "duration", "num_gpus"]) {
        csv_traces::philly(file, text)?
    } else if has(&["num_gpu", "gpu_milli", "creation_time", "deletion_time"]) {
        csv_traces::openb(file, text)?
    } else if has(&["instance_sn", "app_name", "gpu_request", "creation_time"]) {
        csv_traces::instances(file, text)?
    } else if header.contains('|') && has(&["JobID", "Submit"]) {
        sacct::read(file, text)?
    } else if text.contains("apiVersion:") {
        manifests::read(file, text)?
    } else {
        let message = format!(
            "`{}` is no header of a known trace; Philly (timestamp, duration, num_gpus), openb pods with times (num_gpu, \
             gpu_milli, creation_time, deletion_time), Alibaba instances (instance_sn, app_name, gpu_request), `sacct \
             --parsable2` (JobID, Submit) and Kueue or Volcano objects (apiVersion) are",
            header.chars().take(80).collect::<String>()
        );
        return Err(ClusterError::Syntax { file: file.to_owned(), message });
    };
    if trace.jobs.is_empty() {
        let message = "there are no jobs that use chips in it".to_owned();
        return Err(ClusterError::Syntax { file: file.to_owned(), message });
    }
    let first = trace.jobs.iter().map(|job| job.submit).fold(f64::INFINITY, f64::min);
    for job in &mut trace.jobs {
        job.submit -= first;
    }
    trace.jobs.sort_by(|a, b| a.submit.total_cmp(&b.submit));
    Ok(trace)
}

impl Trace {
    /// Its jobs as plans on nodes of `node` chips under `levels`; tenants it names are added to `tenants`.
    pub fn plans(
        &self,
        node: u32,
        levels: &[crate::tree::Level],
        limit_factor: f64,
        tenants: &mut Vec<Tenant>,
    ) -> Vec<JobPlan> {
        let mut names: rustc_hash::FxHashMap<String, TenantId> = rustc_hash::FxHashMap::default();
        for tenant in &self.tenants {
            if tenants.iter().all(|other| other.name != tenant.name) {
                tenants.push(tenant.clone());
            }
        }
        for (index, tenant) in tenants.iter().enumerate() {
            names.insert(tenant.name.clone(), TenantId(index as u32));
        }
        let mut plans = Vec::with_capacity(self.jobs.len());
        for job in &self.jobs {
            let tenant = *names.entry(job.tenant.clone()).or_insert_with(|| {
                tenants.push(Tenant::open(&job.tenant));
                TenantId(tenants.len() as u32 - 1)
            });
            let spread =
                job.nodes.filter(|nodes| *nodes > 0 && job.chips % nodes == 0 && job.chips / nodes <= node);
            let ask = match spread {
                Some(nodes) => Ask { count: nodes, each: job.chips / nodes, rest: 0 },
                None => Ask::packed(job.chips, node),
            };
            let level = job.level.as_ref().and_then(|(name, required)| {
                let level = levels.iter().position(|level| level.name == *name)?;
                Some(Wish { level: level as u32, required: *required, slice: None })
            });
            plans.push(JobPlan {
                uses: Box::default(),
                name: job.name.as_str().into(),
                kind: Kind::Opaque,
                tenant,
                priority: job.priority,
                ask,
                elastic: job
                    .least
                    .map(|least| crate::job::Range { least: least.min(job.chips), most: job.chips }),
                limit: Some(job.limit.unwrap_or(job.duration * limit_factor)),
                wish: level,
                preemptible: true,
                deadline: None,
                scaling: 0.9,
                submit: Nanos::new((job.submit * 1e9).round() as u64),
                work: job.duration.max(1e-3),
                checkpoint: Checkpoint::default(),
            });
        }
        plans
    }
}

/// Seconds from 1970 of `2017-10-09 07:01:55` or `2017-10-09T07:01:55` (UTC; only differences matter).
fn timestamp(text: &str) -> Option<f64> {
    let (date, time) = text.trim().trim_end_matches('Z').split_once([' ', 'T'])?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if !(1900..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut time = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days from civil (Hinnant): years begin in March so that the leap day is the last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

/// Rows of a table by column name.
struct Table<'a> {
    file: &'a str,
    columns: Vec<String>,
    rows: Vec<(u64, csv::StringRecord)>,
}

impl<'a> Table<'a> {
    fn read(file: &'a str, text: &str, delimiter: u8) -> Result<Self, ClusterError> {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(false).from_reader(text.as_bytes());
        let bad =
            |error: csv::Error| ClusterError::Syntax { file: file.to_owned(), message: error.to_string() };
        let columns = reader
            .headers()
            .map_err(bad)?
            .iter()
            .map(|name| name.trim().trim_start_matches('\u{feff}').to_owned())
            .collect();
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row.map_err(bad)?;
            rows.push((row.position().map_or(0, csv::Position::line), row));
        }
        Ok(Self { file, columns, rows })
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    fn need(&self, name: &str) -> Result<usize, ClusterError> {
        self.column(name).ok_or_else(|| ClusterError::Syntax {
            file: self.file.to_owned(),
            message: format!("there is no column `{name}`"),
        })
    }

    fn wrong(&self, line: u64, column: &str, text: &str, wanted: &str) -> ClusterError {
        let at = format!("{}:{line}: {column}", self.file);
        ClusterError::Value { at, problem: format!("`{text}` is not {wanted}") }
    }

    /// A number of a row that must be finite and not negative.
    fn number(&self, line: u64, row: &csv::StringRecord, at: usize) -> Result<f64, ClusterError> {
        let text = row.get(at).unwrap_or("").trim();
        let number = text.parse::<f64>().ok().filter(|number| (0.0..1e15).contains(number));
        number.ok_or_else(|| self.wrong(line, &self.columns[at], text, "a number from 0"))
    }
}

#[cfg(test)]
mod tests;
