//! What every subcommand shares: the catalog, overrides, where output goes, exit codes.

use ::estimate::economics::Site;
use hardware::overrides::Override;
use hardware::{Basis, Catalog, Date};
use report::{OutputId, Outputs};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supernode::{Facts, Session};

/// Why a command ends without its answer, and with which exit code.
#[derive(Debug)]
pub enum Failure {
    /// The answer is no: nothing fits, a check failed.
    No(String),
    /// The input is wrong.
    Input(String),
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    /// The library says which of its errors are answers; all others are mistakes in the input.
    fn from(error: E) -> Self {
        let known = (&error as &(dyn std::error::Error + 'static)).downcast_ref::<supernode::Error>();
        match known.map(|error| error.kind) {
            Some(supernode::Kind::No) => Self::No(error.to_string()),
            _ => Self::Input(error.to_string()),
        }
    }
}

/// Whether a message is about a TOML file, which it begins with: the keys in it are the file's.
fn about_toml(message: &str) -> bool {
    let place = message.split([' ', '\n']).next().unwrap_or_default().trim_end_matches(':');
    place.contains(".toml")
}

/// A message with the keys that the library names in backticks spelled as flags, where there are such flags.
fn spelled(message: &str, flags: &BTreeSet<String>) -> String {
    if about_toml(message) {
        return message.to_owned();
    }
    let mut parts = message.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let Some(quoted) = parts.next() {
        let flag = quoted.replace('_', "-");
        let Some(after) = parts.next() else {
            return text + "`" + quoted;
        };
        if flags.contains(&flag) {
            text += &format!("--{flag}{after}");
        } else {
            text += &format!("`{quoted}`{after}");
        }
    }
    text
}

/// 0 for an answer, 1 for a no, 2 for bad input; messages go to stderr.
pub fn exit(result: Result<(), Failure>, flags: &BTreeSet<String>) -> ExitCode {
    let result = result.map_err(|failure| match failure {
        Failure::No(message) => Failure::No(spelled(&message, flags)),
        Failure::Input(message) => Failure::Input(spelled(&message, flags)),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::No(message)) => {
            if !message.is_empty() {
                let _ = writeln!(std::io::stderr(), "{message}");
            }
            ExitCode::from(1)
        }
        Err(Failure::Input(message)) => {
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Prints results, long lines folded where tables have to fit.
pub fn print(text: &str) -> Result<(), Failure> {
    print_exactly(&report::fold(text))
}

/// Prints what is to be read by a program, as it is. A closed pipe is the reader's choice, not an error.
pub fn print_exactly(text: &str) -> Result<(), Failure> {
    crate::progress::quiet();
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Input(format!("stdout: cannot be written ({error})")))
        }
        _ => Ok(()),
    }
}

/// Prints JSON, one document.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    if !crate::launch::lacks().is_empty() {
        let mut value = value.clone();
        value["launch"] = serde_json::json!({ "not_modelled": crate::launch::lacks() });
        return print_exactly(&format!("{value:#}\n"));
    }
    print_exactly(&format!("{value:#}\n"))
}

/// A file that is written beside what is printed. It is opened before the work begins, so that work is never done for
/// nothing.
pub struct Beside {
    outputs: Outputs,
    id: Option<OutputId>,
}

impl Beside {
    /// Opens the file, if one is asked for.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let mut outputs = Outputs::new();
        let id = path.map(|path| outputs.open(path)).transpose()?;
        Ok(Self { outputs, id })
    }

    /// Whether there is one.
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Writes the file, then prints, whether or not the file could be written.
    pub fn deliver(
        mut self,
        text: impl FnOnce() -> String,
        print: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let written = match self.id {
            Some(id) => self.outputs.write(id, &text()).and_then(|()| self.outputs.commit()),
            None => Ok(()),
        };
        print()?;
        Ok(written?)
    }
}

/// Writes a file the user named, all or nothing.
pub fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    Beside::open(Some(path))?.deliver(|| text.to_owned(), || Ok(()))
}

