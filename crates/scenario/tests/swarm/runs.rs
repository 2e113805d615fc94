//! Deployments run request by request: conservation, records that add up, leaping against stepping.

use estimate::{OperatingPoint as Point, Resolver};
use scenario::raw::{Raw, RawDeployment, RawPool, RawWorkload};
use sim::{Metrics, Observer, Outcome, Record};
use std::path::Path;
use supernode_scenario as scenario;
use units::PerSecond;
use workload::Lengths;

/// Requests of a short run, and how far its means may be off: which of two requests waits may turn round.
const SHORT: u64 = 60;
const SHORT_BOUND: f64 = 0.02;
/// Requests of a long run. Its means stay within 1 %, percentiles to p95 within 2 %, p99 within 5 %, as `docs/simulate.md` says.
const LONG: u64 = 1000;
const BOUND: f64 = 0.01;
const MIDDLE_BOUND: f64 = 0.02;
const TAIL_BOUND: f64 = 0.05;
/// Seconds below which a difference is none.
const TICK: f64 = 1e-4;

/// Adds up records beside the metrics.
#[derive(Default)]
struct Books {
    records: u64,
    completed: u64,
    output: u64,
    input: u64,
    last: f64,
}

impl Observer for Books {
    fn request_ended(&mut self, record: &Record) {
        self.records += 1;
        assert!(record.end >= record.arrival, "ended before it arrived");
        assert!(record.end.get() >= self.last, "records go back in time");
        self.last = record.end.get();
        if record.outcome == Outcome::Completed {
            self.completed += 1;
            self.output += u64::from(record.output);
            self.input += u64::from(record.input);
            let ttft = record.ttft().map_or(0.0, units::Seconds::get);
            assert!(ttft > 0.0 && ttft <= record.e2e().get() * 1.000_001, "TTFT {ttft}");
        }
    }
}

fn raw(point: &Point, seed: u64, requests: u64) -> Raw {
    let mut layout = Point::default();
    (layout.sizes.tp, layout.sizes.pp) = (point.sizes.tp, point.sizes.pp);
    (layout.sizes.dp, layout.sizes.ep) = (point.sizes.dp, point.sizes.ep);
    let sizes = Point { sizes: point.sizes, ..Point::default() };
    let whole = Point {
        model: point.model.clone(),
        system: point.system.clone(),
        formats: point.formats,
        spec_tokens: point.spec_tokens,
        spec_accept: point.spec_accept,
        ..Point::default()
    };
    let pool = RawPool { point: sizes, ..RawPool::default() };
    let deployment = RawDeployment { point: whole, pool: vec![pool], ..RawDeployment::default() };
    let workload = RawWorkload {
        rate: Some(PerSecond::new(4.0)),
        requests: Some(requests),
        isl: Some(Lengths::spread(point.isl.unwrap_or(1), 0.5)),
        osl: Some(Lengths::spread(point.osl.unwrap_or(1), 0.5)),
        ..RawWorkload::default()
    };
    Raw { seed, deployment: vec![deployment], workload, ..Raw::default() }
}

/// Runs a point request by request, with every law checked.
fn run(resolver: &Resolver, point: &Point, seed: u64, requests: u64, exact: bool) -> Option<Metrics> {
    let mut resolved = scenario::resolve(&raw(point, seed, requests), Path::new(""), "", resolver).ok()?;
    resolved.options.exact = exact;
    resolved.options.checks = true;
    let outcome = scenario::run(resolved, Books::default()).expect("no law is broken");
    let (books, metrics) = (&outcome.observer, &outcome.metrics);
    let rejected: u64 = metrics.rejected.values().sum();
    assert_eq!(outcome.totals.arrived, requests, "requests arrive");
    assert_eq!(metrics.completed + rejected + metrics.cancelled, requests, "every request ends once");
    assert_eq!(books.records, requests, "every request has a record");
    assert_eq!(books.completed, metrics.completed);
    assert_eq!((books.input, books.output), (metrics.input_tokens, metrics.output_tokens), "tokens add up");
    for used in &outcome.used {
        for (what, share) in
            [("compute", used.compute), ("memory", used.memory), ("link", used.link), ("host", used.host)]
        {
            assert!((0.0..=1.0).contains(&share), "{what} is used {share}");
        }
    }
    Some(outcome.metrics)
}

fn agree(what: &str, leap: f64, exact: f64, bound: f64) {
    let off = (leap - exact).abs();
    assert!(off <= bound * exact + TICK, "{what}: leap {leap}, exact {exact}");
}

fn both(resolver: &Resolver, point: &Point, seed: u64, requests: u64) -> Option<[Metrics; 2]> {
    let leap = run(resolver, point, seed, requests, false)?;
    let exact = run(resolver, point, seed, requests, true)?;
    assert_eq!(leap.completed, exact.completed, "leaping completes as many");
    (exact.completed == requests).then_some([leap, exact])
}

/// A few dozen requests.
pub fn check(resolver: &Resolver, point: &Point, seed: u64) {
    let Some([leap, exact]) = both(resolver, point, seed, SHORT) else { return };
    for (what, leap, exact) in [
        ("mean TTFT", leap.ttft.mean(), exact.ttft.mean()),
        ("mean TPOT", leap.tpot.mean(), exact.tpot.mean()),
        ("mean E2E", leap.e2e.mean(), exact.e2e.mean()),
        ("energy", leap.energy().get(), exact.energy().get()),
    ] {
        agree(what, leap, exact, SHORT_BOUND);
    }
}

/// As many requests as the documented bound speaks of.
pub fn check_long(resolver: &Resolver, point: &Point, seed: u64) {
    let Some([leap, exact]) = both(resolver, point, seed, LONG) else { return };
    for (what, leap, exact) in [
        ("TTFT", &leap.ttft, &exact.ttft),
        ("TPOT", &leap.tpot, &exact.tpot),
        ("ITL", &leap.itl, &exact.itl),
        ("E2E", &leap.e2e, &exact.e2e),
    ] {
        agree(&format!("mean {what}"), leap.mean(), exact.mean(), BOUND);
        for (share, bound) in
            [(0.5, MIDDLE_BOUND), (0.9, MIDDLE_BOUND), (0.95, MIDDLE_BOUND), (0.99, TAIL_BOUND)]
        {
            agree(
                &format!("p{} of {what}", share * 100.0),
                leap.quantile(share),
                exact.quantile(share),
                bound,
            );
        }
    }
    agree("energy", leap.energy().get(), exact.energy().get(), BOUND);
}
