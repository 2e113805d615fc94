//! Each law, and a run that breaks it.

use super::*;
use crate::job::{Cause, Range, Resource, Tenant, TenantId};
use crate::place::Placement;
use crate::tree::{Ask, Level, Tree, Wish};

/// Three racks of two nodes with four chips; a tenant of a cohort with 8 chips and 4 to borrow, one with 4, and one that
/// has no quota.
fn state() -> State {
    let quota = |name: &str, quota, borrow| Tenant {
        quota: Some(quota),
        borrow,
        cohort: Some(0),
        ..Tenant::open(name)
    };
    let tenants = vec![Tenant::open("open"), quota("large", 8, 4), quota("small", 2, 20)];
    let tree = Tree::new(&[4; 6], &[Level { name: "rack".to_owned(), nodes: 2 }]);
    State::new(tree, tenants, Placement::BestFit)
}

fn job(id: u32, tenant: u32, ask: Ask) -> Job {
    Job {
        id: JobId(id),
        uses: Box::default(),
        tenant: TenantId(tenant),
        priority: 0,
        ask,
        elastic: None,
        limit: Nanos::NEVER,
        wish: None,
        preemptible: true,
        grace: Nanos::ZERO,
        submitted: Nanos::ZERO,
        deadline: None,
        scaling: 1.0,
        oracle: None,
    }
}

const ONE: Ask = Ask { count: 1, each: 2, rest: 0 };
const NODE: Ask = Ask { count: 1, each: 4, rest: 0 };

fn on(id: u32, parts: &[(u32, u64)]) -> Action {
    let parts = parts.iter().map(|(node, chips)| Part { node: NodeId(*node), chips: *chips }).collect();
    Action::Start { job: JobId(id), parts, delay: Nanos::ZERO }
}

fn stop(id: u32) -> Action {
    Action::Stop { job: JobId(id), cause: Cause::Asked }
}

/// Feeds instants, and compares what is broken; nothing if `words` is empty.
#[track_caller]
fn check(instants: Vec<(Vec<Event>, Vec<Action>)>, words: &str) {
    let state = state();
    let mut checker = Checker::new(&state);
    for (at, (events, actions)) in instants.into_iter().enumerate() {
        let now = Nanos::new(at as u64 * 1_000_000_000);
        checker.events(now, &events);
        checker.actions(now, &actions, &state);
    }
    let found = checker.broken().join("; ");
    if words.is_empty() {
        assert_eq!(found, "");
    } else {
        assert!(found.contains(words), "`{words}` is not in `{found}`");
    }
}

fn came(jobs: &[Job]) -> Vec<Event> {
    jobs.iter().cloned().map(Event::Submitted).collect()
}

#[test]
fn chips_have_one_job_and_exist() {
    let two = || came(&[job(0, 0, ONE), job(1, 0, ONE)]);
    check(vec![(two(), vec![on(0, &[(0, 0b0011)]), on(1, &[(0, 0b1100)])])], "");
    check(
        vec![(two(), vec![on(0, &[(0, 0b0011)]), on(1, &[(0, 0b0110)])])],
        "chip 1 of node 0 has jobs 0 and 1",
    );
    check(vec![(two(), vec![on(0, &[(0, 0b11_0000)])])], "got chips that node 0 does not have");
    let again = vec![Event::Finished(JobId(0))];
    check(vec![(two(), vec![on(0, &[(0, 0b0011)])]), (again, vec![on(1, &[(0, 0b0011)])])], "");
}

#[test]
fn closed_nodes_get_none_and_broken_ones_lose_theirs() {
    let mut drained = came(&[job(0, 0, ONE)]);
    for event in [Event::Drain(NodeId(0)), Event::Failed(NodeId(0)), Event::Claimed(NodeId(0))] {
        drained.push(event);
        check(vec![(drained.clone(), vec![on(0, &[(0, 0b0011)])])], "node 0, which is closed");
    }
    drained.extend([Event::Undrain(NodeId(0)), Event::Repaired(NodeId(0)), Event::Yielded(NodeId(0))]);
    let runs = || (came(&[job(0, 0, ONE)]), vec![on(0, &[(0, 0b0011)])]);
    for event in [Event::Failed(NodeId(0)), Event::Claimed(NodeId(0))] {
        check(vec![runs(), (vec![event.clone()], vec![])], "node 0 is broken or taken and has jobs");
        check(vec![runs(), (vec![event], vec![stop(0)])], "");
    }
    check(vec![runs(), (vec![Event::Drain(NodeId(0))], vec![])], "");
}

#[test]
fn gangs_are_whole_and_where_they_must_be() {
    let two = Ask { count: 2, each: 4, rest: 0 };
    let wish = |slice| Some(Wish { level: 0, required: true, slice });
    check(vec![(came(&[job(0, 0, two)]), vec![on(0, &[(0, 15)])])], "asked for 8 chips and got 4");
    check(vec![(came(&[job(0, 0, two)]), vec![on(0, &[(0, 15), (2, 15)])])], "");
    let inside = Job { wish: wish(None), ..job(0, 0, two) };
    check(vec![(came(std::slice::from_ref(&inside)), vec![on(0, &[(2, 15), (3, 15)])])], "");
    check(vec![(came(&[inside]), vec![on(0, &[(1, 15), (2, 15)])])], "not in one domain");
    let sliced = Job { wish: wish(Some(2)), ..job(0, 0, Ask { count: 4, each: 4, rest: 0 }) };
    let nodes = |nodes: [u32; 4]| on(0, &nodes.map(|node| (node, 15)));
    check(vec![(came(std::slice::from_ref(&sliced)), vec![nodes([0, 1, 4, 5])])], "");
    check(vec![(came(&[sliced]), vec![nodes([0, 2, 4, 5])])], "not in one domain");
    let elastic = Job { elastic: Some(Range { least: 2, most: 4 }), ..job(0, 0, NODE) };
    check(vec![(came(std::slice::from_ref(&elastic)), vec![on(0, &[(0, 0b11)])])], "");
    check(vec![(came(&[elastic]), vec![on(0, &[(0, 1)])])], "asked for 4 chips and got 1");
}

