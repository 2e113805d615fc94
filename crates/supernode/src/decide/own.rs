//! What a machine costs to own over the years, against renting it and against buying tokens.

mod report;

use crate::Answer;
use crate::error::Error;
use crate::session::Session;
use ::report::{Lang, Surroundings, Words};
use hardware::BAND_80;
use hardware::money::HOURS_PER_YEAR;
use hardware::{Catalog, Chip, Grade, System};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use training::goodput::Reliability;
use units::{Dollars, DollarsPerHour};

/// What a spare costs of the price of a package: failed ones are mostly repaired or replaced under warranty at first; a third
/// is usual practice.
const SPARE_SHARE: f64 = 1.0 / 3.0;

/// What is owned, for how long, and how well it is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnRequest {
    /// The system.
    pub system: String,
    /// Packages; one whole system if absent.
    pub chips: Option<u32>,
    /// Years it is kept.
    pub years: f64,
    /// Share of the time in which it works.
    pub utilisation: f64,
    /// Price of a package with its share of the machine, instead of the catalog's.
    pub price: Option<Dollars>,
    /// Rent of a package and hour, instead of the catalog's.
    pub rent: Option<DollarsPerHour>,
    /// Output tokens per second and package while it works.
    pub rate: Option<f64>,
    /// What an API asks for a million output tokens.
    pub api_price: Option<Dollars>,
}

impl Default for OwnRequest {
    fn default() -> Self {
        Self {
            system: String::new(),
            chips: None,
            years: 4.0,
            utilisation: 0.6,
            price: None,
            rent: None,
            rate: None,
            api_price: None,
        }
    }
}

/// The figures an answer depends on, each of one package.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OwnFigures {
    price: f64,
    years: f64,
    utilisation: f64,
    electricity: f64,
    pue: f64,
    capital: f64,
    network: f64,
    staff: f64,
    space: f64,
    busy: f64,
    idle: f64,
    provisioned: f64,
    failures: f64,
    rate: Option<f64>,
}

/// Dollars per package and year, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Yearly {
    hardware: f64,
    capital: f64,
    network: f64,
    staff: f64,
    space: f64,
    electricity: f64,
    spares: f64,
}

impl Yearly {
    fn total(&self) -> f64 {
        self.parts().iter().map(|(_, dollars)| dollars).sum()
    }

    fn parts(&self) -> [(&'static str, f64); 7] {
        [
            ("own-hardware", self.hardware),
            ("own-capital", self.capital),
            ("own-network", self.network),
            ("own-staff", self.staff),
            ("own-space", self.space),
            ("own-electricity", self.electricity),
            ("own-spares", self.spares),
        ]
    }
}

impl OwnFigures {
    /// The purchase and its network are paid back with interest in equal rates over the years; what is above the plain
    /// purchase is the cost of capital.
    fn yearly(&self) -> Yearly {
        let annuity = match self.capital {
            rate if rate > 0.0 => rate / (1.0 - (1.0 + rate).powf(-self.years)),
            _ => 1.0 / self.years,
        };
        let network = self.price * self.network;
        let watts = self.busy * self.utilisation + self.idle * (1.0 - self.utilisation);
        Yearly {
            hardware: self.price / self.years,
            capital: (self.price + network) * (annuity - 1.0 / self.years),
            network: network / self.years,
            staff: self.price * self.staff,
            space: self.provisioned / 1e3 * self.space * HOURS_PER_YEAR,
            electricity: watts / 1e3 * self.pue * self.electricity * HOURS_PER_YEAR,
            spares: self.failures * self.price * SPARE_SHARE,
        }
    }

    /// Dollars per package and hour that it works.
    fn per_working_hour(&self) -> f64 {
        self.yearly().total() / HOURS_PER_YEAR / self.utilisation
    }

    /// What the answer is measured in: dollars per million tokens where a rate is known, per working hour otherwise.
    fn answer(&self) -> f64 {
        match self.rate {
            Some(rate) => self.per_working_hour() / (rate * 3600.0) * 1e6,
            None => self.per_working_hour(),
        }
    }
}

/// How far the answer moves with one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Swing {
    /// The figure, by its key among the words.
    pub figure: &'static str,
    /// Its lower end and the answer there.
    pub low: (f64, f64),
    /// Its upper end and the answer there.
    pub high: (f64, f64),
    /// Why the ends are where they are.
    pub grade: Grade,
}

