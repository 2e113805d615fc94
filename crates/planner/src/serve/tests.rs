//! The search held to pricing everything.

use super::*;
use hardware::Catalog;
use proptest::prelude::*;
use units::{PerSecond, Seconds};

fn quiet(cancel: &AtomicBool) -> Watch<'_> {
    Watch { cancel, progress: &|_, _| () }
}

fn small(model: &str, isl: u32, osl: u32, ttft: f64, tpot: f64) -> Job {
    let mut job = Job::new(model, isl, osl, Seconds::new(ttft), Seconds::new(tpot));
    job.options.budgets = vec![4096];
    job.options.stages = vec![1, 2];
    job.options.drafts = 1;
    job.options.top = 3;
    job
}

fn find(job: &Job, places: &[Place], exhaustive: bool) -> Result<Found, PlanError> {
    let resolver = Resolver::new(Catalog::builtin());
    let prices = resolver.catalog().economics().expect("built-in prices").prices;
    let site = Site::new(&prices, hardware::Basis::Buy);
    let cancel = AtomicBool::new(false);
    search(&resolver, job, places, &site, &quiet(&cancel), exhaustive)
}

fn place(system: &str, chips: u32) -> Place {
    Place { system: system.to_owned(), chip: None, chips: Some(chips) }
}

/// The best score and the front are those of pricing every deployment of every kind.
fn check(job: &Job, places: &[Place]) {
    let quick = find(job, places, false).expect("a search");
    let all = find(job, places, true).expect("a search");
    assert_eq!(quick.counts.covered, all.counts.covered, "{job:?}");
    let scores = |found: &Found| -> Vec<f64> {
        found.best.iter().take(job.options.top).map(|best| found.judge.score(&best.worth)).collect()
    };
    for (a, b) in scores(&quick).iter().zip(&scores(&all)) {
        assert!((a - b).abs() <= 1e-12 * b.abs(), "{job:?}: {a} against {b}");
    }
    assert_eq!(scores(&quick).len(), scores(&all).len());
    let front = |found: &Found| -> Vec<(f64, f64)> {
        found.front.points().iter().map(|(speed, density, _)| (*speed, *density)).collect()
    };
    assert_eq!(front(&quick), front(&all), "{job:?}");
    assert!(quick.counts.priced <= all.counts.priced);
    let pruned: u64 = quick.counts.pruned.values().sum();
    assert!(pruned <= quick.counts.covered, "more was left out than there is");
}

#[test]
fn a_dense_model_on_one_host() {
    check(&small("Qwen/Qwen3-32B", 1024, 256, 2.0, 0.04), &[place("h200-8", 8)]);
}

#[test]
fn a_mixture_of_experts_with_drafts() {
    check(&small("deepseek-ai/DeepSeek-R1", 1024, 256, 4.0, 0.1), &[place("cloudmatrix384", 16)]);
}

#[test]
fn two_systems_mixed() {
    let mut job = small("Qwen/Qwen3-32B", 2048, 256, 3.0, 0.05);
    job.options.mix = true;
    check(&job, &[place("h200-8", 4), place("h20-8", 4)]);
}

#[test]
fn a_power_budget_is_kept_and_leaves_chips_idle() {
    let mut job = small("Qwen/Qwen3-32B", 1024, 256, 2.0, 0.04);
    let places = [place("h200-8", 16)];
    let free = find(&job, &places, false).expect("a search").best[0].worth;
    job.power_budget = Some(units::Watts::new(free.power * 0.6));
    check(&job, &places);
    let found = find(&job, &places, false).expect("a search");
    assert!(found.best.iter().all(|best| best.worth.power <= free.power * 0.6));
    let best = found.best[0].worth;
    assert!(best.chips < free.chips && best.rate < free.rate && best.rate > free.rate * 0.4, "{best:?}");
    job.power_budget = Some(units::Watts::new(50.0));
    assert!(find(&job, &places, false).is_ok_and(|found| found.best.is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_job(
        isl in 64_u32..6000,
        osl in 16_u32..800,
        ttft in 0.3_f64..5.0,
        tpot in 0.01_f64..0.08,
        objective in 0_usize..4,
        rate in 0.5_f64..40.0,
        load in any::<bool>(),
    ) {
        let mut job = small("Qwen/Qwen3-8B", isl, osl, ttft, tpot);
        job.objective =
            [Objective::Throughput, Objective::Cost, Objective::Energy, Objective::Chips][objective];
        if load || job.objective == Objective::Chips {
            job.target = Target::Rate(PerSecond::new(rate));
        }
        check(&job, &[place("h100-8", 6)]);
    }
}

#[test]
fn a_stopped_search_says_so() {
    let job = small("Qwen/Qwen3-8B", 1024, 128, 2.0, 0.05);
    let resolver = Resolver::new(Catalog::builtin());
    let prices = resolver.catalog().economics().expect("built-in prices").prices;
    let site = Site::new(&prices, hardware::Basis::Buy);
    let cancel = AtomicBool::new(true);
    let outcome = plan(&resolver, &job, &[place("h100-8", 8)], &site, &quiet(&cancel));
    assert!(matches!(outcome, Err(PlanError::Nothing(reason)) if reason.contains("stopped")));
}
