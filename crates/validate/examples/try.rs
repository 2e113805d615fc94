//! scratch
use supernode_validate as validate;
use estimate::{Resolver, economics::Site};
use hardware::Catalog;
use units::*;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let table = validate::Table::open(path.as_ref()).unwrap();
    let rows = validate::read_serving(&table).unwrap();
    let resolver = Resolver::new(Catalog::builtin());
    let site = Site { electricity: DollarsPerKilowattHour::new(0.08), pue: 1.3, carbon: GramsCo2PerKilowattHour::new(400.0), lifetime_years: 4.0 };
    let outcomes = validate::predict(&resolver, &rows, &site, validate::Fidelity::Steady);
    let s = validate::summarise(&outcomes);
    println!("{} / {}", s.predicted, s.rows);
    for (m, e) in &s.metrics { println!("{:12} n {} median {:.1} mean {:.1} p90 {:.1} bias {:.1}", m.name(), e.n, e.median_ape*100., e.mean_ape*100., e.p90_ape*100., e.bias*100.); }
    println!("{:?} {:?}", s.band, s.pair_order);
    for (f, n) in &s.failures { println!("{n} {f}"); }
    for g in s.groups.iter().filter(|g| g.by == "cell") {
        let m = |k| g.metrics.get(&k).map_or("-".to_owned(), |e: &calibration::stats::ErrorStats| format!("{:5.1} {:+6.1}", e.median_ape*100., e.bias*100.));
        println!("{:70} {:4} tpot {} ttft {}", g.value, g.rows, m(validate::Metric::Tpot), m(validate::Metric::Ttft));
    }
    if std::env::args().nth(2).is_some() {
        for o in &outcomes { let p=&o.row.point; let m=&o.row.measured; match &o.prediction { Ok(q) => println!("{} {:?} tpot {:?} / {:?}  ttft {:?} / {:?} thr {:?} / {:?}", o.row.id, p.concurrency, q.figures.tpot.map(|t|t.ms()), m.tpot.map(|t|t.ms()), q.figures.ttft.map(|t|t.ms()), m.ttft.map(|t|t.ms()), q.figures.throughput.map(|t|t.get()), o.row.throughput().map(|t|t.get())), Err(e)=>println!("{} {e}", o.row.id) } }
    }
}
