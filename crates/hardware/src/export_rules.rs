//! A chip and a trade in it against published export controls: thresholds on figures, and measures that name chips, makers
//! or parties. A table of facts, not advice.

use crate::chip::Chip;
use crate::date::Date;
use crate::evidence::{Fact, Grade, Source};
use std::collections::BTreeMap;
use std::fmt;
use units::{BytesPerSecond, Dtype};

/// What a threshold is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Total processing performance: dense peak in 10^12 operations per second times the operands' bit length, the
    /// largest over formats, for the whole package (88 FR 73458).
    Tpp,
    /// TPP over the logic die area in square millimetres.
    PerformanceDensity,
    /// Bandwidth of all memory of the package.
    MemoryBandwidth,
    /// Bandwidth of all chip-to-chip ports of the package, both directions added.
    Interconnect,
    /// The sum of the two.
    MemoryAndInterconnect,
    /// Bandwidth of a memory stack over its area, in GB/s per square millimetre; no figure of a chip.
    MemoryBandwidthDensity,
}

impl Metric {
    /// Every metric a chip has a figure of, in the order of the table.
    pub const OF_A_CHIP: [Self; 5] = [
        Self::Tpp,
        Self::PerformanceDensity,
        Self::MemoryBandwidth,
        Self::Interconnect,
        Self::MemoryAndInterconnect,
    ];
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tpp => "TPP",
            Self::PerformanceDensity => "performance density",
            Self::MemoryBandwidth => "memory bandwidth",
            Self::Interconnect => "interconnect bandwidth",
            Self::MemoryAndInterconnect => "memory + interconnect bandwidth",
            Self::MemoryBandwidthDensity => "memory bandwidth density",
        })
    }
}

/// A figure or threshold of a metric.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub enum Measure {
    /// TPP, or a density.
    Points(f64),
    /// A bandwidth.
    Rate(BytesPerSecond),
}

impl Measure {
    /// The number compared, in the metric's own unit.
    fn number(self) -> f64 {
        match self {
            Self::Points(points) => points,
            Self::Rate(rate) => rate.get(),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Points(points) if *points >= 100.0 => f.pad(&format!("{points:.0}")),
            Self::Points(points) => f.pad(&format!("{points:.2}")),
            Self::Rate(rate) => f.pad(&format!("{:.0} GB/s", rate.get() / 1e9)),
        }
    }
}

/// One comparison of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// What is compared.
    pub metric: Metric,
    /// With what.
    pub threshold: Measure,
    /// Whether the condition holds from the threshold up (else strictly below it).
    pub at_least: bool,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.at_least { ">=" } else { "<" };
        write!(f, "{} {sign} {}", self.metric, self.threshold)
    }
}

/// A dated rule: it applies to a chip it names by key or maker, or if all conditions of one alternative hold; and to a
/// trade whose seller, buyer and country it names. A list without entries means any.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Key.
    pub id: String,
    /// When it took effect.
    pub date: Date,
    /// The last day it was in force, if it has ended.
    pub until: Option<Date>,
    /// Catalog keys of the chips it names.
    pub chips: Vec<String>,
    /// Makers whose chips it concerns.
    pub makers: Vec<String>,
    /// Countries a chip is sold from, ISO 3166 codes.
    pub sellers: Vec<String>,
    /// Parties it names as buyers.
    pub buyers: Vec<String>,
    /// Countries a chip is used in, ISO 3166 codes.
    pub countries: Vec<String>,
    /// The instrument.
    pub name: String,
    /// What it means for a chip it applies to.
    pub effect: String,
    /// Another rule that takes precedence.
    pub unless: Option<String>,
    /// What else to know.
    pub note: Option<String>,
    /// Alternatives, each a list of conditions.
    pub any: Vec<Vec<Condition>>,
    /// Key of its source.
    pub source: String,
}

/// The rules of the catalog, by date.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRules {
    /// Rules in the order of the file.
    pub rules: Vec<Rule>,
    /// What the rules' source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

/// Whether something holds, as far as the figures are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// A figure it depends on is not known.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        })
    }
}

