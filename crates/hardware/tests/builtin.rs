//! The built-in catalog holds together and says what published tables say.

use std::collections::BTreeSet;
use std::path::Path;
use supernode_hardware::export_rules::{Assessment, Measure, Metric, Trade, Verdict, assess};
use supernode_hardware::{Catalog, DomainKind, Grade, show};
use units::Dtype;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");

#[test]
fn the_catalog_checks_out() {
    let problems: Vec<String> = Catalog::builtin().check().iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn names_resolve_whatever_their_case() {
    let catalog = Catalog::builtin();
    assert_eq!(catalog.chip("H100_SXM").unwrap().id, "h100");
    assert_eq!(catalog.chip("910C").unwrap().id, "ascend-910c");
    assert_eq!(catalog.system("CM384").unwrap().id, "cloudmatrix384");
    let error = catalog.chip("h1000").unwrap_err().to_string();
    assert_eq!(error, "chips: there is no `h1000` in the catalog; did you mean `h100`?");
    assert!(catalog.system("zzz").unwrap_err().to_string().contains("; it has a10-8, a100-40-8, "));
}

#[test]
fn every_system_of_the_measured_rows_resolves() {
    let catalog = Catalog::builtin();
    for name in "h100-8 h200-8 h800-8 h20-8 b200-8 b300-8 gb200-nvl72 gb300-nvl72 cloudmatrix384 atlas-800i-a3 \
                 atlas-800i-a2 atlas-950 atlas-300i-duo hygon-dcu-8 mtt-s5000-8 a100-80-8 a100-40-8 h100-96-hbm2e-8 \
                 atlas-800t-a2 v100-32-16 tpu-v4"
        .split_whitespace()
    {
        let system = catalog.system(name).unwrap_or_else(|error| panic!("{error}"));
        catalog.chip(&system.chip).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let measured = Path::new(SHARED).join("data/measured");
    let Ok(files) = std::fs::read_dir(&measured) else {
        eprintln!("skipped: no measured rows beside the project");
        return;
    };
    let mut seen = BTreeSet::new();
    for path in files.map(|file| file.unwrap().path()).filter(|path| path.to_string_lossy().contains("ing")) {
        let mut rows = csv::Reader::from_path(&path).unwrap();
        let Some(column) = rows.headers().unwrap().iter().position(|name| name == "system") else { continue };
        seen.extend(rows.records().map(|row| row.unwrap()[column].to_owned()));
    }
    assert!(seen.len() > 10, "{seen:?}");
    for name in seen {
        catalog.system(&name).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Coefficients are fitted as fractions of these figures, so that the catalog must not drift from them.
#[test]
fn figures_agree_with_those_that_coefficients_were_fitted_on() {
    let Ok(text) = std::fs::read_to_string(Path::new(SHARED).join("data/fits/params.json")) else {
        eprintln!("skipped: no fits beside the project");
        return;
    };
    let fits: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names = [
        ("a100_sxm", "a100-80"),
        ("l40s", "l40s"),
        ("h100_sxm", "h100"),
        ("h200_sxm", "h200"),
        ("b200_sxm", "b200"),
        ("gb200", "gb200"),
        ("ascend_910b", "ascend-910b"),
    ];
    for (fitted, id) in names {
        let rank = Catalog::builtin().chip(id).unwrap().rank;
        let figure = |key: &str| fits["chips"][fitted][key].as_f64().unwrap();
        assert_eq!(f64::from(rank.cores.value), figure("cores"), "{id} cores");
        assert_eq!(rank.l2.value.get(), figure("l2"), "{id} L2");
        assert_eq!(rank.peak(Dtype::Bf16).unwrap().get(), figure("bf16"), "{id} bf16");
        // Two figures for the B200's bandwidth are published, 4 % apart.
        let ratio = rank.bandwidth.value.get() / figure("bw");
        assert!((0.96..=1.0).contains(&ratio), "{id} bandwidth {ratio}");
    }
}

#[test]
fn every_chip_has_a_usual_system() {
    let catalog = Catalog::builtin();
    for id in catalog.ids("chips") {
        let chip = catalog.chip(&id).unwrap();
        assert!(chip.system.is_some(), "{id}");
        let (system, _) = catalog.system_with_chip(chip.usual_system(), &id).unwrap();
        let own = catalog.system(chip.usual_system()).unwrap();
        assert!(
            own.generic || own.chip == id || own.chip.starts_with("ascend-910b"),
            "{id} in {}",
            system.id
        );
    }
}

#[test]
fn dies_are_ranks() {
    let catalog = Catalog::builtin();
    let chip = catalog.chip("ascend-910c").unwrap();
    assert_eq!(chip.ranks, 2);
    let system = catalog.system("cloudmatrix384").unwrap();
    let sizes: Vec<_> = system.domains.iter().map(|domain| (domain.kind, domain.ranks)).collect();
    assert_eq!(
        sizes,
        [
            (DomainKind::Package, Some(2)),
            (DomainKind::Node, Some(16)),
            (DomainKind::ScaleUp, Some(768)),
            (DomainKind::Cluster, None)
        ]
    );
    assert_eq!(system.domain_for(17).bandwidth.value.to_string(), "196 GB/s");
}

#[test]
fn a_rumour_is_labelled_everywhere() {
    let sheet = show::chip(&Catalog::builtin().chip("ascend-910d").unwrap());
    let others: Vec<_> = sheet.figures.iter().filter(|figure| figure.grade != Grade::Rumour).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn any_chip_fits_in_any_generic_system() {
    let catalog = Catalog::builtin();
    for name in catalog.ids("systems").iter().filter(|id| id.starts_with("generic-")) {
        for chip in catalog.ids("chips") {
            let (system, chip) = catalog.system_with_chip(name, &chip).unwrap();
            assert_eq!(system.ranks(), system.chips * chip.ranks, "{name} of {}", chip.id);
            let inner = system.domains.iter().find(|domain| domain.kind != DomainKind::Package).unwrap();
            assert_eq!(inner.ranks.unwrap() % chip.ranks, 0);
            if let Some(port) = &chip.scale_up {
                assert_eq!((&inner.bandwidth, &inner.link), (&port.bandwidth, &port.link));
            }
        }
    }
    let (system, _) = catalog.system_with_chip("generic-8", "mi300x").unwrap();
    assert_eq!(system.hourly.unwrap().value.to_string(), "1.55 USD/h");
    let (system, _) = catalog.system_with_chip("cloudmatrix384", "h100").unwrap();
    assert_eq!((system.ranks(), system.domain_for(8).link.as_str()), (384, "ub"));
}

#[test]
fn a_sheet_shows_every_figure_with_source_and_grade() {
    let catalog = Catalog::builtin();
    insta::assert_snapshot!(show::chip(&catalog.chip("ascend-910c").unwrap()));
    insta::assert_snapshot!(show::system(&catalog.system("gb200-nvl72").unwrap()));
}

#[test]
fn a_name_shows_all_that_answer_to_it() {
    let catalog = Catalog::builtin();
    let titles = |name: &str| -> Vec<String> {
        show::entries(&catalog, name).unwrap().into_iter().map(|sheet| sheet.title).collect()
    };
    assert_eq!(titles("tpu-v4"), ["tpu-v4: Google TPU v4", "tpu-v4: Google TPU v4 pod"]);
    assert_eq!(titles("economics"), ["economics"]);
    assert_eq!(titles("vllm"), ["vllm: vLLM"]);
    let error = show::entries(&catalog, "cloudmatrix").unwrap_err().to_string();
    assert_eq!(
        error,
        "chips, systems, engines: there is no `cloudmatrix` in the catalog; did you mean `cloudmatrix384`?"
    );
}

#[test]
fn listings_lead_with_what_matters() {
    let lines = show::list(&Catalog::builtin(), "chips").unwrap();
    let line = |id: &str| lines.iter().find(|line| line.id == id).unwrap().clone();
    insta::assert_snapshot!(line("ascend-910c").summary, @"Huawei Ascend 910C (two dies), 2 ranks of 353.9 TFLOPS, 68.72 GB, 1.6 TB/s");
    assert_eq!(line("ascend-910d").grade, Some(Grade::Rumour));
    assert!(lines.len() >= 55);
}

fn points(assessment: &Assessment, metric: Metric) -> Option<f64> {
    let figure = assessment.figures.iter().find(|(other, _)| *other == metric).unwrap();
    figure.1.as_ref().map(|fact| match fact.value {
        Measure::Points(points) => points,
        Measure::Rate(rate) => rate.get() / 1e9,
    })
}

/// TPP, performance density, and the three verdicts as published tables print them.
#[test]
fn export_rules_agree_with_published_tables() {
    use Verdict::{No, Unknown, Yes};
    let catalog = Catalog::builtin();
    let rules = catalog.export_rules().unwrap();
    // TPP, density, 3A090.a of 2023, 3A090.b, and the test of 2026 for review case by case.
    let table = [
        ("v100-32", 2000.0, Some(2.45), No, No, Yes),
        ("a100-80", 4992.0, Some(6.04), Yes, No, Yes),
        ("a800", 4992.0, Some(6.04), Yes, No, Yes),
        ("l20", 1912.0, Some(3.139), No, No, Yes),
        ("l40s", 5864.0, Some(9.64), Yes, No, Yes),
        ("h100", 15832.0, Some(19.45), Yes, No, Yes),
        ("h20", 2368.0, Some(2.91), No, No, Yes),
        ("h200", 15832.0, Some(19.45), Yes, No, Yes),
        ("b200", 36000.0, None, Yes, No, No),
        ("gb300", 60000.0, None, Yes, No, No),
        ("mi300x", 20920.0, None, Yes, No, Yes),
        ("mi325x", 20920.0, None, Yes, No, Yes),
        ("mi355x", 40264.0, None, Yes, No, No),
        ("gaudi3", 29360.0, None, Yes, No, No),
        ("tpu-v5p", 7344.0, None, Yes, No, Yes),
        ("tpu-v6e", 14688.0, None, Yes, No, Yes),
        ("tpu-v7", 36912.0, None, Yes, No, No),
        ("trainium2", 10672.0, None, Yes, No, Yes),
        ("trainium3", 20136.0, None, Yes, No, Yes),
        ("ascend-910b2", 6016.0, Some(9.04), Yes, No, Yes),
        ("ascend-910b4", 4480.0, Some(6.73), Yes, No, Yes),
        ("ascend-910c", 12032.0, Some(9.04), Yes, No, Yes),
        ("mlu370-x8", 2048.0, None, Unknown, Unknown, Yes),
        ("mlu590", 5520.0, None, Yes, No, Yes),
        ("br100", 16384.0, Some(15.26), Yes, No, Yes),
    ];
    for (id, tpp, density, a, b, review) in table {
        let assessment = assess(&catalog.chip(id).unwrap(), &rules, &Trade::default());
        let near = |x: f64, y: f64| (x / y - 1.0).abs() < 1e-3;
        assert!(near(points(&assessment, Metric::Tpp).unwrap(), tpp), "{id} TPP");
        match (points(&assessment, Metric::PerformanceDensity), density) {
            (Some(x), Some(y)) => assert!((x - y).abs() < 0.011, "{id} density {x}"),
            (x, y) => assert_eq!(x, y, "{id} density"),
        }
        let verdict = |id: &str| {
            let at = rules.rules.iter().position(|rule| rule.id == id).unwrap();
            assessment.rows[at].applies
        };
        let found = (verdict("2023-3a090-a"), verdict("2023-3a090-b"), verdict("2026-case-by-case"));
        assert_eq!(found, (a, b, review), "{id}");
    }
}

#[test]
fn memory_and_interconnect_are_counted_for_the_package() {
    let catalog = Catalog::builtin();
    let rules = catalog.export_rules().unwrap();
    let assessment = assess(&catalog.chip("ascend-910c").unwrap(), &rules, &Trade::default());
    assert_eq!(points(&assessment, Metric::MemoryBandwidth), Some(3200.0));
    assert_eq!(points(&assessment, Metric::Interconnect), Some(784.0));
    assert_eq!(points(&assessment, Metric::MemoryAndInterconnect), Some(3984.0));
    let unknown = assess(&catalog.chip("b30a").unwrap(), &rules, &Trade::default());
    assert_eq!(points(&unknown, Metric::Interconnect), None);
    let first = unknown.rows.iter().find(|row| row.rule.starts_with("ECCN 3A090 as created")).unwrap();
    assert_eq!(first.applies, Verdict::Unknown);
    let second = unknown.rows.iter().find(|row| row.rule.starts_with("ECCN 3A090.b")).unwrap();
    insta::assert_snapshot!(second.conditions, @"TPP >= 2400 and TPP < 4800 and performance density >= 1.60 and performance density < 5.92; or TPP >= 1600 and performance density >= 3.20 and performance density < 5.92");
}

/// The example of the contributing guide is a file that loads, and its ten lines are the guide's.
#[test]
fn a_chip_is_added_in_ten_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = std::fs::read_to_string(root.join("examples/catalog/chips/example-x1.toml")).unwrap();
    let guide = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    assert!(guide.contains(&format!("```toml\n{file}```")), "the guide and the example differ");
    assert_eq!(file.lines().count(), 10);

    let catalog = Catalog::with_overlay(root.join("examples/catalog")).unwrap();
    let (system, chip) = catalog.system_with_chip("generic-8", "example-x1").unwrap();
    assert_eq!((system.ranks(), chip.rank.bandwidth.value.to_string().as_str()), (8, "4 TB/s"));
    assert_eq!(chip.rank.l2.grade, Grade::Assumed);
    let problems: Vec<String> = catalog.check().iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let same = Catalog::builtin().with_text("chips", "example-x1", file).unwrap().chip("example-x1").unwrap();
    assert_eq!(same, chip);
}

/// What meets `chip` in a trade, as rule ids with their verdicts.
fn met(
    chip: &str,
    on: &str,
    seller: Option<&str>,
    buyer: Option<&str>,
    country: Option<&str>,
) -> Vec<String> {
    let catalog = Catalog::builtin();
    let rules = catalog.export_rules().unwrap();
    let text = |text: Option<&str>| text.map(str::to_owned);
    let on = Some(on.parse().unwrap());
    let trade = Trade { on, seller: text(seller), buyer: text(buyer), country: text(country) };
    let assessment = assess(&catalog.chip(chip).unwrap(), &rules, &trade);
    let holds = assessment.rows.iter().filter(|row| row.applies == Verdict::Yes);
    let id = |name: &str| rules.rules.iter().find(|rule| rule.name == name).unwrap().id.clone();
    holds.map(|row| id(&row.rule)).collect()
}

#[test]
fn a_trade_meets_the_rules_of_its_day_and_ends() {
    assert_eq!(met("a100-80", "2022-12-01", Some("us"), None, Some("cn")), ["2022-3a090"]);
    assert_eq!(met("a100-80", "2022-12-01", Some("us"), None, Some("de")), [""; 0]);
    assert_eq!(
        met("ascend-910c", "2025-12-01", None, None, Some("my")),
        ["2025-foundry", "2025-gp10-ascend"]
    );
    let h200 = met("h200", "2026-02-01", Some("us"), None, Some("cn"));
    assert_eq!(
        h200,
        [
            "2023-3a090-a",
            "2025-h20-letter",
            "2025-china-state-dc",
            "2025-h200-statement",
            "2026-china-customs",
            "2026-case-by-case"
        ]
    );
    assert!(
        met("h20", "2025-12-01", Some("us"), Some("Huawei"), Some("cn")).contains(&"2019-huawei".to_owned())
    );
    assert!(!met("b200", "2025-03-01", Some("us"), None, Some("fr")).contains(&"2023-3a090-a".to_owned()));
    assert!(met("b200", "2025-03-01", Some("us"), None, Some("fr")).contains(&"2025-diffusion".to_owned()));
    assert!(!met("b200", "2025-06-01", Some("us"), None, Some("fr")).contains(&"2025-diffusion".to_owned()));
}

/// Why a source cannot be looked up by a reader; `None` where it can. `grades` are those of the figures that rest on it.
///
/// An address is that of a page: a host alone leads nowhere. What nobody but a compilation says has none, and then says that
/// it is second-hand, which a vendor's own figure never is.
fn unreadable(title: &str, date: &str, address: &str, grades: &[&str]) -> Option<&'static str> {
    if title.len() < 5 {
        return Some("has no title");
    }
    if date.parse::<supernode_hardware::Date>().is_err() {
        return Some("has no date");
    }
    if address.is_empty() {
        let hand = title.contains("second-hand");
        let vendor = grades.iter().any(|grade| ["official", "measured"].contains(grade));
        return (!hand || vendor).then_some("has neither an address nor says that it is second-hand");
    }
    // What the project fitted itself names the command that repeats the fit.
    if address == "supernode calibrate" {
        return None;
    }
    let Some(rest) = address.strip_prefix("https://").or(address.strip_prefix("http://")) else {
        return Some("has an address that is none of the web");
    };
    let (host, page) = rest.split_once('/').unwrap_or((rest, ""));
    if !host.contains('.') || address.contains(char::is_whitespace) {
        return Some("has an address that is none of the web");
    }
    page.is_empty().then_some("leads to a host, not to a page")
}

#[test]
fn a_source_is_a_page_with_a_title_and_a_date() {
    let of = |address, grades: &[&str]| unreadable("A data sheet", "2026-06", address, grades);
    assert_eq!(of("https://example.com/sheet.pdf", &["official"]), None);
    assert_eq!(of("https://example.com/?p=12", &[]), None);
    assert_eq!(of("supernode calibrate", &["measured"]), None);
    for host in ["https://example.com", "https://example.com/", "http://example.com"] {
        assert_eq!(of(host, &[]), Some("leads to a host, not to a page"), "{host}");
    }
    assert!(of("GitHub, file 12345", &[]).is_some());
    assert!(of("https://intranet/page", &[]).is_some());
    assert!(of("", &[]).is_some());
    assert_eq!(unreadable("A price list (second-hand)", "2025", "", &["rumour"]), None);
    assert!(unreadable("A price list (second-hand)", "2025", "", &["official"]).is_some());
    assert!(unreadable("A data sheet", "", "https://example.com/a", &[]).is_some());
    assert!(unreadable("A data sheet", "last spring", "https://example.com/a", &[]).is_some());
    assert!(unreadable("", "2026", "https://example.com/a", &[]).is_some());
}

/// Grades of everything in a file that names the source `key`.
fn grades_of<'a>(value: &'a toml::Value, key: &str, into: &mut Vec<&'a str>) {
    match value {
        toml::Value::Table(table) => {
            let named = table.get("source").and_then(toml::Value::as_str) == Some(key);
            if let (true, Some(grade)) = (named, table.get("grade").and_then(toml::Value::as_str)) {
                into.push(grade);
            }
            table.values().for_each(|value| grades_of(value, key, into));
        }
        toml::Value::Array(values) => values.iter().for_each(|value| grades_of(value, key, into)),
        _ => {}
    }
}

/// All TOML files of a folder and of those in it.
fn files_of(folder: &std::path::Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_of(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            into.push(path);
        }
    }
}

/// Every source of every file of the catalog can be opened by a reader and says what it is and of when.
#[test]
fn every_source_has_a_public_address_a_title_and_a_date() {
    let mut files = Vec::new();
    files_of(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../catalog")), &mut files);
    let (mut seen, mut bad) = (0, Vec::new());
    for file in &files {
        let document: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
        let Some(toml::Value::Table(sources)) = document.get("sources") else { continue };
        let whole = toml::Value::Table(document.clone());
        for (key, source) in sources.iter().filter(|(_, source)| source.is_table()) {
            let text = |field: &str| source.get(field).and_then(toml::Value::as_str).unwrap_or_default();
            let mut grades = Vec::new();
            grades_of(&whole, key, &mut grades);
            if let Some(why) = unreadable(text("title"), text("date"), text("address"), &grades) {
                bad.push(format!("{}: sources.{key} {why}", file.display()));
            }
            seen += 1;
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(seen > 350, "{seen} sources");
    for name in ["supply", "support", "origins", "economics", "export_rules"] {
        assert!(files.iter().any(|file| file.ends_with(format!("{name}.toml"))), "{name}");
    }
}

/// Every chip says when it is sold, but for two that nobody has announced.
#[test]
fn chips_have_release_dates() {
    let catalog = Catalog::builtin();
    let undated: Vec<String> =
        catalog.ids("chips").into_iter().filter(|id| catalog.chip(id).unwrap().release.is_none()).collect();
    assert_eq!(undated, ["ascend-910d", "b30a"]);
}