#[test]
fn rights_are_kept() {
    let all = |count: u32, tenant| -> Vec<Event> {
        came(&(0..count).map(|id| job(id, tenant, NODE)).collect::<Vec<_>>())
    };
    let starts = |count: u32| -> Vec<Action> { (0..count).map(|id| on(id, &[(id, 15)])).collect() };
    check(vec![(all(6, 0), starts(6))], "");
    check(vec![(all(2, 1), starts(2))], "");
    check(vec![(all(4, 1), starts(4))], "tenant `large` holds 16 chips of 12");
    // Within what it may borrow, but not within what its cohort has.
    check(vec![(all(3, 1), starts(3))], "the cohort of tenant `large` holds 12 chips of 10");
    let mut capped = all(3, 0);
    capped.push(Event::PowerCap(Some(8)));
    check(vec![(capped.clone(), starts(2))], "");
    check(vec![(capped, starts(3))], "12 chips work and the power cap allows 8");
}

#[test]
fn resources_are_not_overdrawn() {
    let needs = |id, units| Job { uses: [(0, units)].into(), ..job(id, 0, ONE) };
    let mut state = state();
    state.resources = vec![(Resource { name: "memory".to_owned(), amount: 8 }, 0)];
    let broken = |first, second| {
        let mut checker = Checker::new(&state);
        checker.events(Nanos::ZERO, &came(&[needs(0, first), needs(1, second)]));
        checker.actions(Nanos::ZERO, &[on(0, &[(0, 0b0011)]), on(1, &[(1, 0b0011)])], &state);
        checker.broken().join("; ")
    };
    assert_eq!(broken(4, 4), "");
    assert!(broken(4, 5).contains("jobs hold 9 of `memory`, there are 8"));
}

#[test]
fn lives_are_in_order() {
    let one = || came(&[job(0, 0, ONE)]);
    let runs = || (one(), vec![on(0, &[(0, 0b0011)])]);
    check(vec![(one(), vec![]), (one(), vec![])], "job 0 came twice");
    check(vec![(vec![], vec![on(0, &[(0, 3)])])], "started while it did not wait");
    check(vec![runs(), (vec![], vec![on(0, &[(1, 3)])])], "started while it did not wait");
    check(vec![(one(), vec![stop(0)])], "was stopped but did not run");
    check(vec![(one(), vec![]), (vec![Event::Finished(JobId(0))], vec![])], "ended without running");
    check(vec![runs(), (vec![Event::Finished(JobId(0))], vec![on(0, &[(0, 3)])])], "did not wait");
    let resize = Action::Resize { job: JobId(0), parts: vec![], delay: Nanos::ZERO };
    check(vec![runs(), (vec![], vec![resize])], "resized but is not elastic");
    check(
        vec![runs(), (vec![Event::Hold(JobId(0))], vec![stop(0), on(0, &[(0, 3)])])],
        "while it was held back",
    );
    check(
        vec![(vec![], vec![]), (vec![], vec![Action::SetTimer(Nanos::ZERO)])],
        "a timer was set for the past",
    );
}

#[test]
fn sums_agree() {
    let options = Options { busy_power: 10.0, idle_power: 1.0, ..Options::default() };
    let usage = Usage { chip_seconds: 100.0, energy: 400.0, ..Usage::default() };
    let end = |usage: &Usage, record: &[Record]| {
        let mut checker = Checker::new(&state());
        checker.end(usage, record, &options);
        checker.broken().join("; ")
    };
    let record = |chip_seconds: f64, productive: f64| Record {
        id: JobId(0),
        plan: Some(0),
        service: None,
        kind: crate::plan::Kind::Opaque,
        tenant: TenantId(0),
        chips: 2,
        submitted: 0.0,
        started: None,
        ended: None,
        ending: crate::results::Ending::Finished,
        running: 0.0,
        chip_seconds,
        productive,
        energy: 0.0,
        preemptions: 0,
        failures: 0,
        late: None,
    };
    let held = Usage { allocated: 50.0, ..usage.clone() };
    assert_eq!(end(&held, &[record(50.0, 40.0)]), "");
    assert!(end(&held, &[record(49.0, 40.0)]).contains("jobs held 49 chip-seconds, the cluster gave 50"));
    assert!(end(&held, &[record(50.0, 51.0)]).contains("did more than its chips"));
    assert!(end(&Usage { energy: 99.0, ..usage.clone() }, &[]).contains("is not between 100 and 1000"));
    assert!(end(&Usage { energy: 1001.0, ..usage }, &[]).contains("is not between 100 and 1000"));
}