/// The trade that is asked about; what is not given is not looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trade {
    /// The day: only rules in force on it are listed.
    pub on: Option<Date>,
    /// Where the chip is sold from, an ISO 3166 code.
    pub seller: Option<String>,
    /// Who buys it.
    pub buyer: Option<String>,
    /// Where it is to be used, an ISO 3166 code.
    pub country: Option<String>,
}

/// One rule against one chip.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When the rule took effect.
    pub date: Date,
    /// The last day it was in force, if it has ended.
    pub until: Option<Date>,
    /// The instrument.
    pub rule: String,
    /// The conditions in words.
    pub conditions: String,
    /// Whether they hold.
    pub applies: Verdict,
    /// What the rule means for a chip it applies to.
    pub effect: String,
    /// What else to know.
    pub note: Option<String>,
}

/// A chip's figures and what they meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Each metric with its figure (the whole package) where it is known; its note says what went into it.
    pub figures: Vec<(Metric, Option<Fact<Measure>>)>,
    /// Each rule.
    pub rows: Vec<Row>,
}

/// Compares `chip`, traded as `trade` says, with each of `rules` that concerns such a trade.
pub fn assess(chip: &Chip, rules: &ExportRules, trade: &Trade) -> Assessment {
    let figures: Vec<_> = Metric::OF_A_CHIP.iter().map(|metric| (*metric, figure(chip, *metric))).collect();
    let known: BTreeMap<Metric, f64> = figures
        .iter()
        .filter_map(|(metric, fact)| fact.as_ref().map(|fact| (*metric, fact.value.number())))
        .collect();
    let mut verdicts: BTreeMap<&str, Verdict> = BTreeMap::new();
    let mut rows = Vec::with_capacity(rules.rules.len());
    for rule in rules.rules.iter().filter(|rule| rule.concerns(trade)) {
        let earlier = rule.unless.as_deref().and_then(|id| verdicts.get(id).copied());
        let applies = and(not(earlier.unwrap_or(Verdict::No)), rule.holds(chip, &known, trade));
        verdicts.insert(&rule.id, applies);
        rows.push(Row {
            date: rule.date.clone(),
            until: rule.until.clone(),
            rule: rule.name.clone(),
            conditions: rule.conditions(),
            applies,
            effect: rule.effect.clone(),
            note: rule.note.clone(),
        });
    }
    Assessment { figures, rows }
}

impl Rule {
    /// Whether the rule is in force on the day and names the trade's ends, as far as they are given.
    fn concerns(&self, trade: &Trade) -> bool {
        let names = |list: &[String], wanted: &Option<String>| match wanted {
            Some(wanted) => list.is_empty() || list.iter().any(|entry| entry.eq_ignore_ascii_case(wanted)),
            None => true,
        };
        let in_force = trade.on.as_ref().is_none_or(|day| {
            self.date.first() <= day.last()
                && self.until.as_ref().is_none_or(|until| day.first() <= until.last())
        });
        in_force
            && names(&self.sellers, &trade.seller)
            && names(&self.buyers, &trade.buyer)
            && names(&self.countries, &trade.country)
    }

    fn holds(&self, chip: &Chip, known: &BTreeMap<Metric, f64>, trade: &Trade) -> Verdict {
        let party =
            if self.buyers.is_empty() || trade.buyer.is_some() { Verdict::Yes } else { Verdict::Unknown };
        let made_by = self.makers.is_empty() || self.makers.contains(&chip.vendor);
        let named = self.chips.is_empty() && self.any.is_empty() || self.chips.contains(&chip.id);
        let which = if named { Verdict::Yes } else { self.thresholds(known) };
        and(party, and(if made_by { Verdict::Yes } else { Verdict::No }, which))
    }

    fn thresholds(&self, known: &BTreeMap<Metric, f64>) -> Verdict {
        let alternative = |conditions: &Vec<Condition>| {
            conditions.iter().fold(Verdict::Yes, |all, condition| and(all, condition.holds(known)))
        };
        self.any.iter().map(alternative).fold(Verdict::No, or)
    }