/// The answer.
pub struct Own {
    /// What was asked.
    pub request: OwnRequest,
    /// The system.
    pub system: System,
    /// Its chip.
    pub chip: Chip,
    /// Packages.
    pub chips: u32,
    /// Rent per package and hour, where it is known.
    pub rent: Option<f64>,
    /// The figures that move the answer most, the greatest first.
    pub swings: Vec<Swing>,
    figures: OwnFigures,
    grade: Grade,
    rates: (String, Grade),
}

/// Counts the cost of ownership.
///
/// # Errors
/// Names that are unknown, a price that is known nowhere, figures out of range.
pub fn own(session: &Session, request: &OwnRequest) -> Result<Own, Error> {
    let in_range = |key: &str, value: f64, most: f64| match value > 0.0 && value <= most {
        true => Ok(()),
        false => Err(Error::at(key, format!("must be above 0 and at most {most}"))),
    };
    in_range("years", request.years, 30.0)?;
    in_range("utilisation", request.utilisation, 1.0)?;
    if let Some(rate) = request.rate {
        in_range("rate", rate, 1e7)?;
    }
    if request.api_price.is_some() && request.rate.is_none() {
        return Err(Error::at(
            "api_price",
            "has no effect without `rate`: say how many tokens a package makes",
        ));
    }
    let catalog = session.catalog();
    let system = catalog.system(&request.system)?;
    let chip = catalog.chip(&system.chip)?;
    let priced = system.price.as_ref();
    let Some(price) = request.price.map(Dollars::get).or(priced.map(|fact| fact.value.get())) else {
        let why = format!("the catalog has no price of {}; give `price`, per package", system.name);
        return Err(Error::no(why));
    };
    in_range("price", price, 1e9)?;
    let own_price = request.price.map(|_| Grade::Measured);
    let grade = own_price.or(priced.map(|fact| fact.grade)).unwrap_or(Grade::Assumed);
    let reliability = Reliability::parse(catalog.text("failures", "default")?).map_err(Error::input)?;
    let rates = reliability.rates_for(&chip.family);
    let failures = rates.chip.get() * HOURS_PER_YEAR * 3600.0;
    let figures = OwnFigures { price, failures, ..figures(session, request, &system, &chip)? };
    let rent = request.rent.map(|rent| rent.get()).or(system.hourly.as_ref().map(|fact| fact.value.get()));
    let swings = swings(&figures, grade, rates.grade);
    Ok(Own {
        request: request.clone(),
        chips: request.chips.unwrap_or(system.chips),
        rent,
        swings,
        grade,
        rates: (rates.source.clone(), rates.grade),
        system,
        chip,
        figures,
    })
}

/// The figures of a package whose price and failures are not looked up yet.
fn figures(
    session: &Session,
    request: &OwnRequest,
    system: &System,
    chip: &Chip,
) -> Result<OwnFigures, Error> {
    let Some(tdp) = chip.tdp.as_ref().map(|fact| fact.value.get()) else {
        return Err(Error::no(format!("the catalog has no power rating of {}; set `chip.tdp`", chip.name)));
    };
    let overhead = system.overhead_power.value.get();
    let site = session.site();
    Ok(OwnFigures {
        price: 0.0,
        years: request.years,
        utilisation: request.utilisation,
        electricity: site.electricity.get(),
        pue: site.pue,
        capital: site.capital,
        network: site.network,
        staff: site.staff,
        space: site.space.get(),
        busy: tdp * BUSY_SHARE + overhead,
        idle: chip.idle.as_ref().map_or(tdp * IDLE_SHARE, |fact| fact.value.get()) + overhead,
        provisioned: tdp + overhead,
        failures: 0.0,
        rate: request.rate,
    })
}

/// Draw of a package at work over its rating: decoding is measured at 0.55 to 0.85 of it.
const BUSY_SHARE: f64 = 0.7;
/// Draw of an idle package over its rating, where nobody says.
const IDLE_SHARE: f64 = 0.15;

/// Spread of a figure's logarithm by the grade of its evidence, as for prices.
fn spread(grade: Grade) -> f64 {
    match grade {
        Grade::Measured | Grade::Official => 0.05,
        Grade::Analyst => 0.15,
        Grade::Rumour | Grade::Assumed => 0.3,
    }
}

