//! Cluster files that make no sense are refused by file, line and key.

use supernode_cluster::file::{Machine, Place, parse, setup};

const MACHINE: Machine = Machine {
    chips: 8,
    node: 8,
    levels: Vec::new(),
    busy_power: 1000.0,
    idle_power: 100.0,
    failure_rate: 0.0,
    repair: 3600.0,
};

/// Resolves a file, and compares what it is refused with.
#[track_caller]
fn refused(text: &str, words: &str) {
    let found = parse("c.toml", text).and_then(|raw| {
        let place = Place { file: "c.toml".to_owned(), text: text.to_owned() };
        setup(&raw, &place, &MACHINE)
    });
    let message = found.map(|_| ()).expect_err("it makes no sense").to_string();
    assert!(message.contains(words), "`{words}` is not in: {message}");
}

#[test]
fn bad_input_is_named() {
    refused("[cluster]\nchips = 0\n", "c.toml:2: cluster.chips: a cluster has at least one chip");
    refused(
        "[cluster]\nchips = 8\n[[job]]\nchips = 16\nduration = \"1 h\"\n",
        "c.toml:4: job.chips: it asks for 16 chips, the cluster has 8",
    );
    refused(
        "[cluster]\nchips = 8\n[[job]]\nchips = 0\nduration = \"1 h\"\n",
        "c.toml:4: job.chips: a job needs at least one chip",
    );
    refused(
        "[cluster]\nchips = 8\n[[maintenance]]\nnodes = \"0-7\"\nat = \"1 h\"\nlength = \"1 h\"\n",
        "c.toml:4: maintenance.nodes: there is no node `0-7`; the cluster has nodes 0-0",
    );
    refused(
        "[[priority]]\nname = \"a\"\nabove = [\"b\"]\n[[priority]]\nname = \"b\"\nabove = [\"a\"]\n",
        "c.toml:3: priority.above: the priorities a, b are above each other in a cycle",
    );
    refused(
        "[[tenant]]\nname = \"a\"\nquota = 6\n[[tenant]]\nname = \"b\"\nquota = 4\n",
        "c.toml:6: tenant.quota: the quotas up to here add up to 10 chips and overlap: the cluster has 8",
    );
    refused("[cluster]\nchip = 8\n", "unknown field `chip`");
    refused("[[job]]\nchips = 1\nduration = 60\n", "a number with a unit in quotes");
    refused(
        "[[job]]\nchips = 1\nduration = \"1 h\"\nrequire = \"rack\"\n",
        "c.toml:4: job.require: there is no level `rack`; there are cluster",
    );
    refused(
        "[[job]]\nchips = 1\nduration = \"1 h\"\ntenant = \"x\"\n",
        "c.toml:4: job.tenant: there is no tenant `x`",
    );
    refused(
        "[[job]]\nchips = 1\nsteps = 5\n",
        "c.toml:3: job.steps: an opaque job has `duration`, not `steps`",
    );
}
