//! `supernode own`.

use crate::common::{CatalogArgs, Failure, print, print_json};
use crate::page::PageArgs;
use supernode::{Answer, OwnRequest};
use units::{Dollars, DollarsPerHour};

/// What a machine costs to own over the years, when that beats renting it or buying tokens, and which figures decide.
#[derive(clap::Args)]
pub struct Args {
    /// Catalog key or alias of the system.
    #[arg(long, value_name = "KEY")]
    system: String,
    /// Chips (packages); one whole system by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    chips: Option<u32>,
    /// Years it is kept.
    #[arg(long, value_name = "YEARS", default_value_t = 4.0)]
    years: f64,
    /// Share of the time in which it works, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    utilisation: f64,
    /// Price of a chip with its share of the machine, for example "30000 USD"; the catalog's by default.
    #[arg(long, value_name = "MONEY")]
    price: Option<Dollars>,
    /// Rent of a chip, for example "2 USD/h"; the catalog's by default.
    #[arg(long, value_name = "MONEY")]
    rent: Option<DollarsPerHour>,
    /// Output tokens per second and chip while it works, as `estimate`, `plan serve` and `compare` say.
    #[arg(long, value_name = "TOKENS/S")]
    rate: Option<f64>,
    /// What an API asks for a million output tokens, for example "2.19 USD"; needs --rate.
    #[arg(long, value_name = "MONEY")]
    api_price: Option<Dollars>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: PageArgs,
    /// Region whose electricity price is paid, for example cn or us-texas; the catalog's default by default.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let page = args.page.open()?;
    let session = args.catalog.session_in(args.region.as_deref())?;
    let request = OwnRequest {
        system: args.system.clone(),
        chips: args.chips,
        years: args.years,
        utilisation: args.utilisation,
        price: args.price,
        rent: args.rent,
        rate: args.rate,
        api_price: args.api_price,
    };
    let own = supernode::own(&session, &request)?;
    let mut setting = page.setting(session.catalog(), Some(session.site()), None);
    setting.region = args.region.as_deref();
    let show = || if args.json { print_json(&own.document()) } else { print(&own.report(&setting).text()) };
    page.deliver(|| own.report(&setting), args.json, show)
}
