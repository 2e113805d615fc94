//! The result file of `vllm bench serve --save-result`, so that its plots work on simulated runs.

use super::summary::known;
use scenario::Outcome;
use serde_json::{Map, Value, json};
use sim::sketch::Sketch;
use sim::{Observer, Record};
use units::Seconds;

/// Requests whose arrays are kept; a larger run leaves the arrays out.
const KEPT: usize = 100_000;

/// The arrays of the detailed result, in order of completion.
#[derive(Debug, Clone, Default)]
pub struct Detail {
    input: Vec<u32>,
    output: Vec<u32>,
    ttfts: Vec<f64>,
    latencies: Vec<f64>,
    starts: Vec<f64>,
    queues: Vec<f64>,
    overflow: bool,
}

impl Observer for Detail {
    fn request_ended(&mut self, record: &Record) {
        if !record.measured || record.outcome != sim::Outcome::Completed || self.overflow {
            return;
        }
        if self.input.len() == KEPT {
            *self = Self { overflow: true, ..Self::default() };
            return;
        }
        self.input.push(record.input);
        self.output.push(record.output);
        self.ttfts.push(record.ttft().map_or(0.0, Seconds::get));
        self.latencies.push(record.e2e().get());
        self.starts.push(record.arrival.get());
        self.queues.push(record.queued().map_or(0.0, Seconds::get));
    }
}

/// The result in vLLM's form.
pub fn vllm_json<O>(outcome: &Outcome<O>, detail: &Detail) -> Value {
    let metrics = &outcome.metrics;
    let duration = metrics.duration().get();
    let rate = |count: f64| (duration > 0.0 && metrics.completed > 0).then(|| count / duration);
    let (input, output) = (metrics.input_tokens as f64, metrics.output_tokens as f64);
    let failed: u64 = metrics.rejected.values().sum::<u64>() + metrics.cancelled;
    let mut result = Map::new();
    let mut put = |key: String, value: Value| {
        result.insert(key, value);
    };
    put("duration".to_owned(), json!(duration));
    put("completed".to_owned(), json!(metrics.completed));
    put("failed".to_owned(), json!(failed));
    put("total_input_tokens".to_owned(), json!(metrics.input_tokens));
    put("total_output_tokens".to_owned(), json!(metrics.output_tokens));
    put("request_throughput".to_owned(), json!(rate(metrics.completed as f64)));
    put("request_goodput".to_owned(), json!(rate(metrics.good as f64)));
    put("output_throughput".to_owned(), json!(rate(output)));
    put("total_token_throughput".to_owned(), json!(rate(input + output)));
    let latencies: [(&str, &Sketch); 4] =
        [("ttft", &metrics.ttft), ("tpot", &metrics.tpot), ("itl", &metrics.itl), ("e2el", &metrics.e2e)];
    let ms = |sketch: &Sketch, figure: &dyn Fn(&Sketch) -> f64| {
        json!(known(sketch, figure).map(|seconds| seconds * 1e3))
    };
    for (name, sketch) in latencies {
        put(format!("mean_{name}_ms"), ms(sketch, &Sketch::mean));
        put(format!("median_{name}_ms"), ms(sketch, &|sketch| sketch.quantile(0.5)));
        put(format!("std_{name}_ms"), ms(sketch, &Sketch::deviation));
        put(format!("p99_{name}_ms"), ms(sketch, &|sketch| sketch.quantile(0.99)));
    }
    if !detail.overflow {
        put("input_lens".to_owned(), json!(detail.input));
        put("output_lens".to_owned(), json!(detail.output));
        put("ttfts".to_owned(), json!(detail.ttfts));
        put("latencies".to_owned(), json!(detail.latencies));
        put("start_times".to_owned(), json!(detail.starts));
        put("queue_times".to_owned(), json!(detail.queues));
        put("errors".to_owned(), json!(vec![""; detail.input.len()]));
    }
    Value::Object(result)
}
