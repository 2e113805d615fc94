//! Windows of a service, request by request: the fluid of a cluster's run beside the simulator of requests.

use crate::JobsError;
use crate::run::Prepared;
use cluster::Outcome;
use cluster::results::WindowRecord;
use std::fmt::Write as _;
use std::path::Path;

/// Requests of one window at most.
const MOST_REQUESTS: f64 = 2e6;

/// A window that was run request by request.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// The service, by its number.
    pub service: usize,
    /// From and until, seconds of the cluster's run.
    pub span: (f64, f64),
    /// Replicas it was run on: those of the cluster's run on average.
    pub replicas: u32,
    /// Requests per second.
    pub rate: f64,
    /// Share within the SLO, request by request.
    pub within: f64,
    /// The same in the cluster's run, as a fluid.
    pub fluid: f64,
    /// Median time to the first token, seconds, and its 99th percentile.
    pub ttft: (f64, f64),
    /// The same of the time per output token.
    pub tpot: (f64, f64),
}

impl Prepared {
    /// Runs the windows of all services on the replicas that they had.
    ///
    /// # Errors
    /// A deployment that the simulator does not take.
    pub(crate) fn windows(&self, outcome: &Outcome) -> Result<Vec<Window>, JobsError> {
        let mut found = Vec::new();
        for (service, record) in outcome.services.iter().enumerate() {
            // What lies beyond the end of the run has not happened.
            for window in record.windows.iter().filter(|window| window.requests > 0.0) {
                found.extend(self.window(service, window)?);
            }
        }
        Ok(found)
    }

    fn window(&self, service: usize, record: &WindowRecord) -> Result<Option<Window>, JobsError> {
        let length = record.to - record.from;
        let replicas = (record.replicas / length).round() as u32;
        let rate = record.requests / length;
        if replicas == 0 {
            return Ok(None);
        }
        let text = self.scenario(service, replicas, rate, length);
        let wrong = |problem: String| JobsError::Job {
            at: format!("service `{}`", self.services[service].name),
            problem,
        };
        let raw = scenario::parse("window", &text).map_err(|error| wrong(error.to_string()))?;
        let resolved = scenario::resolve(&raw, Path::new(""), &text, &self.servers.resolver)
            .map_err(|error| wrong(error.to_string()))?;
        let metrics = scenario::run(resolved, ()).map_err(|error| wrong(error.to_string()))?.metrics;
        let quantiles = |sketch: &sim::sketch::Sketch| (sketch.quantile(0.5), sketch.quantile(0.99));
        Ok(Some(Window {
            service,
            span: (record.from, record.to),
            replicas,
            rate,
            within: metrics.good as f64 / (metrics.completed as f64).max(1.0),
            fluid: record.within / record.requests,
            ttft: quantiles(&metrics.ttft),
            tpot: quantiles(&metrics.tpot),
        }))
    }

    /// The service as a scenario: its replicas behind one router, each with as many requests at once as keep the SLO.
    fn scenario(&self, service: usize, replicas: u32, rate: f64, length: f64) -> String {
        let job = &self.raw.job[self.service_jobs[service]];
        let serve = job.serve.clone().unwrap_or_default();
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let system = self.raw.cluster.system.as_deref().unwrap_or("");
        let model = serve.model.as_deref().unwrap_or("");
        let mut text = format!(
            "seed = {}\n[[deployment]]\nmodel = {}\nsystem = {}\n",
            self.raw.seed.wrapping_add(service as u64) % (1 << 32),
            quoted(model),
            quoted(system)
        );
        for (key, value) in [("engine", &serve.engine), ("weight_dtype", &serve.weight_dtype)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {}", quoted(value));
            }
        }
        let _ = writeln!(text, "[[deployment.pool]]\ninstances = {replicas}\nrouter = \"least-requests\"");
        for (key, size) in [("tp", serve.tp), ("pp", serve.pp), ("dp", serve.dp), ("ep", serve.ep)] {
            if let Some(size) = size {
                let _ = writeln!(text, "{key} = {size}");
            }
        }
        if let Some(replica) = self.replicas[service] {
            let _ = writeln!(text, "max_seqs = {}", replica.users.div_ceil(replica.attention_ranks).max(1));
        }
        let requests = (rate * length).round().clamp(1.0, MOST_REQUESTS);
        let _ = writeln!(
            text,
            "[workload]\narrival = \"poisson\"\nrate = \"{rate} /s\"\nrequests = {requests}\nisl = \"{}\"\nosl = \"{}\"\n[slo]",
            serve.isl.unwrap_or(1),
            serve.osl.unwrap_or(1)
        );
        for (key, limit) in [("ttft", serve.ttft), ("tpot", serve.tpot)] {
            if let Some(limit) = limit {
                let _ = writeln!(text, "{key} = \"{} s\"", limit.get());
            }
        }
        text
    }
}