/// The five figures that move the answer most, each moved alone to the ends of its 80 % band.
fn swings(figures: &OwnFigures, price: Grade, failures: Grade) -> Vec<Swing> {
    type Slot = fn(&mut OwnFigures) -> &mut f64;
    let slots: [(&'static str, Slot, Grade); 11] = [
        ("own-price", |all| &mut all.price, price),
        ("own-years", |all| &mut all.years, Grade::Analyst),
        ("own-utilisation", |all| &mut all.utilisation, Grade::Assumed),
        ("electricity", |all| &mut all.electricity, Grade::Analyst),
        ("own-pue", |all| &mut all.pue, Grade::Official),
        ("capital", |all| &mut all.capital, Grade::Assumed),
        ("own-network", |all| &mut all.network, Grade::Assumed),
        ("staff", |all| &mut all.staff, Grade::Assumed),
        ("space", |all| &mut all.space, Grade::Analyst),
        ("own-power", |all| &mut all.busy, Grade::Analyst),
        ("own-failures", |all| &mut all.failures, failures),
    ];
    let mut swings: Vec<Swing> = slots
        .into_iter()
        .map(|(name, slot, grade)| {
            let factor = (BAND_80 * spread(grade)).exp();
            let at = |factor: f64| {
                let mut moved = *figures;
                let value = slot(&mut moved);
                *value *= factor;
                if name == "own-utilisation" {
                    *value = value.min(1.0);
                }
                let value = *value;
                (value, moved.answer())
            };
            Swing { figure: name, low: at(1.0 / factor), high: at(factor), grade }
        })
        .collect();
    if let Some(rate) = figures.rate {
        let factor = (BAND_80 * 0.2f64).exp();
        let at = |factor: f64| (rate * factor, OwnFigures { rate: Some(rate * factor), ..*figures }.answer());
        swings.push(Swing {
            figure: "own-rate",
            low: at(1.0 / factor),
            high: at(factor),
            grade: Grade::Analyst,
        });
    }
    let reach = |swing: &Swing| (swing.low.1 - swing.high.1).abs();
    swings.sort_by(|a, b| reach(b).total_cmp(&reach(a)));
    swings.truncate(5);
    swings
}

impl Own {
    /// Dollars per package and hour that it works.
    pub fn per_working_hour(&self) -> f64 {
        self.figures.per_working_hour()
    }

    /// Dollars per million output tokens, where a rate was given.
    pub fn per_million(&self) -> Option<f64> {
        self.figures.rate.map(|_| self.figures.answer())
    }

    /// Share of the time above which owning is cheaper than renting by the hour; `None` where no rent is known, above 1
    /// where renting is always cheaper.
    pub fn even_with_rent(&self) -> Option<f64> {
        self.rent.map(|rent| self.even(rent))
    }

    /// Share of the time above which owning is cheaper than an API at its price.
    pub fn even_with_api(&self) -> Option<f64> {
        let (rate, price) = (self.figures.rate?, self.request.api_price?);
        Some(self.even(price.get() * rate * 3600.0 / 1e6))
    }

    /// Utilisation at which an hour of work costs `hourly`: what is paid in any case over what an hour of work leaves.
    fn even(&self, hourly: f64) -> f64 {
        let fixed = OwnFigures { utilisation: 0.0, ..self.figures }.yearly().total() / HOURS_PER_YEAR;
        let electricity =
            (self.figures.busy - self.figures.idle) / 1e3 * self.figures.pue * self.figures.electricity;
        if hourly > electricity { fixed / (hourly - electricity) } else { f64::INFINITY }
    }

    /// The 80 % band of the answer: all figures at once, as independent.
    fn band(&self) -> (f64, f64) {
        let base = self.figures.answer();
        let moves = self.swings.iter().map(|swing| (swing.high.1 / swing.low.1).ln().abs() / 2.0);
        let spread = moves.map(|one| one * one).sum::<f64>().sqrt();
        (base / spread.exp(), base * spread.exp())
    }
}

impl Answer for Own {
    fn document(&self) -> Value {
        let dollars = |value: f64| json!({ "value": value, "unit": "USD" });
        let yearly = self.figures.yearly();
        let parts: serde_json::Map<String, Value> = yearly
            .parts()
            .iter()
            .map(|(name, value)| (name.trim_start_matches("own-").to_owned(), dollars(*value)))
            .collect();
        let (low, high) = self.band();
        let swing = |swing: &Swing| {
            json!({
                "figure": swing.figure.trim_start_matches("own-"), "low": swing.low.0, "answer_at_low": swing.low.1,
                "high": swing.high.0, "answer_at_high": swing.high.1, "grade": swing.grade,
            })
        };
        json!({
            "schema": "supernode.own/1", "system": self.system.id, "chips": self.chips, "years": self.request.years,
            "utilisation": self.request.utilisation, "per_chip_and_year": parts,
            "total": dollars(yearly.total() * self.request.years * f64::from(self.chips)),
            "per_working_hour": dollars(self.per_working_hour()),
            "per_million_tokens": self.per_million().map(dollars),
            "band": { "low": low, "high": high, "level": 0.8 },
            "rent_per_hour": self.rent.map(dollars),
            "even_with_rent": self.even_with_rent(), "even_with_api": self.even_with_api(),
            "sensitivity": self.swings.iter().map(swing).collect::<Vec<_>>(),
            "price_grade": self.grade,
        })
    }

    fn text(&self) -> String {
        let catalog = Catalog::builtin();
        let words = Words::of(Lang::En);
        self.report(&Surroundings { words, catalog: &catalog, site: None, region: None, launch: &[] }).text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;
    use hardware::Basis;
    use hardware::money::{Ownership, Site};
    use units::Seconds;

    fn owned(change: impl Fn(&mut OwnRequest)) -> Own {
        let session = Session::open(&Facts::default()).expect("a session");
        let mut request = OwnRequest { system: "h100-8".to_owned(), ..OwnRequest::default() };
        change(&mut request);
        own(&session, &request).expect("an answer")
    }

    #[test]
    fn purchase_costs_what_the_site_says_it_costs() {
        let session = Session::open(&Facts::default()).expect("a session");
        let own = owned(|_| {});
        let site = Site { lifetime: Seconds::new(4.0 * HOURS_PER_YEAR * 3600.0), ..*session.site() };
        let yearly = own.figures.yearly();
        let paid = yearly.hardware + yearly.capital + yearly.network + yearly.staff;
        let expected = site.purchase_per_hour(Dollars::new(own.figures.price)).get() * HOURS_PER_YEAR;
        assert!((paid / expected - 1.0).abs() < 1e-3, "{paid} against {expected}");
        let held = Ownership::of(&own.system, &own.chip, Basis::Buy).expect("a price").per_hour(&site).get();
        assert!((paid + yearly.space) / HOURS_PER_YEAR / held - 1.0 < 1e-3);
    }

    #[test]
    fn at_the_break_even_owning_costs_as_much_as_renting() {
        let share = owned(|_| {}).even_with_rent().expect("a rent is known");
        let there = owned(|request| request.utilisation = share.min(1.0));
        if share <= 1.0 {
            let rent = there.rent.expect("a rent");
            assert!((there.per_working_hour() / rent - 1.0).abs() < 1e-6);
        }
        let api = owned(|request| {
            request.rate = Some(500.0);
            request.api_price = Some(Dollars::new(3.0));
        });
        let even = api.even_with_api().expect("an API price is given");
        let there = owned(|request| {
            request.rate = Some(500.0);
            request.utilisation = even;
        });
        assert!((there.per_million().expect("a rate") / 3.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_figures_that_matter_most_come_first() {
        let own = owned(|_| {});
        assert_eq!(own.swings.len(), 5);
        let reach: Vec<f64> = own.swings.iter().map(|swing| (swing.low.1 - swing.high.1).abs()).collect();
        assert!(reach.windows(2).all(|pair| pair[0] >= pair[1]));
        assert!(own.swings.iter().any(|swing| swing.figure == "own-utilisation"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let session = Session::open(&Facts::default()).expect("a session");
        let base = OwnRequest { system: "h100-8".to_owned(), ..OwnRequest::default() };
        for request in [
            OwnRequest { years: 0.0, ..base.clone() },
            OwnRequest { utilisation: 1.5, ..base.clone() },
            OwnRequest { api_price: Some(Dollars::new(1.0)), ..base.clone() },
            OwnRequest { system: "nowhere".to_owned(), ..base },
        ] {
            assert!(own(&session, &request).is_err());
        }
    }
}
