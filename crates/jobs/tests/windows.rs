//! Two levels of time: a service as a fluid in the run of a cluster, and its requests one by one, held to each other.

use cluster::file::{Place, parse};
use hardware::Catalog;
use std::path::Path;
use supernode_jobs::{Window, prepare};

/// One window of six replicas at so many requests per second each.
fn window(rate: f64) -> Window {
    let text = format!(
        "until = \"1 h\"\n[cluster]\nsystem = \"h100-8\"\nchips = 8\n[[job]]\nname = \"chat\"\nkind = \"serving\"\nchips = 1\n\
         [job.serve]\nmodel = \"meta-llama/Llama-3.1-8B\"\ntp = 1\nisl = 1024\nosl = 128\nttft = \"1 s\"\ntpot = \"25 ms\"\n\
         peak = \"{} /s\"\nmin = 6\nmax = 6\nwindow = [{{ at = \"30 min\", length = \"4 min\" }}]\n",
        6.0 * rate
    );
    let place = Place { file: "c.toml".to_owned(), text: text.clone() };
    let raw = parse("c.toml", &text).expect("a file");
    let mut prepared = prepare(&Catalog::builtin(), raw, &place, Path::new("")).expect("it can run");
    let side = prepared.run("easy", false, None).expect("it runs");
    side.windows[0].clone()
}

#[test]
fn the_fluid_keeps_the_slo_where_requests_do() {
    // What one replica serves within the SLO, by the steady state.
    let capacity = {
        let text = "until = \"1 h\"\n[cluster]\nsystem = \"h100-8\"\nchips = 8\n[[job]]\nkind = \"serving\"\nchips = 1\n[job.serve]\n\
                    model = \"meta-llama/Llama-3.1-8B\"\ntp = 1\nisl = 1024\nosl = 128\nttft = \"1 s\"\ntpot = \"25 ms\"\npeak = \"1 /s\"\n";
        let place = Place { file: "c.toml".to_owned(), text: text.to_owned() };
        let raw = parse("c.toml", text).expect("a file");
        let prepared = prepare(&Catalog::builtin(), raw, &place, Path::new("")).expect("it can run");
        prepared.replicas[0].expect("priced").capacity
    };
    for share in [0.5, 0.8, 0.9] {
        let found = window(share * capacity);
        assert_eq!(found.replicas, 6);
        assert_eq!(found.fluid, 1.0, "at {share} of the capacity");
        assert!(found.within > 0.97, "at {share} of the capacity: {found:?}");
    }
    // Beyond the capacity lines grow until nobody is in time: the fluid says so, and so do requests.
    let over = window(1.2 * capacity);
    assert!(over.fluid < 0.05, "{over:?}");
    assert!(over.within < 0.2, "{over:?}");
}
