//! Replacing figures by `key=value`.

use proptest::prelude::*;
use supernode_hardware::{Catalog, DomainKind, Grade, Override, overrides};

fn set(texts: &[&str]) -> Catalog {
    let sets: Vec<Override> = texts.iter().map(|text| Override::parse(text).unwrap()).collect();
    Catalog::builtin().with_overrides(&sets)
}

fn refused(text: &str, fragments: &[&str]) {
    let message = Override::parse(text).unwrap_err().to_string();
    for fragment in fragments {
        assert!(message.contains(fragment), "`{message}` does not say `{fragment}`");
    }
}

#[test]
fn every_key_of_the_table_takes_the_value_its_help_shows() {
    for (key, help) in overrides::keys() {
        let key = key.replace("<format>", "bf16").replace("<domain>", "node");
        let value = help.rsplit_once('(').unwrap().1.trim_end_matches(')');
        Override::parse(&format!("{key}={value}")).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_replaced_figure_says_so() {
    for text in ["chip.hbm.bandwidth=4TB/s", "chip.hbm.bandwidth = 4 TB/s", "CHIP.memory.bandwidth=4 TB/s"] {
        let chip = set(&[text]).chip("h100").unwrap();
        assert_eq!(chip.rank.bandwidth.value.to_string(), "4 TB/s");
        assert_eq!(chip.rank.bandwidth.grade, Grade::Assumed);
        assert_eq!(chip.rank.bandwidth.source, format!("set by `{text}`"));
        assert_eq!(chip.grade(), Grade::Assumed);
    }
}

#[test]
fn figures_of_every_owner_can_be_replaced() {
    let catalog = set(&[
        "chip.matrix.nvfp4=2 PFLOPS",
        "chip.tdp=650W",
        "system.domain.scale-up.bandwidth=300 GB/s",
        "system.domain.scale-up.latency=2us",
        "system.domain.node.ranks=32",
        "system.chips=192",
        "price.electricity=0.2 USD/kWh",
        "price.pue=1.1",
    ]);
    let chip = catalog.chip("ascend-910c").unwrap();
    assert_eq!(chip.tdp.unwrap().value.to_string(), "650 W");
    assert_eq!(chip.rank.peak(units::Dtype::Nvfp4).unwrap().to_string(), "2 PFLOPS");
    let system = catalog.system("cloudmatrix384").unwrap();
    let fabric = system.domain(DomainKind::ScaleUp).unwrap();
    assert_eq!((fabric.bandwidth.value.to_string(), fabric.latency.value.us()), ("300 GB/s".to_owned(), 2.0));
    assert_eq!(system.domain(DomainKind::Node).unwrap().ranks, Some(32));
    assert_eq!(system.chips, 192);
    let prices = catalog.economics().unwrap().prices;
    assert_eq!((prices.electricity.value.get(), prices.pue.value), (0.2, 1.1));
}

#[test]
fn more_dies_in_a_package_widen_every_domain() {
    let system = set(&["chip.ranks=4"]).system("cloudmatrix384").unwrap();
    let sizes: Vec<_> = system.domains.iter().map(|domain| domain.ranks).collect();
    assert_eq!(sizes, [Some(4), Some(32), Some(1536), None]);
    let system = set(&["chip.ranks=2"]).system("h100-8").unwrap();
    assert_eq!(system.ranks(), 16);
    let error = set(&["chip.ranks=2"]).chip("kunlun2").unwrap_err().to_string();
    assert_eq!(error, "chip.ranks: kunlun2 has no port to join several ranks by");
}

#[test]
fn what_is_no_override_is_refused() {
    refused("chip.hbm.bandwidth", &["KEY=VALUE", "chip.hbm.bandwidth=4TB/s"]);
    refused("chip.hbm.bandwith=4TB/s", &["did you mean `chip.hbm.bandwidth`?", "price.pue"]);
    refused("gibberish=1", &["`gibberish` is no figure", "chip.cores"]);
    refused("chip.hbm.bandwidth=4TB", &["chip.hbm.bandwidth", "`TB/s`"]);
    refused("chip.hbm.bandwidth=", &["chip.hbm.bandwidth", "does not start with a number"]);
    refused("chip.hbm.bandwidth=-4TB/s", &["out of range"]);
    refused("chip.cores=many", &["chip.cores", "`many`"]);
    refused("chip.ranks=0", &["0 is out of range"]);
    refused("price.pue=NaN", &["NaN is out of range"]);
    refused("chip.matrix.bf17=1 TFLOPS", &["chip.matrix.bf17", "bf17", "bf16"]);
    refused(
        "system.domain.rack.latency=1us",
        &["system.domain.rack.latency", "package, node, scale-up or cluster"],
    );
}

#[test]
fn what_a_system_lacks_cannot_be_replaced() {
    let error = |text: &str, system: &str| set(&[text]).system(system).unwrap_err().to_string();
    assert_eq!(
        error("system.domain.scale-up.bandwidth=1 TB/s", "h100-8"),
        "system.domain.scale-up.bandwidth: h100-8 has no scale-up domain; it has node, cluster"
    );
    assert_eq!(
        error("system.domain.node.ranks=5", "gb200-nvl72"),
        "system.domain.node.ranks: gb200-nvl72 has domains of node 4, scale-up 72, cluster without bound; \
         5 does not nest with them"
    );
    assert!(error("system.domain.package.ranks=4", "cloudmatrix384").contains("set chip.ranks"));
    let error = set(&["chip.package-link.latency=1us"]).chip("h100").unwrap_err().to_string();
    assert!(error.contains("set chip.ranks first"), "{error}");
}

#[test]
fn regions_have_their_own_prices() {
    let catalog = Catalog::builtin();
    let texas = catalog.prices("us-texas").unwrap();
    assert_eq!(texas.electricity.value.get(), 0.066);
    assert_eq!(texas.carbon.note.as_deref(), Some("of United States, industrial"));
    for region in catalog.economics().unwrap().regions.keys() {
        assert!(catalog.prices(region).is_ok(), "{region}");
    }
    assert_eq!(catalog.prices("de").unwrap().electricity.note.as_deref(), Some("of European Union"));
    assert!(catalog.prices("mars").unwrap_err().to_string().contains("us-texas"));
}

/// A chip placed in a machine pays its share of it; a price that is set counts wherever the chip stands.
#[test]
fn a_chip_costs_its_share_of_the_machine() {
    let price = |catalog: &Catalog, system: &str, chip: &str| {
        catalog.system_with_chip(system, chip).unwrap().0.price.map(|fact| fact.value.get())
    };
    let catalog = Catalog::builtin();
    assert_eq!(price(&catalog, "h100-8", "b200"), Some(46_000.0));
    assert_eq!(price(&catalog, "generic-8", "h100"), Some(34_500.0));
    assert_eq!(price(&catalog, "h100-8", "h800"), None);
    let set = set(&["chip.price=10000 USD"]);
    assert_eq!(set.system("h100-8").unwrap().price.unwrap().value.get(), 11_500.0);
}

/// One basis: that asked for, else that of the figures set, else purchase.
#[test]
fn a_price_that_is_set_switches_to_its_basis() {
    use supernode_hardware::Basis::{Buy, Rent};
    assert_eq!(set(&[]).basis(None).unwrap(), Buy);
    assert_eq!(set(&["system.hourly=2 USD/h"]).basis(None).unwrap(), Rent);
    assert_eq!(set(&["system.price=20000 USD", "price.carbon=10 g/kWh"]).basis(None).unwrap(), Buy);
    let error = set(&["price.electricity=0.1 USD/kWh"]).basis(Some(Rent)).unwrap_err().to_string();
    assert_eq!(
        error,
        "price.electricity: the cost basis `rent` takes no account of it; use the basis `buy`, or leave the figure out"
    );
    assert!(set(&["system.price=20000 USD", "system.hourly=2 USD/h"]).basis(None).is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = Override::parse(&text);
    }

    #[test]
    fn any_value_is_read_or_refused(key in 0..overrides::keys().count(), value in "[-+0-9.eE]{0,8} ?[A-Za-z/]{0,6}") {
        let (key, _) = overrides::keys().nth(key).unwrap();
        let key = key.replace("<format>", "fp8").replace("<domain>", "cluster");
        if let Ok(set) = Override::parse(&format!("{key}={value}")) {
            prop_assert_eq!(set.key(), key);
            let catalog = Catalog::builtin().with_overrides(&[set]);
            let _ = catalog.system_with_chip("generic-64", "ascend-910c");
        }
    }
}
