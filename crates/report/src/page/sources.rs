//! Where the figures of a report come from, and what was assumed.

use crate::words::Words;
use hardware::money::Site;
use hardware::show::{self, Sheet};
use hardware::{Basis, Catalog, Grade};

/// A document that figures of one entry come from.
pub struct Reference {
    /// Catalog key of the entry.
    pub entry: String,
    /// The figures, each with its grade.
    pub figures: Vec<(String, Grade)>,
    /// What the document is.
    pub title: String,
    /// Where it is; empty where words say where a figure comes from.
    pub address: String,
    /// When it was published or read.
    pub date: String,
}

/// Sources of everything the catalog says of the named entries, grouped by document. A name that the catalog does not know
/// has none.
pub fn references<'a>(catalog: &Catalog, names: impl IntoIterator<Item = &'a str>) -> Vec<Reference> {
    let mut seen: Vec<&str> = Vec::new();
    let mut all = Vec::new();
    for name in names {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        for sheet in show::entries(catalog, name).unwrap_or_default() {
            all.extend(of_sheet(&sheet));
        }
    }
    all
}

/// Documents, a row each; what rests on words (an assumption and why) is one row.
fn of_sheet(sheet: &Sheet) -> Vec<Reference> {
    let entry = sheet.title.split(':').next().unwrap_or_default();
    let mut found: Vec<Reference> = Vec::new();
    let mut reasons = Reference {
        entry: entry.to_owned(),
        figures: Vec::new(),
        title: String::new(),
        address: String::new(),
        date: String::new(),
    };
    for figure in &sheet.figures {
        let key = figure.key.split_once('.').map_or(figure.key.as_str(), |(_, own)| own);
        let named = (key.to_owned(), figure.grade);
        let Some(source) = sheet.sources.get(&figure.source) else {
            reasons.figures.push(named);
            let comma = if reasons.title.is_empty() { "" } else { "; " };
            if !reasons.title.contains(&figure.source) {
                reasons.title += &format!("{comma}{key}: {}", figure.source);
            }
            continue;
        };
        match found.iter_mut().find(|reference| reference.title == source.title) {
            Some(reference) => reference.figures.push(named),
            None => found.push(Reference {
                entry: entry.to_owned(),
                figures: vec![named],
                title: source.title.clone(),
                address: source.address.clone(),
                date: source.date.clone(),
            }),
        }
    }
    if !reasons.figures.is_empty() {
        found.push(reasons);
    }
    found
}

/// What money, energy and carbon were counted by.
pub fn assumptions(words: &Words, site: &Site, region: Option<&str>) -> Vec<(String, String)> {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut all = vec![
        (
            words.say("money-basis").to_owned(),
            match site.basis {
                Basis::Buy => words.say("basis-buy"),
                Basis::Rent => words.say("basis-rent"),
            }
            .to_owned(),
        ),
        (words.say("region").to_owned(), region.unwrap_or(words.say("region-default")).to_owned()),
        (words.say("electricity").to_owned(), site.electricity.to_string()),
        (words.say("pue").to_owned(), format!("{:.2}", site.pue)),
        (words.say("carbon").to_owned(), site.carbon.to_string()),
    ];
    if site.basis == Basis::Buy {
        let years = site.lifetime.get() / (365.25 * 86_400.0);
        all.extend([
            (words.say("lifetime").to_owned(), words.fill("years", &[("count", &format!("{years:.1}"))])),
            (words.say("capital").to_owned(), percent(site.capital)),
            (words.say("network-share").to_owned(), percent(site.network)),
            (words.say("staff").to_owned(), percent(site.staff)),
            (words.say("space").to_owned(), site.space.to_string()),
        ]);
    }
    all
}