/// The text of a file, or of standard input where the path is `-`.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let text = if path.as_os_str() == "-" {
        bounded::text_of(std::io::stdin().lock(), bounded::TEXT)
    } else {
        bounded::read_text(path, bounded::TEXT)
    };
    text.map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

/// Where facts come from and which of them are replaced.
#[derive(clap::Args)]
pub struct CatalogArgs {
    /// Folder with chips, systems, engines and kernel profiles that are added to (or replace) the built-in ones.
    #[arg(long, value_name = "DIR", global = true)]
    catalog: Option<PathBuf>,
    /// Replace one figure, for example chip.hbm.bandwidth=4TB/s; may be given several times. `supernode catalog keys`
    /// lists what can be set.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    sets: Vec<String>,
}

impl CatalogArgs {
    /// The user's folder.
    pub fn folder(&self) -> Option<&Path> {
        self.catalog.as_deref()
    }

    /// Replaced figures as they were given.
    pub fn sets(&self) -> &[String] {
        &self.sets
    }

    /// Refuses replaced figures where they change nothing.
    pub fn refuse_sets(&self, why: &str) -> Result<(), Failure> {
        match self.sets.first() {
            Some(set) => Err(Failure::Input(format!("--set {set} has no effect here: {why}"))),
            None => Ok(()),
        }
    }

    /// The catalog with the user's folder over it.
    pub fn load(&self) -> Result<Catalog, Failure> {
        let catalog = match &self.catalog {
            Some(folder) => Catalog::with_overlay(folder)?,
            None => Catalog::builtin(),
        };
        let sets = self.sets.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(catalog.with_overrides(&sets))
    }

    /// What questions are answered from.
    pub fn session(&self, site: &SiteArgs) -> Result<Session, Failure> {
        Ok(Session::open(&self.facts(site))?)
    }

    /// What questions are answered from in which money plays no part, or only where it is spent.
    pub fn session_in(&self, region: Option<&str>) -> Result<Session, Failure> {
        let (catalog, set) = (self.catalog.clone(), self.sets.clone());
        let region = region.map(str::to_owned);
        Ok(Session::open(&Facts { catalog, set, region, ..Facts::default() })?)
    }

    /// The same as plain data.
    pub fn facts(&self, site: &SiteArgs) -> Facts {
        Facts {
            catalog: self.catalog.clone(),
            set: self.sets.clone(),
            region: site.region.clone(),
            basis: site.basis,
        }
    }
}

/// What electricity and buildings cost.
#[derive(clap::Args, Default)]
pub struct SiteArgs {
    /// Region whose electricity price and carbon intensity are used, for example cn or us-texas; the catalog's default
    /// prices otherwise. `supernode catalog show economics` lists them.
    #[arg(long)]
    region: Option<String>,
    /// What money is counted on: `buy` (the purchase over its lifetime with capital, network, space, staff and electricity)
    /// or `rent` (a market rate). Purchase unless a rent is set; one basis for everything that is compared.
    #[arg(long)]
    basis: Option<Basis>,
}

impl SiteArgs {
    /// The region that is asked for.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The site they describe.
    pub fn site(&self, catalog: &Catalog) -> Result<Site, Failure> {
        let prices = match &self.region {
            Some(region) => catalog.prices(region)?,
            None => catalog.economics()?.prices,
        };
        Ok(Site::new(&prices, catalog.basis(self.basis)?))
    }
}

/// Which systems may be considered by when they can be had.
#[derive(clap::Args)]
pub struct AvailableArgs {
    /// Only systems whose chips are sold by then: 2026-06-30, 2026-06, 2026-Q2 or 2026.
    #[arg(long, value_name = "DATE")]
    available_by: Option<Date>,
}

impl AvailableArgs {
    /// The systems that are left; what is left out is said.
    pub fn of(&self, catalog: &Catalog, systems: &[String]) -> Result<Vec<String>, Failure> {
        let Some(by) = &self.available_by else { return Ok(systems.to_vec()) };
        let (kept, left_out) = supernode::available(catalog, systems, by)?;
        for line in &left_out {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        if kept.is_empty() {
            return Err(Failure::No(format!("none of the systems is sold by {by}")));
        }
        Ok(kept)
    }
}
