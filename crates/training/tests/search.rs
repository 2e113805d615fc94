//! The search against trying every layout.

use hardware::Catalog;
use std::sync::atomic::AtomicBool;
use supernode_training::schedule::Schedule;
use supernode_training::search::{Objective, Space, search};
use supernode_training::site::{Site, profile};
use supernode_training::spec::JobSpec;
use supernode_training::{Job, Layout, Machine, check_memory, price};

/// Everything a search needs, and the job it starts from.
struct Case {
    site: Site,
    profile: supernode_training::framework::Profile,
    job: Job,
}

impl Case {
    fn new(system: &str, chips: u32, shape: &str, rest: &str) -> Self {
        let catalog = Catalog::builtin();
        let text = format!("system = \"{system}\"\nchips = {chips}\nshape = \"{shape}\"\n{rest}\n");
        let spec = JobSpec::parse(&text).expect("a job file");
        let site = Site::new(&catalog, system, None, None).expect("a known system");
        let profile = profile(&catalog, "megatron", None).expect("a known release");
        let model = spec.shape_model().expect("sizes").expect("a shape");
        let job = spec.job(model, chips).expect("sizes that go together");
        Self { site, profile, job }
    }

    fn machine(&self) -> Machine<'_> {
        Machine { chip: &self.site.chip, pricer: &self.site.pricer, profile: &self.profile }
    }
}

/// Time of every layout of `space` that can be run and fits, least first.
fn all(case: &Case, space: &Space) -> Vec<f64> {
    let mut times = Vec::new();
    let mut try_one = |job: &Job| {
        let Ok(step) = price(job, &case.machine()) else { return };
        if check_memory(job, &step, &case.site.chip).is_ok() {
            times.push(step.time.get());
        }
    };
    for job in jobs(case, space) {
        try_one(&job);
    }
    times.sort_by(f64::total_cmp);
    times
}

fn jobs(case: &Case, space: &Space) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (tp, pp, ep) in sizes(space) {
        let dp = space.ranks / (tp * pp);
        let whole = dp * tp * pp == space.ranks && (tp * dp) % ep == 0;
        for micro in space.micro.iter().filter(|micro| whole && case.job.batch.global % (dp * **micro) == 0) {
            let etp = if ep > 1 { 1 } else { tp };
            let mut job = case.job.clone();
            job.layout = Layout { tp, cp: 1, pp, dp, ep, etp };
            job.batch.micro = *micro;
            job.context = space.context[0];
            options(&job, space, &mut jobs);
        }
    }
    jobs
}

fn sizes(space: &Space) -> impl Iterator<Item = (u32, u32, u32)> {
    space.tp.iter().flat_map(move |tp| {
        space.pp.iter().flat_map(move |pp| space.ep.iter().map(move |ep| (*tp, *pp, *ep)))
    })
}

fn options(job: &Job, space: &Space, jobs: &mut Vec<Job>) {
    let micros = job.micros();
    let interleaved = space.vpp.iter().filter(|chunks| **chunks > 1);
    let interleaved = interleaved.map(|chunks| Schedule::Interleaved { chunks: *chunks });
    let schedules = match job.layout.pp {
        1 => vec![Schedule::OneFOneB],
        _ => space.schedules.iter().copied().chain(interleaved).collect(),
    };
    let parallel = if job.layout.tp == 1 { vec![false] } else { space.sequence_parallel.clone() };
    for schedule in schedules.into_iter().filter(|schedule| schedule.check(job.layout.pp, micros).is_ok()) {
        for (recompute, zero) in
            space.recompute.iter().flat_map(|recompute| space.zero.iter().map(move |zero| (recompute, zero)))
        {
            for (sequence_parallel, offload) in
                parallel.iter().flat_map(|sp| space.offload.iter().map(move |offload| (*sp, *offload)))
            {
                let mut job = job.clone();
                (job.schedule, job.recompute, job.zero) = (schedule, *recompute, *zero);
                (job.sequence_parallel, job.offload) = (sequence_parallel, offload);
                jobs.push(job);
            }
        }
    }
}

#[track_caller]
fn check(case: &Case, ranks: u32) {
    let mut space = Space::all(&case.job, &case.site.system, ranks, false);
    space.vpp = vec![1, 2, 3];
    space.cp = vec![1];
    space.micro.retain(|micro| *micro <= 4);
    let keep = 12;
    let outcome = search(&case.job, &space, &case.machine(), Objective::Time, keep, &AtomicBool::new(false))
        .expect("a search");
    let found: Vec<f64> = outcome.best.iter().map(|found| found.step.time.get()).collect();
    // Layers that are recomputed in part are in the search alone: every layout tried here is in it, none is better.
    let tried = all(case, &space);
    assert!(tried.len() > 100, "{}", tried.len());
    for (place, (found, tried)) in found.iter().zip(&tried).enumerate() {
        assert!(*found <= tried * (1.0 + 1e-9), "place {place}: {found} s, {tried} s by trying all");
    }
    let plain = outcome.best.iter().filter(|found| space.recompute.contains(&found.job.recompute));
    for (found, tried) in plain.zip(&tried) {
        assert!((found.step.time.get() / tried - 1.0).abs() < 1e-9, "{} s, {tried} s", found.step.time);
    }
}

#[test]
fn dense_layouts_are_found_as_by_trying_all() {
    let shape = "layers=12,hidden=4096,heads=32,vocab=51200";
    check(&Case::new("h100-8", 16, shape, "global-batch = 32\nseq = 2048"), 16);
    check(&Case::new("a100-40-8", 8, shape, "global-batch = 16\nseq = 4096"), 8);
}

#[test]
fn layouts_of_experts_are_found_as_by_trying_all() {
    let shape = "layers=8,hidden=2048,heads=16,ffn=8192,vocab=51200,gated=true,experts=16,topk=4,moe-ffn=1024,\
         first-dense=1";
    check(&Case::new("h100-8", 16, shape, "global-batch = 32\nseq = 2048"), 16);
}
