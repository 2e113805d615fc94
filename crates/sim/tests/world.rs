//! A world decides by the instants of its inputs alone: not by when, or how often, it is asked to go on.

use proptest::prelude::*;
use serving::{
    Admission, ClusterConfig, Command, DeploymentConfig, EngineLimits, LoadTime, Nanos, PoolConfig, Recovery,
    Role, RouterPolicy, Tenant,
};
use sim::digest::Digest;
use sim::faults::{FaultKind, Part};
use sim::placement::PoolHardware;
use sim::testing::Roofline;
use sim::{Input, Observer, Options, Outcome, Record, SimError, Ticket, World};
use std::sync::Arc;
use supernode_sim as sim;
use units::{PerSecond, Seconds};
use workload::Arrival;

fn world() -> World<Roofline> {
    let limits = EngineLimits {
        ranks: 2,
        kv_blocks: 400,
        max_seqs: 8,
        prefix_cache: Some(64),
        ..EngineLimits::default()
    };
    let pool = PoolConfig {
        name: "pool".to_owned(),
        role: Role::Aggregated,
        limits,
        instances: 3,
        router: RouterPolicy::LeastTokens,
        load: LoadTime { warm: Seconds::new(0.5), cold: Seconds::new(2.0) },
        scaling: None,
    };
    let deployment = DeploymentConfig {
        name: "deployment".to_owned(),
        pools: vec![pool],
        tiers: Vec::new(),
        admission: Admission { queue_limit: Some(30) },
        recovery: Recovery { retries: 2, spares: 1, shrink: Some(Seconds::new(0.3)) },
    };
    let config = ClusterConfig { deployments: vec![deployment], ..ClusterConfig::default() };
    let hardware = PoolHardware {
        system: "system".to_owned(),
        system_chips: 16,
        node_chips: 8,
        board_chips: 4,
        ranks_per_chip: 1,
        ranks: 4,
        ranks_per_attention: 2,
    };
    let options = Options { checks: true, hardware: vec![hardware], ..Options::default() };
    let mut world = World::new(config, vec![Roofline::default()], options).unwrap();
    world.watch_kv();
    world
}

/// What an input is made of once the tickets are known.
#[derive(Debug, Clone)]
enum Plan {
    Arrive(u32, u32, u64),
    Cancel(usize),
    Part(Part, bool),
    Admin(Command),
}

fn plan() -> impl Strategy<Value = Plan> {
    let part = prop_oneof![
        (0u32..16).prop_map(|chip| Part::Chip { system: 0, chip }),
        (0u32..4).prop_map(|board| Part::Board { system: 0, board }),
        (0u32..2).prop_map(|node| Part::Node { system: 0, node }),
        (0u32..16).prop_map(|chip| Part::Link { system: 0, chip }),
    ];
    let terms = Tenant {
        rate: Some(PerSecond::new(20.0)),
        concurrency: Some(6),
        tokens_per_minute: Some(9000),
        ..Tenant::default()
    };
    let command = prop_oneof![
        (0u32..5).prop_map(|id| Command::Drain(serving::InstanceId(id))),
        (1u32..4).prop_map(|instances| Command::Scale { pool: 0, instances }),
        Just(Command::Router { pool: 0, router: RouterPolicy::PrefixAware { load: 0.1 } }),
        Just(Command::Tenant { tenant: 1, terms: Some(terms) }),
        Just(Command::Tenant { tenant: 1, terms: None }),
        Just(Command::Close { deployment: 0 }),
        Just(Command::Open { deployment: 0 }),
    ];
    prop_oneof![
        12 => (1u32..600, 1u32..80, 0u64..3).prop_map(|(input, output, prefix)| Plan::Arrive(input, output, prefix)),
        2 => (0usize..60).prop_map(Plan::Cancel),
        2 => (part, any::<bool>()).prop_map(|(part, works)| Plan::Part(part, works)),
        1 => command.prop_map(Plan::Admin),
    ]
}

#[derive(Default)]
struct Watch {
    digest: Digest,
    ended: Vec<(u64, Outcome)>,
}