    fn conditions(&self) -> String {
        let thresholds =
            self.any.iter().map(|all| all.iter().map(Condition::to_string).collect::<Vec<_>>().join(" and "));
        let chips = (!self.chips.is_empty()).then(|| self.chips.join(", "));
        let which = chips.into_iter().chain(thresholds).collect::<Vec<_>>().join("; or ");
        let parties = [("made by", &self.makers), ("bought by", &self.buyers)];
        let parties = parties.iter().filter(|(_, list)| !list.is_empty());
        let parts = parties.map(|(what, list)| format!("{what} {}", list.join(", ")));
        parts.chain((!which.is_empty()).then_some(which)).collect::<Vec<_>>().join("; ")
    }
}

impl Condition {
    fn holds(&self, known: &BTreeMap<Metric, f64>) -> Verdict {
        match known.get(&self.metric) {
            None => Verdict::Unknown,
            Some(figure) if (*figure >= self.threshold.number()) == self.at_least => Verdict::Yes,
            Some(_) => Verdict::No,
        }
    }
}

fn not(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Yes => Verdict::No,
        Verdict::No => Verdict::Yes,
        Verdict::Unknown => Verdict::Unknown,
    }
}

fn and(a: Verdict, b: Verdict) -> Verdict {
    match (a, b) {
        (Verdict::No, _) | (_, Verdict::No) => Verdict::No,
        (Verdict::Yes, Verdict::Yes) => Verdict::Yes,
        _ => Verdict::Unknown,
    }
}

fn or(a: Verdict, b: Verdict) -> Verdict {
    not(and(not(a), not(b)))
}

/// The chip's figure of `metric`, the whole package.
fn figure(chip: &Chip, metric: Metric) -> Option<Fact<Measure>> {
    let memory = chip.rank.bandwidth.map(|rate| Measure::Rate(*rate * f64::from(chip.ranks)));
    let interconnect =
        chip.interconnect_bidirectional.as_ref().map(|fact| fact.map(|rate| Measure::Rate(*rate)));
    match metric {
        Metric::Tpp => Some(tpp(chip)),
        Metric::PerformanceDensity => chip.die_area.as_ref().map(|area| {
            let tpp = tpp(chip);
            let density = Measure::Points(tpp.value.number() / area.value.get());
            combined(&tpp, area, density, format!("over {}", area.value))
        }),
        Metric::MemoryBandwidth => Some(memory),
        Metric::Interconnect => interconnect,
        Metric::MemoryAndInterconnect => interconnect.map(|ports| {
            let sum = BytesPerSecond::new(memory.value.number() + ports.value.number());
            let note = format!("{} and {}", memory.value, ports.value);
            combined(&memory, &ports, Measure::Rate(sum), note)
        }),
        Metric::MemoryBandwidthDensity => None,
    }
}

/// The largest dense peak times bit length over the formats a datasheet states.
fn tpp(chip: &Chip) -> Fact<Measure> {
    let ranks = f64::from(chip.ranks);
    let points = |dtype: Dtype, peak: f64| peak / 1e12 * ranks * f64::from(dtype.multiplier_bits());
    let best = chip
        .rank
        .matrix
        .iter()
        .map(|(dtype, fact)| (points(*dtype, fact.value.get()), *dtype, fact))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((points, dtype, fact)) => Fact {
            note: Some(format!("{dtype} at {}, {} bits", fact.value * ranks, dtype.multiplier_bits())),
            ..fact.map(|_| Measure::Points(points))
        },
        None => Fact::assumed(Measure::Points(0.0), "no matrix format"),
    }
}

/// A figure made of two, as good as the worse of them.
fn combined<A, B>(a: &Fact<A>, b: &Fact<B>, value: Measure, note: String) -> Fact<Measure> {
    let source =
        if a.source == b.source { a.source.clone() } else { format!("{} and {}", a.source, b.source) };
    Fact { value, source, grade: Grade::max(a.grade, b.grade), note: Some(note) }
}