impl Observer for Watch {
    fn told(&mut self, at: Nanos, event: &serving::Event) {
        self.digest.told(at, event);
    }

    fn decided(&mut self, at: Nanos, actions: &[serving::Action]) {
        self.digest.decided(at, actions);
    }

    fn request_ended(&mut self, record: &Record) {
        self.ended.push((record.ticket, record.outcome));
    }
}

/// Runs the inputs and what follows from them, going on in steps of `pace` where it is given.
fn run(inputs: &[(u64, Plan)], pace: Option<u64>) -> Watch {
    let (mut world, mut watch) = (world(), Watch::default());
    world.start(&mut watch).unwrap();
    let mut tickets: Vec<Ticket> = Vec::new();
    let mut at = 0;
    for (number, (wait, plan)) in inputs.iter().enumerate() {
        let until = at + wait;
        while let Some(pace) = pace.filter(|pace| at + pace < until) {
            at += pace;
            world.advance(Nanos::new(at), &mut watch).unwrap();
        }
        at = until;
        world.advance(Nanos::new(at), &mut watch).unwrap();
        let input = match plan {
            Plan::Arrive(input, output, prefix) => Input::Arrive(Arrival {
                input: *input,
                output: *output,
                tenant: (prefix % 2) as u32,
                prefix: Some(Arc::from(vec![*prefix; *input as usize / 64])),
                ticket: number as u64,
                ..Arrival::default()
            }),
            Plan::Cancel(which) => match tickets.get(*which) {
                Some(ticket) => Input::Cancel(*ticket),
                None => continue,
            },
            Plan::Part(part, works) => Input::Fault(FaultKind::Part { part: *part, works: *works }),
            Plan::Admin(command) => Input::Admin(vec![command.clone()]),
        };
        match world.inject(Nanos::new(at), input, &mut watch) {
            Ok(ticket) => tickets.extend(ticket),
            Err(SimError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let parts = (0..16).map(|chip| Part::Chip { system: 0, chip });
    for part in parts {
        world
            .inject(Nanos::new(at), Input::Fault(FaultKind::Part { part, works: true }), &mut watch)
            .unwrap();
    }
    while world.in_flight() > 0 {
        assert!(world.next_due().is_some(), "{}", world.stuck());
        world.step(&mut watch).unwrap();
    }
    world.finish().unwrap();
    watch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn decisions_depend_on_the_inputs_alone(
        inputs in proptest::collection::vec((0u64..60_000_000, plan()), 1..80), pace in 10_000u64..40_000_000,
    ) {
        let (at_once, in_pieces) = (run(&inputs, None), run(&inputs, Some(pace)));
        prop_assert_eq!(at_once.digest, in_pieces.digest);
        prop_assert_eq!(at_once.ended, in_pieces.ended);
    }
}

#[test]
fn a_refused_input_changes_nothing() {
    let (mut world, mut watch) = (world(), Watch::default());
    world.start(&mut watch).unwrap();
    let before = watch.digest;
    let wrong = [
        Input::Admin(vec![Command::Close { deployment: 0 }, Command::Drain(serving::InstanceId(99))]),
        Input::Admin(vec![Command::Scale { pool: 7, instances: 1 }]),
        Input::Fault(FaultKind::Part { part: Part::Chip { system: 0, chip: 16 }, works: false }),
        Input::Fault(FaultKind::Fail { instance: serving::InstanceId(3), ranks: 1, repairable: true }),
        Input::Latency { deployment: 1, extra: Seconds::ZERO },
        Input::Latency { deployment: 0, extra: Seconds::new(-1.0) },
    ];
    for input in wrong {
        assert!(matches!(world.inject(Nanos::ZERO, input, &mut watch), Err(SimError::Refused(_))));
    }
    assert_eq!(watch.digest, before);
    let arrival = Arrival { input: 10, output: 2, ..Arrival::default() };
    world.inject(Nanos::ZERO, Input::Arrive(arrival), &mut watch).unwrap();
    world.advance(Nanos::new(10_000_000_000), &mut watch).unwrap();
    assert_eq!(watch.ended, [(0, Outcome::Completed)], "the deployment is still open");
}
